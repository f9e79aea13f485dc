"""The words of `report:` in a study, and what each of them needs of it.

A word is the name of a file below ablations/report/parts, which makes its tables and figures. A new
part is that file and a line here.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Needs:
    """What a study must have for a part of its report."""

    kind: Literal["training", "benchmarks", "any"] = "training"  # what its cells do
    joins: bool = False  # one table and one figure of all grids that ask for it
    axis: str = ""  # that grows: length or n_layers; a config key may stand for it, as task.length
    variants: int = 1  # at least
    key: str = ""  # a key that is not 0 in one of its cells
    example: str = ""  # an override that sets the key
    task: str = ""  # of one of its cells
    tunes: bool = False  # whether the study must have `tune:`, and then has the word by itself


REPORT_WORDS = {
    "train_eval": Needs(),
    "loss_memory": Needs(),
    "paired": Needs(variants=2),
    "hash_rounds": Needs(),
    "memory_prediction": Needs(),
    "tuning": Needs(tunes=True),
    "learning_curves": Needs(),
    "keys": Needs(),
    "coverage": Needs(
        key="trainer.coverage_every_steps", example="trainer.coverage_every_steps=10"
    ),
    "slices": Needs(task="recall"),
    "cost": Needs("benchmarks"),
    "speedup": Needs("benchmarks", axis="length"),
    "length_time": Needs("benchmarks", axis="length"),
    "length_memory": Needs("benchmarks", axis="length"),
    "complexity": Needs("benchmarks", axis="length"),
    "per_layer": Needs("benchmarks", axis="n_layers"),
    "memory_axes": Needs("benchmarks", joins=True),
    "table": Needs("any"),
}


def words_for(kind: str) -> tuple[str, ...]:
    """The words of a study whose cells train, or are benchmarks."""
    return tuple(word for word, needs in REPORT_WORDS.items() if needs.kind in (kind, "any"))
