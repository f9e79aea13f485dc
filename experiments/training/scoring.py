"""A trained model scored: its weights, and the numbers of a part of the data."""

from typing import Any

from lightning import Trainer

from reformer_pl.config import ConfigError
from reformer_pl.metrics import DRAWS_STD, N_DRAWS
from reformer_pl.module import LitSequenceModel
from reformer_pl.tasks.batches import SequenceData


def score(trainer: Trainer, module: LitSequenceModel, data: SequenceData) -> dict[str, float]:
    """The scores of the task by name, on the part of the data that task.split names, and the number
    of its sequences; where a score is over several draws of rotations, their number and spread.
    """
    (values,) = trainer.validate(module, datamodule=data, verbose=False, weights_only=True)
    scores = {name.split("/")[1]: value for name, value in values.items()}
    draws = {N_DRAWS: module.config.model.lsh.eval_draws} if DRAWS_STD in scores else {}
    return scores | draws | {"sequences": data.n_eval_sequences}


def load_weights(module: LitSequenceModel, weights: dict[str, Any], name: str) -> None:
    """Strictly, so that an evaluation never scores weights that were not trained."""
    try:
        module.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ConfigError(
            f"the checkpoint does not fit the evaluation '{name}': "
            "attention may differ, sizes of weights not"
        ) from error
