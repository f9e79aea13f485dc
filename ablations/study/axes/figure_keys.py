"""`figures:` of a study: which axis is the colour, the marker and the panels of a figure, and what
its axes show.

figures:
  learning_curves: {colour: model.lsh.n_hashes, facet: model.attention, x: tokens, from: 0.2}
  loss_memory: {marker: model.residual, log: x}
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ablations.study.grid import Grid
from ablations.study.written.yaml_values import plain_value
from experiments.compose import Bases, compose
from reformer_pl.config import ConfigError, RunConfig, flat, to_dict

NONE = "none"  # of colour, marker and facet: not used
XS = ("steps", "tokens", "seconds")
LOGS = ("x", "y", "xy")
AXIS_KEYS = ("colour", "marker", "facet")
# The figures that a study may set, by the word of `report:`, and their keys.
SETTABLE = {
    "learning_curves": (*AXIS_KEYS, "x", "log", "from"),
    "loss_memory": (*AXIS_KEYS, "log"),
    "slices": AXIS_KEYS,
    "memory_prediction": ("colour", "marker"),
    "length_time": ("colour", "marker"),
    "length_memory": ("colour", "marker"),
    "per_layer": ("colour", "marker"),
}


@dataclass(frozen=True)
class FigureKeys:
    """What a study says of one figure. Empty, or None, is what the figure chooses itself."""

    colour: str = ""
    marker: str = ""
    facet: str = ""
    x: str = ""
    log: str = ""
    tail: float | None = field(default=None, metadata={"key": "from"})

    def of_axes(self) -> dict[str, str]:
        """colour, marker and facet, each with its key, where it is set."""
        return {name: key for name in AXIS_KEYS if (key := getattr(self, name))}


def read_figures(values: dict[str, Any], grids: Iterable[Grid]) -> dict[str, FigureKeys]:
    """The mapping below `figures:` of a study with these grids. Raises ConfigError."""
    grids = list(grids)
    words = list(dict.fromkeys(w for grid in grids for w in grid.report if w in SETTABLE))
    read = {}
    for word, keys in values.items():
        if word not in words:
            choice = f"choose {', '.join(words)}" if words else "no figure of this report has keys"
            reason = "stands not in report" if word in SETTABLE else "is no figure with keys"
            raise ConfigError(f"figures: '{word}' {reason}: {choice}")
        if not isinstance(keys, dict):
            raise ConfigError(
                f"figures.{word} must be a mapping with the keys {', '.join(SETTABLE[word])}"
            )
        drawn = [grid for grid in grids if word in grid.report]
        axes = dict.fromkeys(axis for grid in drawn for axis in grid.axes)
        read[word] = _keys(word, keys, list(axes))
        for grid in drawn:
            _check_different(word, read[word], grid)
    return read


def _check_different(word: str, keys: FigureKeys, grid: Grid) -> None:
    """Raises ConfigError for an axis, or a key of the config, that all variants share."""
    bases, variants = Bases(), grid.first_cells()
    for name, key in keys.of_axes().items():
        if key in grid.axes:
            place = grid.axes.index(key)
            values = {cell.labels[place] for cell in variants.values()}
        elif key == NONE:
            continue
        else:
            configs = (compose(cell.overrides, bases) for cell in variants.values())
            values = {str(flat(to_dict(config)).get(key)) for config in configs}
        if len(values) < 2:
            raise ConfigError(
                f"figures.{word}.{name}: {key} is the same in every variant: choose one of "
                f"{', '.join(grid.axes)}, or a key of the config in which they differ"
            )


def _keys(word: str, values: dict[str, Any], axes: list[str]) -> FigureKeys:
    chosen: dict[str, Any] = {}
    for key, value in values.items():
        where = f"figures.{word}.{key}"
        if key not in SETTABLE[word]:
            raise ConfigError(f"{where} is unknown: choose {', '.join(SETTABLE[word])}")
        match key:
            case "x":
                chosen[key] = _word(where, value, XS)
            case "log":
                chosen[key] = _word(where, value, LOGS)
            case "from":
                chosen["tail"] = _fraction(where, value)
            case _:
                chosen[key] = _axis(where, value, axes)
    keys = FigureKeys(**chosen)
    _check_once(word, keys)
    return keys


def _check_once(word: str, keys: FigureKeys) -> None:
    """Raises ConfigError where one axis would be two things."""
    first: dict[str, str] = {}
    for name, key in keys.of_axes().items():
        other = first.setdefault(key, name)
        if other != name and key != NONE:
            raise ConfigError(
                f"figures.{word}: {key} is both {other} and {name}: choose one of the two"
            )


def _word(where: str, value: Any, words: tuple[str, ...]) -> str:
    if value not in words:
        raise ConfigError(f"{where}: {value!r} is unknown: choose {', '.join(words)}")
    return str(value)


def _fraction(where: str, value: Any) -> float:
    number = plain_value(where, value)
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    if not is_number or not math.isfinite(number) or not 0 <= number < 1:
        raise ConfigError(
            f"{where} is the share of the training before the values that the y-axis must hold, "
            f"from 0 to below 1, not {value!r}"
        )
    return float(number)


def _axis(where: str, value: Any, axes: list[str]) -> str:
    """An axis of the grid, a key of a config, or none."""
    if isinstance(value, str) and (value in axes or value == NONE or value in config_keys()):
        return str(value)
    raise ConfigError(
        f"{where}: {value!r} is unknown: choose {', '.join(axes)}, {NONE}, "
        "or a key of the config that differs between the variants"
    )


def config_keys() -> set[str]:
    """Every key of a run's config that a variant may set."""
    return set(flat(to_dict(RunConfig()))) - {"seed", "out_dir", "evaluations"}
