"""Processes that a run starts import this package, whatever folders the working directory has.

`python -m` puts the working directory first on sys.path. A folder named experiments there, with an
__init__.py, would then be imported in place of this package. PYTHONSAFEPATH leaves it out.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # what holds this package


def safe_path() -> dict[str, str]:
    """What to add to the environment of a process that is started with `python -m`.

    Where the working directory itself holds this package, it may be a clone that is not installed.
    PYTHONPATH then names it, for the process looks there no more by itself.
    """
    if Path.cwd() != ROOT:
        return {"PYTHONSAFEPATH": "1"}
    others = os.environ.get("PYTHONPATH")
    path = f"{ROOT}{os.pathsep}{others}" if others else str(ROOT)
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": path}
