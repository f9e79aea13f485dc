"""`predict:` of a grid: further values of its axes, whose cells are predicted and run nothing.

axes: {task.length: [1024, 4096], model.residual: [standard, reversible]}
predict: {task.length: [65536, 1048576]}      # far beyond the machine
"""

from collections.abc import Iterable

from ablations.study.axes.choices import Choice
from reformer_pl.config import ConfigError

PREDICT_ONLY = "benchmark.predict_only=true"


def with_predicted(
    axes: dict[str, list[Choice]], further: dict[str, list[Choice]], measure: str
) -> dict[str, list[Choice]]:
    """The axes with their further choices behind. Raises ConfigError."""
    if further and not measure:
        raise ConfigError("predict: a cell that trains cannot be predicted alone: leave it out")
    for axis, choices in further.items():
        if axis not in axes:
            raise ConfigError(f"predict: {axis} is no axis of the grid: choose {', '.join(axes)}")
        labels = {label for label, _ in axes[axis]}
        twice = [label for label, _ in choices if label in labels]
        if twice:
            raise ConfigError(f"predict.{axis}: {twice[0]} stands in axes already")
    return {
        axis: [*choices, *((label, [*o, PREDICT_ONLY]) for label, o in further.get(axis, ()))]
        for axis, choices in axes.items()
    }


def is_predicted_alone(overrides: Iterable[str]) -> bool:
    """Whether a cell with these overrides runs nothing."""
    return PREDICT_ONLY in overrides
