"""Paired differences: each variant against a named baseline on equal seeds, with the interval of the mean difference.

A seed fixes the initial weights and the data order, so that its noise is common to both runs of a pair and leaves their difference.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import pandas as pd

from ablations.report.intervals import paired_difference
from ablations.report.numbers import digits, signed, with_interval
from ablations.report.seeds import INTERVAL_SAID, ended_badly, seeds_text, side_by_side
from ablations.report.table import Table, best_of, score
from ablations.results import labels
from ablations.study import Study
from experiments.run_dir.outcome import OK


class Measure(NamedTuple):
    """A column to compare: what its header says, the factor to the unit shown, and whether larger or smaller numbers are better."""

    column: str
    said: str
    scale: float
    better: Callable[[list[float]], float]


class Pair(NamedTuple):
    """Two groups of `results.load_cells` rows whose seeds are matched, and how each ended, in words."""

    label: str
    before: pd.DataFrame
    after: pd.DataFrame
    ended: tuple[str, ...]


def paired_table(study: Study, cells: pd.DataFrame) -> Table:
    """Every other variant minus `study.baseline`."""
    base = cells[cells["train"] == study.baseline]
    pairs = [
        Pair(label, base, cells[cells["train"] == label], (seeds_text(cells, label),))
        for label in labels(study)
        if label != study.baseline
    ]
    measures = measures_of(score(study), cells)
    rows, best, data = compare_pairs(pairs, measures, study.baseline)
    held = base[base["status"] == OK]
    means = ", ".join(f"{m.said} {m.scale * held[m.column].mean():.4g}" for m in measures)
    caption = (
        f"Differences from {study.baseline} on the n equal seeds that ended well in both: mean, and {INTERVAL_SAID} of the paired "
        "differences."
        + (f" {study.baseline} itself: {means}." if len(held) else "")
        + f" Bold: the best, where it is better than {study.baseline}.{side_by_side(study)}"
    )
    return Table(
        "paired", caption, ("variant", *(m.said for m in measures), "n", "seeds"), rows, best, data
    )


def measures_of(judged: str, cells: pd.DataFrame) -> list[Measure]:
    """Score (left out where no cell has one, as in benchmarks), memory and time."""
    memory = ("GiB", 1) if cells["peak_memory_gib"].max() >= 1 else ("MiB", 1024)
    scores = {
        "accuracy": Measure("accuracy", "accuracy (%)", 100, max),
        "bits_per_dim": Measure("bits_per_dim", "bits per dim", 1, min),
    }
    return [
        *([scores[judged]] if cells[judged].notna().any() else []),
        Measure("peak_memory_gib", f"memory ({memory[0]})", memory[1], min),
        Measure("step_seconds", "s/step", 1, min),
    ]


def compare_pairs(
    pairs: Iterable[Pair], measures: list[Measure], before_said: str
) -> tuple[tuple[tuple[str, ...], ...], frozenset[tuple[int, int]], pd.DataFrame]:
    """(rows, best, data) of a table with a column for each measure, then n and how each group ended.

    Where there is no pair to take, the words say why: "oom", "BEFORE: failed" or "no equal seed".
    """
    found = []
    for pair in pairs:
        ok = [rows[rows["status"] == OK].set_index("seed") for rows in (pair.before, pair.after)]
        found.append(
            (
                pair,
                [paired_difference(*(m.scale * rows[m.column] for rows in ok)) for m in measures],
            )
        )
    places = []
    for j, m in enumerate(measures):
        around = digits(value for _, all_differences in found for value in all_differences[j][-2:])
        places.append({"accuracy": 1, "bits_per_dim": 3}.get(m.column, around))
    rows, data, best = [], [], set()
    for pair, differences in found:
        n = max(difference.n for difference in differences)
        texts = []
        for difference, decimals in zip(differences, places, strict=True):
            told = with_interval(difference.mean, difference.low, difference.high, decimals, signed)
            texts.append(told if difference.n == n else f"{told} (n = {difference.n})")
        rows.append(
            (
                pair.label,
                *(texts if n else [_why(pair, before_said)] * len(texts)),
                str(n),
                *pair.ended,
            )
        )
        data.append({"label": pair.label})
        for m, difference in zip(measures, differences, strict=True):
            known = zip(
                ("difference", "low", "high", "before", "after"),
                (*difference[:3], *difference[4:]),
                strict=True,
            )
            data[-1] |= {f"{m.column}_{key}": value / m.scale for key, value in known} | {
                f"{m.column}_n": difference.n
            }
    for j, m in enumerate(measures):
        means = [round(differences[j].mean, places[j]) for _, differences in found]
        best |= {(i - 1, j + 1) for i in best_of([0.0, *means], m.better) if i and means[i - 1]}
    return tuple(rows), frozenset(best), pd.DataFrame(data)


def _why(pair: Pair, before_said: str) -> str:
    for rows, said in ((pair.after, ""), (pair.before, f"{before_said}: ")):
        if (rows["status"] != OK).all():
            return f"{said}{ended_badly(rows['status'])}"
    return "no equal seed"
