"""What makes a run this run, beside its config: its data, its checkpoint, and who trained it.

Each is compared when the run goes on and when it is scored, and a difference is one sentence.
"""

import os
import socket
from pathlib import Path
from typing import Any

from experiments.run_dir.files import (
    ASKED,
    DATA,
    SESSIONS,
    append_rows,
    drop_rows_after,
    read_json,
    write_json,
)
from experiments.run_dir.provenance import now, provenance
from experiments.run_dir.rows import parse_step, read_rows
from reformer_pl.config import ConfigError, RunConfig, changes, load

CELL = "REFORMER_PL_CELL"  # in the environment of a process that a driver of studies started


def check_asked(config: RunConfig) -> None:
    """A cell trains the config that its driver composed (ConfigError).

    The presets may be edited while a sweep runs, and the cell composes them again.
    """
    asked = read_json(Path(config.out_dir) / ASKED) if CELL in os.environ else None
    reason = changes(load(asked), config) if asked else ""
    if reason:
        raise ConfigError(
            f"configs/ was edited since the sweep began ({reason}): "
            "put it back; then run the study again with --retry"
        )


def check_trained_by(path: Path, checkpoint: dict[str, Any], config: RunConfig) -> None:
    """A checkpoint belongs to the run whose directory it is in (ConfigError).

    The number of steps may differ where no step before the last depends on it: a run that
    `--extend` made longer goes on from the checkpoint of the shorter one.
    """
    values = checkpoint.get("hyper_parameters", {}).get("config")
    if not isinstance(values, dict):
        raise ConfigError(f"{path} does not say its config: move it away and train again")
    trained = load(values)
    if can_be_longer(trained) and checkpoint["global_step"] <= config.trainer.max_steps:
        trained.trainer.max_steps = config.trainer.max_steps
    reason = changes(trained, config)
    if reason:
        raise ConfigError(
            f"{path} is of another run ({reason}): put this run's own back, "
            "or move it away and train again"
        )


def can_be_longer(config: RunConfig) -> bool:
    """Whether the first steps are the same, however many follow: all schedules but cosine."""
    return config.optim.schedule != "cosine"


def check_data(directory: Path, source: str, identity: dict[str, Any], keep: bool) -> None:
    """The data are those that the run began with (ConfigError). `keep`: note them the first time.

    `identity` is the number of bytes and their SHA-256; empty for data that are drawn.
    """
    if not identity:
        return
    before = read_json(directory / DATA)
    if before is None:
        if keep:
            write_json(directory / DATA, {"source": source, **identity})
        return
    if any(before.get(key) != value for key, value in identity.items()):
        old, new = (
            f"{of['bytes']} bytes, SHA-256 {of['sha256'][:12]}" for of in (before, identity)
        )
        raise ConfigError(
            f"task.source={source} is not what this run began with ({old} then, {new} now): "
            "put that file back, or train again in another out_dir"
        )


def begin_session(directory: Path, step: int, device: str, threads: int) -> None:
    """Note who trains from this step on. Those whose steps are lost are dropped."""
    path = directory / SESSIONS
    drop_rows_after(path, step - 1, parse=parse_step)
    row = {"step": step, "started_at": now(), "host": socket.gethostname()}
    append_rows(path, [row | {"device": device, "threads": threads} | provenance()])


def read_sessions(directory: Path) -> list[dict[str, Any]]:
    """Each process that trained a part of the run: its first step, commit, device, threads, host
    and versions.
    """
    return read_rows(directory / SESSIONS, parse=parse_step)
