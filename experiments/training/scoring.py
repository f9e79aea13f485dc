"""A trained model scored: its weights, and the held-out numbers."""

from typing import Any

from lightning import Trainer

from reformer_pl.config import ConfigError
from reformer_pl.module import LitSequenceModel
from reformer_pl.tasks.batches import SequenceData


def score(trainer: Trainer, module: LitSequenceModel, data: SequenceData) -> dict[str, float]:
    """The held-out scores of the task, by name, and the number of held-out sequences."""
    (values,) = trainer.validate(module, datamodule=data, verbose=False, weights_only=True)
    return {name.split("/")[1]: value for name, value in values.items()} | {
        "sequences": data.n_eval_sequences
    }


def load_weights(module: LitSequenceModel, weights: dict[str, Any], name: str) -> None:
    """Strictly, so that an evaluation never scores weights that were not trained."""
    try:
        module.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ConfigError(
            f"the checkpoint does not fit the evaluation '{name}': "
            "attention may differ, sizes of weights not"
        ) from error
