"""The files of a run directory, written so that a crash leaves either the old file or the new one."""

import hashlib
import json
import math
import os
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from reformer_pl.config import ConfigError, RunConfig, changes, has_begun, load, read_yaml, to_dict
from reformer_pl.evaluations import load_evaluation

CHECKPOINT = "last.ckpt"  # below checkpoints/
PACKAGES = ("reformer-pl", "torch", "lightning", "torchmetrics", "hydra-core")


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Whole or not at all. Numbers that are not finite become null: NaN is not JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    clean = {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in values.items()}
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        partial.write_text(json.dumps(clean, indent=2) + "\n")
    except OSError:  # a full disk
        partial.unlink(missing_ok=True)
        raise
    os.replace(partial, path)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object, or None when there is no such file."""
    try:
        return json.loads(path.read_text()) if path.is_file() else None
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON ({error}): delete it and the run goes on from its checkpoint") from error


def written_at(path: Path) -> int | None:
    """Nanoseconds; None of a file that is not there."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def drop_rows_after(path: Path, step: int) -> list[dict[str, Any]]:
    """Keep the rows of a JSON-lines file up to a step, and return them. A row cut short by a crash goes too."""
    kept = []
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
            if int(row["step"]) <= step:
                kept.append((line, row))
        except (ValueError, KeyError):
            continue
    if path.is_file():
        partial = path.with_suffix(".partial")
        partial.write_text("".join(f"{line}\n" for line, _ in kept))
        os.replace(partial, path)
    return [row for _, row in kept]


def safe_name(text: str) -> str:
    """A text as a file name: letters, digits and =._- stay. Of a long one the start and a hash of all, so that two texts share no name."""
    name = "".join(c if c.isalnum() or c in "=._-" else "-" for c in text)
    return name if len(name) <= 120 else f"{name[:111]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def claim_directory(config: RunConfig) -> Path:
    """Make config.out_dir and leave config.yaml in it; refuse a directory in which a run of another config has begun to train."""
    directory = Path(config.out_dir)
    path = directory / "config.yaml"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if path.is_file() and has_begun(directory):
            before = _load(path)
            said = changes(before, config)
            if said:
                raise ConfigError(
                    f"out_dir={directory} holds a run with another config ({said}): give another out_dir, or delete it to start over"
                )
            if (before.evaluations, before.benchmark) == (config.evaluations, config.benchmark):
                return directory
        partial = directory / f"config.{os.getpid()}.partial"
        partial.write_text(yaml.safe_dump(to_dict(config), sort_keys=False))
        os.replace(partial, path)
    except OSError as error:
        raise ConfigError(f"out_dir={directory} cannot be written ({error.strerror}): give another out_dir") from error
    return directory


def read_config(directory: Path, overrides: list[str]) -> RunConfig:
    """The config a run was made with, changed by overrides for an evaluation and checked again."""
    path = directory / "config.yaml"
    if not path.is_file():
        raise ConfigError(f"{directory} is no run directory: it has no config.yaml")
    return load_evaluation(_load(path), overrides)


def _load(path: Path) -> RunConfig:
    try:
        values = read_yaml(path)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: move {path.parent} away and train again") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} is no config: move {path.parent} away and train again")
    return load(values)


def provenance(packages: tuple[str, ...] = PACKAGES) -> dict[str, Any]:
    """What produced a result: versions, git commit (with -dirty when files differ from it)."""
    root = Path(__file__).resolve().parent.parent
    try:
        git = subprocess.run(["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True)
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
