"""What a grid of benchmarks measured: numbers by variant and place on the axis that grows, and the
words for how it was measured.
"""

import math
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from ablations.report.judged import composed
from ablations.report.numbers import MISSING, digits
from ablations.report.table import Entry, Value, Words, text_of
from ablations.report.variant_means import disturbed_words
from ablations.study.grid import Grid
from experiments.run_dir.outcome import MISSING as NOT_RUN
from experiments.run_dir.outcome import OK

COUNTED = {
    "attention": "attention alone (forward and backward, hashing and sorting included)",
    "layer": "one attention layer (forward and backward, projections included)",
    "step": "one training step (forward, backward, optimiser)",
}
PEAK_OF_A_KERNEL = "counted tensor bytes above the inputs at the peak of forward and backward"
PEAK_OF_A_STEP = "everything at the peak of one training step"
DTYPES = {"32-true": "fp32", "64-true": "fp64", "bf16-mixed": "bf16 autocast"}


def grid_rows(grid: Grid, cells: pd.DataFrame) -> pd.DataFrame:
    """The rows of `results.load_cells` that are the grid's, with `variant`, `at` (the label on the
    grown axis) and `peak_memory_mib`.
    """
    placed = [(cell.name, cell.seed, *grid.place(cell)) for cell in grid.cells]
    rows = pd.DataFrame(placed, columns=["cell", "seed", "variant", "at"]).merge(
        cells, on=["cell", "seed"], how="left"
    )
    rows["peak_memory_mib"] = 1024 * rows["peak_memory_gib"]
    return rows


def by_place(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """variant x place on the grown axis, in the study's order: the mean over the seeds that ended
    well, NaN where none did.
    """
    means = rows[rows["status"] == OK].groupby(["variant", "at"])[column].mean().unstack()
    return means.reindex(index=rows["variant"].unique(), columns=rows["at"].unique()).astype(float)


def seeds_at(rows: pd.DataFrame) -> pd.DataFrame:
    """variant x place: how many seeds ended well."""
    counts = rows[rows["status"] == OK].groupby(["variant", "at"]).size().unstack()
    return counts.reindex(index=rows["variant"].unique(), columns=rows["at"].unique()).fillna(0)


def repeats_words(rows: pd.DataFrame) -> str:
    """ " of 5 to 12 repetitions, means over 3 seeds", for a caption; empty where nothing ran."""
    finished = rows[rows["status"] == OK]
    if finished.empty:
        return ""
    repeats, seeds = finished["n_repeats"], finished.groupby(["variant", "at"], dropna=False).size()
    over = f", means over {_least_to_most(seeds)} seeds" if seeds.max() > 1 else ""
    return f" of {_least_to_most(repeats)} repetitions{over}"


def _least_to_most(counts: pd.Series) -> str:
    """ "5", or "5 to 12"."""
    return " to ".join(dict.fromkeys(f"{count:.0f}" for count in (counts.min(), counts.max())))


def disturbed_at(rows: pd.DataFrame, variant: str, at: str | None) -> bool:
    """Whether something disturbed the time of a case, of any of its seeds that ended well."""
    case = rows[(rows["variant"] == variant) & (rows["at"] == at) & (rows["status"] == OK)]
    return bool(case["disturbed"].fillna(False).any())


def disturbed_cases(rows: pd.DataFrame) -> str:
    """For the caption of a figure of times, which of its points carry the mark."""
    cases = rows[["variant", "at"]].drop_duplicates().itertuples(index=False)
    return disturbed_words(
        f"{variant} at {at}" if at else variant
        for variant, at in cases
        if disturbed_at(rows, variant, at)
    )


def status(rows: pd.DataFrame, variant: str, at: str) -> str:
    """How the seeds of one case ended: ok where any did, else the first one's word."""
    statuses = list(rows.loc[(rows["variant"] == variant) & (rows["at"] == at), "status"])
    return OK if OK in statuses else statuses[0] if statuses else NOT_RUN


def three_digits(value: float) -> Value:
    """A number with three digits that count: 0.0312, 25.6, 4,096."""
    return Value(value, places=digits([value]))


def two_decimals(value: float) -> Value:
    return Value(value, places=2)


def value_or_status(
    rows: pd.DataFrame,
    variant: str,
    at: str,
    value: float,
    entry: Callable[[float], Value] = three_digits,
) -> Entry:
    """The number of one case, or why there is none, in words."""
    word = status(rows, variant, at)
    if word == OK:
        return entry(value)
    return Words("not run" if word == NOT_RUN else word.replace("_", " "))


def ratio_or_status(
    rows: pd.DataFrame, variant: str, places: Iterable[str | None], value: float
) -> Entry:
    """The ratio of the numbers at two places, or the word for the one that is missing."""
    if pd.isna(value):
        for at in places:
            reason = MISSING if at is None else text_of(value_or_status(rows, variant, at, value))
            if reason != MISSING:
                return Words(reason)
    return two_decimals(value)


def not_measured(rows: pd.DataFrame) -> str:
    """ " Not measured: Full, naive at 8192/4 (would not fit)." Empty where every case has its
    point.
    """
    cases = rows[["variant", "at"]].drop_duplicates().itertuples(index=False)
    words = {(variant, at): status(rows, variant, at) for variant, at in cases}
    gone = [
        f"{variant} at {at or MISSING} ({word.replace('_', ' ')})"
        for (variant, at), word in words.items()
        if word != OK
    ]
    return f" Not measured: {', '.join(gone)}." if gone else ""


def exponent(x: pd.Series, y: pd.Series) -> float:
    """The power of x with which y grows: the slope of log y over log x.

    NaN with fewer than two points.
    """
    return slope(np.log(x), np.log(y.where(y > 0)))


def slope(x: pd.Series, y: pd.Series) -> float:
    """Of the least-squares line where both are numbers; NaN with fewer than two."""
    both = x.notna() & y.notna()
    return float(np.polyfit(x[both], y[both], 1)[0]) if both.sum() > 1 else math.nan


def memory_words(grid: Grid) -> str:
    """What is counted as memory."""
    return f"memory is {PEAK_OF_A_STEP if grid.measure == 'step' else PEAK_OF_A_KERNEL}"


def shape_words(grid: Grid, rows: pd.DataFrame) -> str:
    """ ", length 1024, batch 1, 3 layers": what all cases share.

    Where the batch shrinks as the length grows, it is their number of tokens.
    """
    tokens = constant_tokens(rows)
    if tokens is not None:
        return f", {tokens:,.0f} tokens in all (length/batch)"
    words = ""
    for name, form in (
        ("length", ", length {:.0f}"),
        ("batch_size", ", batch {:.0f}"),
        ("n_layers", ", {:.0f} layers"),
    ):
        values = rows[name].dropna().unique()
        if len(values) == 1 and (name != "n_layers" or grid.measure == "step"):
            words += form.format(values[0])
    return words


def constant_tokens(rows: pd.DataFrame) -> float | None:
    """Tokens of each case, where they are the same at every batch size; else None."""
    tokens = (rows["batch_size"] * rows["length"]).dropna().unique()
    batches = rows["batch_size"].dropna().unique()
    return tokens[0] if len(tokens) == 1 and len(batches) != 1 else None


def made_on(grid: Grid, rows: pd.DataFrame) -> str:
    """ " CPU, 2 cores; 1 thread; fp32." """
    dtype = DTYPES[composed(grid.cells[0].overrides).trainer.precision]
    threads = [
        f"{count:g} thread{'' if count == 1 else 's'}"
        for count in rows["threads"].dropna().unique()
    ]
    return f" {'; '.join([*map(str, rows['device'].dropna().unique()), *threads, dtype])}."
