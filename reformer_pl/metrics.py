"""What is measured: one record a metric, from which columns, units, decimals and directions follow.

This file imports neither torch nor pandas, so that a training step and a report read the same words.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from reformer_pl.config.rules import TASKS, ConfigError


@dataclass(frozen=True)
class Metric:
    """`name` is the key in result.json and the column of results.csv; the rest is how it is shown.

    A score's `name` is also its key in metrics.jsonl and in the `values` of the task's loss.
    """

    name: str
    header: str  # of a table's column, with the unit
    axis: str  # of a figure's axis, with the unit
    scale: float = 1.0  # from the stored number to the unit shown
    places: int | None = None  # decimals in a table; None: three digits that count
    higher_is_better: bool = False
    short_places: int = 2  # decimals where a figure writes the number
    suffix: str = ""  # behind the number where no header says the unit
    divisor: float = 1.0  # of a score: the mean that the loss gives is divided by it

    def better(self, values: Iterable[float]) -> float:
        """The best of some values."""
        return max(values) if self.higher_is_better else min(values)


ACCURACY = Metric(
    "accuracy", "accuracy (%)", "Held-out accuracy (%)",
    scale=100, places=1, higher_is_better=True, short_places=1, suffix="%",
)  # fmt: skip
BITS_PER_DIM = Metric(
    "bits_per_dim", "bits per dim", "Held-out bits per dim", places=3, divisor=math.log(2)
)
LOSS_NATS = Metric("loss_nats", "loss (nats)", "Held-out loss (nats)", places=3)
SCORES = (LOSS_NATS, ACCURACY, BITS_PER_DIM)  # of all tasks, in the order of result.json
STEP_SECONDS = Metric("step_seconds", "s/step", "Seconds per training step")
MEMORY_GIB = Metric("peak_memory_gib", "memory (GiB)", "Peak memory (GiB)")
MEMORY_MIB = Metric("peak_memory_gib", "memory (MiB)", "Peak memory (MiB)", scale=1024)


def memory_metric(most_gib: float) -> Metric:
    """Peak memory in the unit that suits the largest number of a table: MiB below one GiB."""
    return MEMORY_GIB if most_gib >= 1 else MEMORY_MIB


def task_metrics(name: str) -> tuple[Metric, ...]:
    """The scores of a task's held-out part. A study of it is judged by the first."""
    match name:
        case "duplication":
            return (ACCURACY, LOSS_NATS, BITS_PER_DIM)
        case "enwik8":
            return (BITS_PER_DIM, LOSS_NATS, ACCURACY)
        case word:
            raise ConfigError(f"task.name={word} is unknown: choose {', '.join(TASKS)}")


def score_names(task: str) -> list[str]:
    """The keys of a task's scores in result.json, in their order there."""
    metrics = task_metrics(task)
    return [metric.name for metric in SCORES if metric in metrics]
