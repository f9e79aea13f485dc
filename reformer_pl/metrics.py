"""What is measured: one record a metric, from which columns, units, decimals and directions follow.

This file imports neither torch nor pandas, so that a training step and a report read the same
words.
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
    brief: str = ""  # of a narrow column; empty: the name
    divisor: float = 1.0  # of a score: the mean that the loss gives is divided by it
    noun: str = ""  # without the unit; empty: the header
    short_axis: str = ""  # of a narrow figure's axis; empty: the axis
    bounds: tuple[float, float] | None = None  # of the stored number, where it has any
    flag: str = ""  # of a time: the column that says whether something disturbed it

    @property
    def words(self) -> str:
        """For a sentence: "accuracy in %", "bits per dim"."""
        return f"{self.noun or self.header}{f' in {self.suffix}' if self.suffix else ''}"

    @property
    def title(self) -> str:
        """At the start of a sentence, without the unit: "Accuracy", "Bits per dim"."""
        noun = self.noun or self.header
        return noun[:1].upper() + noun[1:]

    def better(self, values: Iterable[float]) -> float:
        """The best of some values."""
        return max(values) if self.higher_is_better else min(values)


ACCURACY = Metric(
    "accuracy", "accuracy (%)", "Held-out accuracy (%)",
    scale=100, places=1, higher_is_better=True, short_places=1, suffix="%", noun="accuracy",
    bounds=(0, 1),
)  # fmt: skip
BITS_PER_DIM = Metric(
    "bits_per_dim",
    "bits per dim",
    "Held-out bits per dim",
    places=3,
    brief="bits/dim",
    divisor=math.log(2),
)
LOSS_NATS = Metric("loss_nats", "loss (nats)", "Held-out loss (nats)", places=3, brief="loss")
# Of recall: by the distance between a query and the pair that it asks for.
RECALL_SLICES = tuple(
    Metric(
        f"accuracy_to_{percent}",
        f"to {percent} % of the length (%)",
        f"Held-out accuracy, {percent - 25} to {percent} % of the length back (%)",
        scale=100, places=1, higher_is_better=True, short_places=1, suffix="%",
        noun=f"accuracy at up to {percent} % of the length", bounds=(0, 1),
    )
    for percent in (25, 50, 75, 100)
)  # fmt: skip
# Of all tasks, in the order of result.json.
SCORES = (LOSS_NATS, ACCURACY, BITS_PER_DIM, *RECALL_SLICES)
# Of a score that is the mean over several draws of rotations: how many, and the standard deviation
# over them of the score that the task is judged by.
N_DRAWS, DRAWS_STD = DRAWS = ("eval_draws", "eval_draws_std")
# What one query reaches, of the same evaluation as a score: `reformer_pl.reach.keys_per_token`.
KEYS_PER_TOKEN = Metric("keys_per_token", "keys per token", "Keys per token", places=1)
STEP_SECONDS = Metric(
    "step_seconds", "s/step", "Seconds per training step", short_axis="Seconds per step",
    flag="disturbed",
)  # fmt: skip
TRAIN_SECONDS = Metric(
    "train_seconds", "training (s)", "Training time (s)", places=0, flag="training_is_disturbed"
)
TOKENS_PER_SECOND = Metric(
    "tokens_per_second", "tokens/s", "Tokens per second",
    places=0, higher_is_better=True, flag="disturbed",
)  # fmt: skip
MEMORY_GIB = Metric(
    "peak_memory_gib", "memory (GiB)", "Peak memory (GiB)", suffix="GiB", noun="memory"
)
MEMORY_MIB = Metric(
    "peak_memory_gib", "memory (MiB)", "Peak memory (MiB)", scale=1024, suffix="MiB", noun="memory"
)


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
        case "recall":
            return (ACCURACY, LOSS_NATS, *RECALL_SLICES)
        case word:
            raise ConfigError(f"task.name={word} is unknown: choose {', '.join(TASKS)}")


def score_names(task: str) -> list[str]:
    """The keys of a task's scores in result.json, in their order there."""
    metrics = task_metrics(task)
    return [metric.name for metric in SCORES if metric in metrics]


def loss_name(task: str) -> str:
    """The key of what a task trains: the first of its scores."""
    return score_names(task)[0]
