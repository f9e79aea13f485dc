"""What produced a result: the versions of its packages, the commit, and when."""

import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("reformer-pl", "torch", "lightning", "torchmetrics", "hydra-core")


def provenance(packages: tuple[str, ...] = PACKAGES) -> dict[str, Any]:
    """What produced a result: versions, git commit (with -dirty when files differ from it)."""
    root = Path(__file__).resolve().parent.parent.parent
    try:
        git = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
        )
        commit = git.stdout.strip() or None
    except OSError:  # no git on this machine
        commit = None
    return {"versions": {name: _version(name) for name in packages}, "git_commit": commit}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
