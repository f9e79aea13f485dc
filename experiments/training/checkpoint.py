"""A run's checkpoint: which one is read, whether it is whole, and whether it is this run's."""

import sys
import zipfile
from pathlib import Path
from typing import Any

import torch

from experiments.rank import first_rank
from experiments.run_dir.files import (
    CORRUPT_CHECKPOINT,
    checkpoint_path,
    previous_checkpoint_path,
)
from experiments.run_dir.reading import has_file, unreadable
from reformer_pl.config import ConfigError, RunConfig, changes, load
from reformer_pl.tasks.batches import SequenceData

Checkpoint = dict[str, Any]


def newest_checkpoint(directory: Path) -> tuple[Path, Checkpoint] | None:
    """The last checkpoint of a run with its path, on the CPU; None of a run that has none.

    Where the last one is damaged or gone, it is the one before, and a line says so. Raises
    ConfigError where neither is whole.
    """
    last, previous = checkpoint_path(directory), previous_checkpoint_path(directory)
    if not has_file(previous):
        return (last, load_checkpoint(last)) if has_file(last) else None
    try:
        return last, load_checkpoint(last)
    except ConfigError as error:
        checkpoint = load_checkpoint(previous)
        step = checkpoint["global_step"]
        if first_rank():
            print(f"{error}; {previous.name}, of step {step}, is taken instead", file=sys.stderr)
        return previous, checkpoint


def trained_checkpoint(directory: Path) -> tuple[Path, Checkpoint]:
    """That of a run which is to be scored. Raises ConfigError where there is none."""
    newest = newest_checkpoint(directory)
    if newest is None:
        raise ConfigError(
            f"{checkpoint_path(directory)} is missing, so nothing can be scored: train the run "
            "first. If it was deleted to save disk, put it back, or train anew in another out_dir"
        )
    return newest


def load_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint's dict, on the CPU. Raises ConfigError when it is missing or damaged.

    The checksums of its members are read as well: torch does not look at them.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"checksum of {damaged}")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:  # a trained model, as whole as it was
        raise unreadable(path, error) from error
    except CORRUPT_CHECKPOINT as error:
        raise ConfigError(
            f"{path} is corrupt ({type(error).__name__}): put a copy of it back, or delete it and "
            "train again"
        ) from error
    if not isinstance(checkpoint, dict) or not {"state_dict", "global_step"} <= checkpoint.keys():
        raise ConfigError(f"{path} is no checkpoint of a run: delete it and train again")
    return checkpoint


def check_same_run(
    path: Path, checkpoint: Checkpoint, config: RunConfig, data: SequenceData | None = None
) -> None:
    """Raises ConfigError for a checkpoint of a run with another config, or with other data.

    One of before these were kept passes.
    """
    values = checkpoint.get("hyper_parameters", {}).get("config")
    reason = changes(load(values), config) if values else ""
    if reason:
        raise ConfigError(
            f"{path} is of a run with another config ({reason}): put this run's own back, "
            "or delete it to train from the start"
        )
    before = checkpoint.get("callbacks", {}).get("Checkpoints", {}).get("data")
    now = data.fingerprint() if data is not None else None
    if before and now and before != now:
        raise ConfigError(
            f"the data of {config.task.source} has changed since {path} was trained on it "
            f"({before['bytes']:,} bytes, sha256 {before['sha256'][:12]}; now {now['bytes']:,} "
            f"bytes, {now['sha256'][:12]}): put the old file back, or train in another out_dir"
        )
