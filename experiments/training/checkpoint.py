"""A run's checkpoint: which one is read, and whether it is whole."""

import sys
import zipfile
from pathlib import Path
from typing import Any

import torch

from experiments.rank import first_rank
from experiments.run_dir.files import (
    CORRUPT_CHECKPOINT,
    checkpoint_path,
    no_checkpoint,
    previous_checkpoint_path,
)
from experiments.run_dir.reading import has_file, unreadable
from reformer_pl.config import ConfigError

Checkpoint = dict[str, Any]


def newest_checkpoint(directory: Path) -> tuple[Path, Checkpoint] | None:
    """The last checkpoint of a run with its path, on the CPU; None of a run that has none.

    Where the last one is damaged or gone, it is the one before, and a line says so. Raises
    ConfigError where neither is whole.
    """
    last, previous = checkpoint_path(directory), previous_checkpoint_path(directory)
    has_last, reason = has_file(last), f"{last} is not there"
    if not has_file(previous):
        return (last, load_checkpoint(last)) if has_last else None
    if has_last:
        try:
            return last, load_checkpoint(last)
        except ConfigError as error:
            reason = str(error)
    checkpoint = load_checkpoint(previous)
    step = checkpoint["global_step"]
    if first_rank():
        print(f"{reason}; {previous.name}, of step {step}, is taken instead", file=sys.stderr)
    return previous, checkpoint


def trained_checkpoint(directory: Path) -> tuple[Path, Checkpoint]:
    """The last one of a run that is to be scored, with its path. Raises ConfigError.

    The one before would be another model.
    """
    path = checkpoint_path(directory)
    if not has_file(path):
        raise ConfigError(no_checkpoint(path))
    return path, load_checkpoint(path)


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
            f"{path} is corrupt ({type(error).__name__}): put a copy of it back, or move it "
            "away and train again"
        ) from error
    if not isinstance(checkpoint, dict) or not {"state_dict", "global_step"} <= checkpoint.keys():
        raise ConfigError(f"{path} is no checkpoint of a run: move it away and train again")
    return checkpoint
