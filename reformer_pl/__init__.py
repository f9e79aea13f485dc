"""The Reformer's ideas as interchangeable parts (arXiv 2001.04451). Import what you need from its module."""
