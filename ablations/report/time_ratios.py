"""How many times as long a step takes as that of the first variant: medians over the rounds."""

import math
from collections.abc import Callable, Collection
from statistics import median
from typing import NamedTuple, TypeVar

from ablations.study import Study
from ablations.study.cell import Cell
from ablations.study.ratio_base import ratio_bases
from experiments.run_dir.outcome import result_row
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
    is_base: bool = False

    def inverse(self) -> "TimeRatio":
        return self._replace(median=1 / self.median, low=1 / self.high, high=1 / self.low)


NO_RATIO = TimeRatio(math.nan, math.nan, math.nan, 0, False)


def time_ratios(study: Study, place: Callable[[Cell], Place]) -> dict[Place, TimeRatio]:
    """By the place that a cell has in a table, over its seeds.

    A place has none where nothing was measured but the run itself.
    """
    rounds: dict[Cell, list[Round]] = {
        cell: read_rounds(cell.directory, result_row(cell.directory)) for cell in study.cells
    }
    values: dict[Place, list[float]] = {}
    disturbed: dict[Place, bool] = {}
    leads: set[Place] = set()
    for cell, base in ratio_bases(study).items():
        if not any("wall_seconds" in row for row in rounds[cell]):
            continue
        where = place(cell)
        of_cell, marked = ratios(rounds[cell], rounds[base])
        values.setdefault(where, []).extend(of_cell)
        disturbed[where] = disturbed.get(where, False) or marked
        leads |= {where} if cell == base else set()
    return {
        where: TimeRatio(
            median(some), *quartiles(some), len(some), disturbed[where], where in leads
        )
        for where, some in values.items()
        if some
    }


def rounds_words(ratios_by_place: dict[Place, TimeRatio], base: str) -> str:
    """A sentence for a caption; empty where nothing was measured in rounds."""
    counts = {ratio.n for ratio in ratios_by_place.values() if not ratio.is_base}
    if not counts:
        return ""
    return (
        f" Ratios of time are to {base} in the same round, with all variants timed in turn: the "
        f"median and, in parentheses, the quartiles of {number_of_rounds(counts)}."
    )


def number_of_rounds(counts: Collection[int]) -> str:
    """ "one round", "3 rounds", "3 to 9 rounds"."""
    if set(counts) <= {1}:
        return "one round"
    least, most = min(counts), max(counts)
    return f"{least} to {most} rounds" if least < most else f"{most} rounds"
