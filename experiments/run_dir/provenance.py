"""What produced a result: the versions of its packages, the commit, and when."""

import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from experiments.safe_path import ROOT

PACKAGES = ("reformer-pl", "torch", "lightning", "torchmetrics", "hydra-core")


def provenance(packages: tuple[str, ...] = PACKAGES) -> dict[str, Any]:
    """The versions of the packages, and the git commit, with -dirty when files differ from it."""
    return {"versions": {name: _version(name) for name in packages}, "git_commit": _commit()}


def _commit() -> str | None:
    """None outside of a clone: an installed copy may lie within a repository of something else."""
    if not (ROOT / ".git").exists():
        return None
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip() or None
    except OSError:  # no git on this machine
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
