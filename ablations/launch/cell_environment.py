"""The environment variables that every cell starts with, whoever starts it. Imports nothing."""

import os
from pathlib import Path

CELL_ENVIRONMENT = {
    "PYTHONUNBUFFERED": "1",
    "HYDRA_FULL_ERROR": "0",
    "PYTHONSAFEPATH": "1",  # a folder named experiments where the user stands is not the project's
}


def python_path() -> dict[str, str]:
    """PYTHONPATH of a cell where the driver has the project from the folder that it runs in.

    The cells look there no more by themselves (PYTHONSAFEPATH). An installed project needs nothing.
    """
    root = Path(__file__).resolve().parents[2]
    if root != Path.cwd():
        return {}
    others = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{root}{os.pathsep}{others}" if others else str(root)}
