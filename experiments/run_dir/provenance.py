"""What produced a result: the versions of its packages, the commit, and when."""

import os
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from experiments.safe_path import ROOT

PACKAGES = ("reformer-pl", "torch", "lightning", "torchmetrics", "hydra-core")


def provenance(packages: tuple[str, ...] = PACKAGES) -> dict[str, Any]:
    """The versions of the packages, and the git commit, with -dirty when files differ from it."""
    return {"versions": {name: _version(name) for name in packages}, "git_commit": commit()}


@cache
def commit() -> str | None:
    """The commit of this clone, with -dirty where files differ from it.

    None outside of a clone, where the version of the package says enough: an installed copy, or an
    archive that was unpacked, may lie within a repository of something else. It is asked whoever
    owns the clone, and whatever repository the environment names.
    """
    if not (ROOT / ".git").exists():
        return None
    git = ["git", "-C", str(ROOT), "-c", f"safe.directory={ROOT}"]
    top = _answer([*git, "rev-parse", "--show-toplevel"])
    if top is None or not Path(top).samefile(ROOT):
        return None
    return _answer([*git, "describe", "--always", "--dirty", "--abbrev=12"])


def _answer(command: list[str]) -> str | None:
    elsewhere = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR")
    environment = {key: value for key, value in os.environ.items() if key not in elsewhere}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    except OSError:  # no git on this machine
        return None
    return done.stdout.strip() or None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
