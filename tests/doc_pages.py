"""The pages that say how to add something, done as they say on a copy of the sources."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from warm import output_of

ROOT = Path(__file__).resolve().parent.parent


def copy_sources(copy: Path) -> None:
    """The repository without its git, runs and caches."""
    for folder in ("reformer_pl", "experiments", "ablations", "configs", "tests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", copy)


def run_commands(page: str, copy: Path, pattern: str = "-m .*") -> list[str]:
    """What each `python` command of the page prints, run in the copy; those alone that match."""
    return [
        run_in(copy, [sys.executable, *shlex.split(command, comments=True)])
        for command in re.findall(rf"^    python ({pattern})$", page, re.MULTILINE)
    ]


def run_in(copy: Path, command: list[str]) -> str:
    """What a command prints there, where the project's modules are the copy's."""
    ours = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(copy)}
    if command[:2] == [sys.executable, "-m"]:
        with tempfile.TemporaryDirectory() as folder:
            return output_of(command[1:], copy, Path(folder) / "printed.txt", **ours)
    environment = {**os.environ, **ours}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
