"""How many times as long a step takes as that of the first variant: medians over the rounds."""

import math
from collections.abc import Callable
from statistics import median
from typing import NamedTuple, TypeVar

from ablations.study import Study
from ablations.study.cell import Cell
from ablations.study.ratio_base import ratio_bases
from experiments.run_dir.outcome import read_result
from experiments.run_dir.rounds import Round, ratios, read_rounds
from experiments.times.waited import quartiles

Place = TypeVar("Place")


class TimeRatio(NamedTuple):
    """Median and quartiles over the rounds, and whether each round was disturbed."""

    median: float
    low: float
    high: float
    n: int  # rounds
    disturbed: bool

    def inverse(self) -> "TimeRatio":
        return TimeRatio(1 / self.median, 1 / self.high, 1 / self.low, self.n, self.disturbed)


NO_RATIO = TimeRatio(math.nan, math.nan, math.nan, 0, False)


def time_ratios(study: Study, place: Callable[[Cell], Place]) -> dict[Place, TimeRatio]:
    """By the place that a cell has in a table, over its seeds.

    A place has none where its cells and their base share no two rounds.
    """
    rounds: dict[Cell, list[Round]] = {
        cell: read_rounds(cell.directory, read_result(cell.directory)) for cell in study.cells
    }
    values: dict[Place, list[float]] = {}
    disturbed: dict[Place, bool] = {}
    for cell, base in ratio_bases(study).items():
        of_cell, marked = ratios(rounds[cell], rounds[base])
        values.setdefault(place(cell), []).extend(of_cell)
        disturbed[place(cell)] = disturbed.get(place(cell), False) or marked
    return {
        where: TimeRatio(median(some), *quartiles(some), len(some), disturbed[where])
        for where, some in values.items()
        if len(some) > 1
    }


def rounds_words(ratios_by_place: dict[Place, TimeRatio], base: str) -> str:
    """A sentence for a caption; empty where nothing was measured in rounds."""
    counts = sorted({ratio.n for ratio in ratios_by_place.values()})
    if not counts:
        return ""
    number = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return (
        f" Ratios of time are to {base} in the same round: medians over {number} rounds, in which "
        "all variants were timed in turn, with their quartiles."
    )
