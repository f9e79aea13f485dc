"""`phases`: at which steps of a run its model goes on under other settings.

phases:
  600: [model.lsh.n_hashes=4]                        # steps 0 to 599 are trained as the config says
  900: [model.lsh.n_hashes=8, model.dropout=0.1]     # each phase changes that config, not the last

The weights and the state of the optimiser stay, so a phase changes keys of the model that keep
them; `evaluations.py` says which do. The phase of a step follows from the step alone, and a resumed
run is in the phase that an undisturbed one would be in.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from reformer_pl.config.rules import ConfigError
from reformer_pl.config.schema import RunConfig

EXAMPLE = "phases={600: [model.lsh.n_hashes=4]}"
STEP = re.compile(r"0|-?[1-9][0-9]*")

Phases = dict[int, list[str]]


def phase_start(starts: Iterable[int], step: int) -> int:
    """The first step of the phase that a step is in: 0 before all of the starts."""
    return max((start for start in starts if start <= step), default=0)


def by_step(values: Any) -> Any:
    """A mapping with its keys as whole numbers, also from JSON, which has texts; others stay.

    Raises ConfigError for a key that is no whole number.
    """
    if not isinstance(values, Mapping):
        return values
    phases = {_step(key): overrides for key, overrides in values.items()}
    if len(phases) < len(values):
        raise ConfigError(f"phases has a step twice: {', '.join(map(str, values))}")
    return phases


def _step(key: Any) -> int:
    if isinstance(key, bool) or not STEP.fullmatch(str(key)):
        raise ConfigError(f"phases has the step {key}: a step is a whole number, as in {EXAMPLE}")
    return int(key)


def read_phases(key: str, text: str) -> Phases:
    """The phases of an override: of phases={600: [...]}, or of phases.600=[...].

    The text is YAML, in which 'model.lsh.n_hashes=4' needs no quotes. Raises ConfigError.
    """
    try:
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise _no_phases(f"{key}={text}") from error
    _, _, step = key.partition(".")
    if step:
        return {_step(step): _overrides(node, f"{key}={text}")}
    if not isinstance(node, yaml.MappingNode):
        raise _no_phases(f"{key}={text}")
    steps = [start.value for start, _ in node.value]
    twice = [start for start in steps if steps.count(start) > 1]
    if twice:
        raise ConfigError(f"phases has the step {twice[0]} twice: leave one out")
    return by_step({start.value: _overrides(value, f"{key}={text}") for start, value in node.value})


def _overrides(node: yaml.Node | None, override: str) -> list[str]:
    items = node.value if isinstance(node, yaml.SequenceNode) else [None]
    if not all(isinstance(item, yaml.ScalarNode) for item in items):
        raise _no_phases(override)
    return [item.value for item in items]


def _no_phases(override: str) -> ConfigError:
    return ConfigError(f"{override} must be steps with lists of overrides, such as {EXAMPLE}")


def check_steps(config: RunConfig) -> None:
    """Raises ConfigError for a phase that begins before step 1, or that no step would be in."""
    for start in config.phases:
        if start < 1:
            raise ConfigError(
                f"phases has the step {start}: the first phase is the config itself, "
                "so the others begin at step 1 or later"
            )
        if start >= config.trainer.max_steps:
            raise ConfigError(
                f"phases has the step {start}, and no step is trained from there on: "
                f"it must be below trainer.max_steps={config.trainer.max_steps}"
            )
