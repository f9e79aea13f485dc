"""A trained model scored: its weights, the numbers of a part of the data, and the keys reached."""

from typing import Any

from lightning import Trainer
from torch import Tensor

from reformer_pl.config import ConfigError
from reformer_pl.metrics import DRAWS_STD, KEYS_PER_TOKEN, N_DRAWS
from reformer_pl.module import LitSequenceModel
from reformer_pl.reach.keys_per_token import counted_keys
from reformer_pl.tasks.batches import SequenceData


def score(trainer: Trainer, module: LitSequenceModel, data: SequenceData) -> dict[str, float]:
    """The scores of the task by name, on the part of the data that task.split names, and the number
    of its sequences; where a score is over several draws of rotations, their number and spread; and
    the keys per token, where the attention says them.

    Keys are counted in the same forward passes, of all sequences, draws of rotations and ranks.
    """

    def sum_over_ranks(counted: Tensor) -> Tensor:
        there = counted.to(trainer.strategy.root_device)
        return trainer.strategy.reduce(there, reduce_op="sum")

    with counted_keys(module.model) as count:
        (values,) = trainer.validate(module, datamodule=data, verbose=False, weights_only=True)
    keys = count.mean(sum_over_ranks)
    scores = {name.split("/")[1]: value for name, value in values.items()}
    draws = {N_DRAWS: module.config.model.lsh.eval_draws} if DRAWS_STD in scores else {}
    reached = {} if keys is None else {KEYS_PER_TOKEN.name: keys}
    return scores | draws | reached | {"sequences": data.n_eval_sequences}


def load_weights(module: LitSequenceModel, weights: dict[str, Any], name: str) -> None:
    """Strictly, so that an evaluation never scores weights that were not trained."""
    try:
        module.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ConfigError(
            f"the checkpoint does not fit the evaluation '{name}': "
            "attention may differ, sizes of weights not"
        ) from error
