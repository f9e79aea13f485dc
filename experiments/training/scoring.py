"""A trained model scored: its checkpoint, its weights, and the held-out numbers."""

import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer

from experiments.run_dir.files import CORRUPT_CHECKPOINT, no_checkpoint
from experiments.run_dir.identity import check_trained_by
from reformer_pl.config import ConfigError, RunConfig
from reformer_pl.module import LitSequenceModel
from reformer_pl.tasks.batches import SequenceData


def score(trainer: Trainer, module: LitSequenceModel, data: SequenceData) -> dict[str, float]:
    """The held-out scores of the task, by name, and the number of held-out sequences."""
    (values,) = trainer.validate(module, datamodule=data, verbose=False, weights_only=True)
    return {name.split("/")[1]: value for name, value in values.items()} | {
        "sequences": data.n_eval_sequences
    }


def load_checkpoint(path: Path, config: RunConfig) -> dict[str, Any]:
    """The checkpoint's dict, on the CPU, of the run that has this config.

    Raises ConfigError when it is missing, damaged, or of another run.
    """
    if not path.is_file():
        raise ConfigError(no_checkpoint(path))
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch.load compares no checksum
        if damaged:
            raise ValueError(f"the checksum of {damaged} differs")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except CORRUPT_CHECKPOINT as error:
        raise ConfigError(
            f"{path} is corrupt: put a copy back, or delete it and train again "
            f"({type(error).__name__})"
        ) from error
    if not isinstance(checkpoint, dict) or not {"state_dict", "global_step"} <= checkpoint.keys():
        raise ConfigError(f"{path} is no checkpoint of a run: delete it and train again")
    check_trained_by(path, checkpoint, config)
    return checkpoint


def load_weights(module: LitSequenceModel, weights: dict[str, Any], name: str) -> None:
    """Strictly, so that an evaluation never scores weights that were not trained."""
    try:
        module.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ConfigError(
            f"the checkpoint does not fit the evaluation '{name}': "
            "attention may differ, sizes of weights not"
        ) from error
