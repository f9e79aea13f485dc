"""The environment variables that every cell starts with, whoever starts it. Imports nothing.

`experiments.safe_path` has those that keep the user's folders out of a cell's imports.
"""

CELL_ENVIRONMENT = {"PYTHONUNBUFFERED": "1", "HYDRA_FULL_ERROR": "0", "REFORMER_PL_CELL": "1"}
