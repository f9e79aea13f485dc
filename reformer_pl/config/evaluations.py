"""A trained model scored in another way, or trained on in another way: evaluations and phases.

Which changes of its config keep its weights and their meaning stands here. Imports no torch.
"""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import replace

from reformer_pl.config.loading import flat, load, override_values, to_dict
from reformer_pl.config.plain_values import set_plain
from reformer_pl.config.rules import ANY_LENGTH, SHARED_QK, ConfigError, attention_pattern
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
NAMED_MAY_CHANGE = ("model.", "task.split")


def load_evaluation(trained: RunConfig, overrides: Iterable[str]) -> RunConfig:
    """The config that scores a trained model in another way: overrides of its last phase.

    Without any it is how the run itself scores at its end. Raises ConfigError where the weights
    would not fit, or would mean something else.
    """
    trained = last_phase(trained)
    changed = _changed(trained, overrides)
    if changed.phases:
        raise ConfigError("an evaluation scores one model and has no phases: leave them out")
    _check_weights(trained, changed, "an evaluation", "be scored")
    return changed


def last_phase(config: RunConfig) -> RunConfig:
    """The config of the last step of a run. Raises ConfigError for a phase that cannot be."""
    return load_phase(config, max(config.phases)) if config.phases else config


def phase_configs(config: RunConfig) -> dict[int, RunConfig]:
    """The config of each phase of a run by its first step, from 0. Raises ConfigError."""
    later = {start: load_phase(config, start) for start in sorted(config.phases)}
    return {0: replace(config, phases={}), **later}


def load_phase(config: RunConfig, start: int) -> RunConfig:
    """The config of the steps from `start` on, itself without phases.

    Raises ConfigError where it changes more than keys of the model, or where the weights would not
    fit or would mean something else.
    """
    first, overrides = replace(config, phases={}), config.phases[start]
    try:
        for key in (key for override in overrides for key in override_values(override)):
            if not key.startswith("model."):
                raise ConfigError(f"a phase changes keys of the model alone, and not {key}")
        changed = _changed(first, overrides)
        _check_weights(first, changed, "a phase", "go on")
    except ConfigError as error:
        raise ConfigError(f"phases.{start}: {error}") from error
    return changed


def _changed(config: RunConfig, overrides: Iterable[str]) -> RunConfig:
    """A checked copy with overrides."""
    overrides, changed = list(overrides), deepcopy(config)
    if all(
        set_plain(changed, key, value)
        for override in overrides
        for key, value in override_values(override).items()
    ):
        return check(changed)
    return load(to_dict(config), overrides)


def _check_weights(trained: RunConfig, changed: RunConfig, who: str, what: str) -> None:
    """Raises ConfigError where weights of the one config are none of the other."""
    old, new = flat(to_dict(trained)), flat(to_dict(changed))
    for key in SHAPING:
        if old[key] != new[key]:
            raise ConfigError(
                f"{who} keeps the weights, whose shapes follow from {key}={old[key]}: "
                f"it cannot be {new[key]}"
            )
    positions, length = trained.model.positions, trained.task.length
    if changed.task.length != length and positions not in ANY_LENGTH:
        raise ConfigError(
            f"{who} keeps the weights, and model.positions={positions} has weights for "
            f"task.length={length} alone: to score it at {changed.task.length}, train with "
            f"model.positions={' or '.join(ANY_LENGTH)}"
        )
    if old["model.n_heads"] != new["model.n_heads"]:
        raise ConfigError(
            f"{who} keeps the weights: a model trained with "
            f"model.n_heads={old['model.n_heads']} has no other heads"
        )
    if (trained.model.residual == "reversible") != (changed.model.residual == "reversible"):
        raise ConfigError(
            f"{who} keeps the weights: reversible layers have two streams, the others one, "
            "so a model trained with "
            f"model.residual={trained.model.residual} cannot {what} with "
            f"{changed.model.residual}"
        )
    words = (
        attention_pattern(config.model.attention, config.model.n_layers)
        for config in (trained, changed)
    )
    for layer, (before, after) in enumerate(zip(*words, strict=False)):
        if (before in SHARED_QK) != (after in SHARED_QK):
            raise ConfigError(
                f"{who} keeps the weights: {' and '.join(SHARED_QK)} share queries and "
                "keys, the others do not, so a model trained "
                f"with {before} in layer {layer} cannot {what} with {after}"
            )


def load_named_evaluation(trained: RunConfig, name: str) -> RunConfig:
    """`load_evaluation` of trained.evaluations[name], which a run scores at its end.

    It does so on its own devices and precision. Raises ConfigError, also for a change that is none
    of the model or of the part of the data.
    """
    changed = load_evaluation(trained, trained.evaluations[name])
    old, new = flat(to_dict(trained) | {"phases": {}}), flat(to_dict(changed))
    for key in old:
        if old[key] != new[key] and not key.startswith(NAMED_MAY_CHANGE):
            raise ConfigError(
                f"evaluation '{name}' changes {key}: a run's own change model.* and task.split "
                "alone, python -m experiments.evaluate others too"
            )
    return changed
