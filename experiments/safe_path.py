"""Processes that a run starts import this package, whatever folders the working directory has.

`python -m` puts the working directory first on sys.path. A folder named experiments there, with an
__init__.py, would then be imported in place of this package. PYTHONSAFEPATH leaves it out.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # what holds this package


def safe_path() -> dict[str, str]:
    """What to add to the environment of a process that is started with `python -m`.

    Nothing where the working directory itself holds this package: it may be a clone that is not
    installed, and then the working directory is the only way to it.
    """
    return {} if Path.cwd() == ROOT else {"PYTHONSAFEPATH": "1"}
