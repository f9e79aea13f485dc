"""A trained model scored: its checkpoint, its weights, and the held-out numbers."""

from pathlib import Path
from typing import Any

import torch
from lightning import Trainer

from experiments.run_dir.files import CORRUPT_CHECKPOINT
from experiments.run_dir.reading import has_file, unreadable
from reformer_pl.config import ConfigError
from reformer_pl.module import LitSequenceModel
from reformer_pl.tasks.batches import SequenceData


def score(trainer: Trainer, module: LitSequenceModel, data: SequenceData) -> dict[str, float]:
    """The held-out scores of the task, by name, and the number of held-out sequences."""
    (values,) = trainer.validate(module, datamodule=data, verbose=False, weights_only=True)
    return {name.split("/")[1]: value for name, value in values.items()} | {
        "sequences": data.n_eval_sequences
    }


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint's dict, on the CPU. Raises ConfigError when it is missing or corrupt."""
    if not has_file(path):
        raise ConfigError(f"{path} is missing: train the run first")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:  # a trained model, as whole as it was
        raise unreadable(path, error) from error
    except CORRUPT_CHECKPOINT as error:
        raise ConfigError(
            f"{path} is corrupt: delete it and train again ({type(error).__name__})"
        ) from error
    if not isinstance(checkpoint, dict) or not {"state_dict", "global_step"} <= checkpoint.keys():
        raise ConfigError(f"{path} is no checkpoint of a run: delete it and train again")
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
