"""A trained model scored in another way.

Which changes of its config keep its weights and their meaning stands here. Imports no torch.
"""

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from reformer_pl.config.loading import flat, load, override_values, to_dict
from reformer_pl.config.plain_values import set_plain
from reformer_pl.config.rules import (
    ANY_LENGTH,
    SHARED_QK,
    SPLITS,
    ConfigError,
    attention_pattern,
)
from reformer_pl.config.run_rules import check
from reformer_pl.config.schema import RunConfig

# What the shapes of the weights follow from.
SHAPING = (
    "model.d_model",
    "model.n_layers",
    "model.d_ff",
    "model.positions",
    "model.merge",
    "task.name",
)
# What an evaluation that a run scores at its end may change.
NAMED_MAY_CHANGE = ("model.", "task.split", "task.length", "task.pairs", "task.noise")


def load_evaluation(trained: RunConfig, overrides: Iterable[str]) -> RunConfig:
    """The config that scores a trained model in another way.

    Raises ConfigError where the weights would not fit, or would mean something else.
    """
    overrides, changed = list(overrides), deepcopy(trained)
    if all(
        set_plain(changed, key, value)
        for override in overrides
        for key, value in override_values(override).items()
    ):
        check(changed)
    else:
        changed = load(to_dict(trained), overrides)
    old, new = flat(to_dict(trained)), flat(to_dict(changed))
    for key in SHAPING:
        if old[key] != new[key]:
            raise ConfigError(
                f"an evaluation keeps the weights, whose shapes follow from {key}={old[key]}: "
                f"it cannot be {new[key]}"
            )
    positions, length = trained.model.positions, trained.task.length
    if changed.task.length != length and positions not in ANY_LENGTH:
        raise ConfigError(
            f"an evaluation keeps the weights, and model.positions={positions} has weights for "
            f"task.length={length} alone: to score it at {changed.task.length}, train with "
            f"model.positions={' or '.join(ANY_LENGTH)}"
        )
    if old["model.n_heads"] != new["model.n_heads"]:
        raise ConfigError(
            "an evaluation keeps the weights: a model trained with "
            f"model.n_heads={old['model.n_heads']} has no other heads"
        )
    if (trained.model.residual == "reversible") != (changed.model.residual == "reversible"):
        raise ConfigError(
            "an evaluation keeps the weights: reversible layers have two streams, the others one, "
            "so a model trained with "
            f"model.residual={trained.model.residual} cannot be scored with "
            f"{changed.model.residual}"
        )
    words = (
        attention_pattern(config.model.attention, config.model.n_layers)
        for config in (trained, changed)
    )
    for layer, (before, after) in enumerate(zip(*words, strict=False)):
        if (before in SHARED_QK) != (after in SHARED_QK):
            raise ConfigError(
                f"an evaluation keeps the weights: {' and '.join(SHARED_QK)} share queries and "
                "keys, the others do not, so a model trained "
                f"with {before} in layer {layer} cannot be scored with {after}"
            )
    return changed


def load_named_evaluation(trained: RunConfig, name: str) -> RunConfig:
    """`load_evaluation` of trained.evaluations[name], which a run scores at its end.

    It does so on its own devices and precision. Raises ConfigError, also for a change that is none
    of NAMED_MAY_CHANGE.
    """
    changed = load_evaluation(trained, trained.evaluations[name])
    old, new = flat(to_dict(trained)), flat(to_dict(changed))
    for key in old:
        if old[key] != new[key] and not key.startswith(NAMED_MAY_CHANGE):
            *others, last = (f"{word}*" if word[-1] == "." else word for word in NAMED_MAY_CHANGE)
            raise ConfigError(
                f"evaluation '{name}' changes {key}: a run's own change {', '.join(others)} and "
                f"{last} alone, python -m experiments.evaluate others too"
            )
    return changed


def task_changes(overrides: Iterable[str]) -> dict[str, Any]:
    """The keys of the task that an evaluation sets, without `task.`, each with its value."""
    changes: dict[str, Any] = {}
    for override in overrides:
        for key, value in override_values(override).items():
            if key.startswith("task."):
                changes[key.removeprefix("task.")] = value
    return changes


def split_of(overrides: Iterable[str]) -> str:
    """The part of the data on which an evaluation scores, a word of SPLITS."""
    return str(task_changes(overrides).get("split", SPLITS[0]))
