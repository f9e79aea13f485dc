"""Whole figures, each drawn from the pieces in `drawing`."""
