"""What produced a result: the versions of its packages, the commit, and when."""

import os
import subprocess
import tomllib
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from experiments.safe_path import ROOT

OWN = "reformer-pl"
PACKAGES = (OWN, "torch", "lightning", "torchmetrics", "hydra-core")


def provenance(packages: tuple[str, ...] = PACKAGES) -> dict[str, Any]:
    """The versions of the packages, and the git commit, with -dirty when files differ from it."""
    return {"versions": {name: _version(name) for name in packages}, "git_commit": git_commit(ROOT)}


def git_commit(root: Path) -> str | None:
    """The commit of the code below `root`; None where git does not track it there.

    A copy may lie within a repository of something else, or be unpacked over one.
    """
    root = root.resolve()
    top = _git(root, "rev-parse", "--show-toplevel")
    if not top or Path(top).resolve() != root:
        return None
    if not _git(root, "ls-files", str(Path(__file__).resolve().relative_to(ROOT.resolve()))):
        return None
    return _git(root, "describe", "--always", "--dirty", "--abbrev=12")


def _git(root: Path, *words: str) -> str | None:
    """What git prints, without the variables that would point it at another repository.

    A clone of another owner counts: its code is what runs here.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    options = ("-c", f"safe.directory={root}", "-c", "core.fsmonitor=false")
    try:
        done = subprocess.run(
            ["git", *options, "-C", str(root), *words],
            capture_output=True,
            text=True,
            env=environment,
        )
    except OSError:  # no git on this machine
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _version(package: str) -> str | None:
    """Of this project, that of the folder that runs: another copy may be installed."""
    own = ROOT / "pyproject.toml"
    if package == OWN and own.is_file():
        return str(tomllib.loads(own.read_text(encoding="utf-8"))["project"]["version"])
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
