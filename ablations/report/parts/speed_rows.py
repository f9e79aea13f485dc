"""What a benchmark study measured, as numbers by variant and place on the axis that grows, and the words for how it was measured."""

import math
from functools import cache

import numpy as np
import pandas as pd

from ablations.report.table import MISSING
from ablations.study.grid import Grid
from experiments.compose import Bases, compose
from experiments.run_dir.outcome import OK
from reformer_pl.config import RunConfig

COUNTED = {
    "attention": "attention alone (forward and backward, hashing and sorting included)",
    "layer": "one attention layer (forward and backward, projections included)",
    "step": "one training step (forward, backward, optimiser)",
}
PEAK_OF_A_KERNEL = "counted tensor bytes above the inputs at the peak of forward and backward"
PEAK_OF_A_STEP = "everything at the peak of one training step"
ORDER_BYTES = 8  # per token, head and round: `reformer_pl.lsh.plan.Plan`
DTYPES = {"32-true": "fp32", "64-true": "fp64", "bf16-mixed": "bf16 autocast"}


def grid_rows(grid: Grid, cells: pd.DataFrame) -> pd.DataFrame:
    """The rows of `results.load_cells` that are the grid's, with `variant`, `at` (the label on the grown axis) and `peak_memory_mib`."""
    placed = [(cell.name, cell.seed, *grid.place(cell)) for cell in grid.cells]
    rows = pd.DataFrame(placed, columns=["cell", "seed", "variant", "at"]).merge(
        cells, on=["cell", "seed"], how="left"
    )
    rows["peak_memory_mib"] = 1024 * rows["peak_memory_gib"]
    return rows


def by_place(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """variant x place on the grown axis, in the study's order: the mean over the seeds that ended well, NaN where none did."""
    ended = rows[rows["status"] == OK]
    found = ended.groupby(["variant", "at"])[column].mean().unstack()
    return found.reindex(index=rows["variant"].unique(), columns=rows["at"].unique()).astype(float)


def status(rows: pd.DataFrame, variant: str, at: str) -> str:
    """How the seeds of one case ended: ok where any did, else the first one's word."""
    found = list(rows.loc[(rows["variant"] == variant) & (rows["at"] == at), "status"])
    return "ok" if "ok" in found else found[0] if found else "missing"


def exponent(x: pd.Series, y: pd.Series) -> float:
    """The power of x with which y grows: the slope of log y over log x. NaN with fewer than two points."""
    return slope(np.log(x), np.log(y.where(y > 0)))


def slope(x: pd.Series, y: pd.Series) -> float:
    """Of the least-squares line through the points where both are known; NaN with fewer than two."""
    known = x.notna() & y.notna()
    return float(np.polyfit(x[known], y[known], 1)[0]) if known.sum() > 1 else math.nan


def memory_said(grid: Grid) -> str:
    return f"memory is {PEAK_OF_A_STEP if grid.measure == 'step' else PEAK_OF_A_KERNEL}"


def shape_said(grid: Grid, rows: pd.DataFrame) -> str:
    """ ", length 1024, batch 1, 3 layers": what all cases share; or their number of tokens, where the batch shrinks as the length grows."""
    said = ""
    for name, words in (
        ("length", ", length {:.0f}"),
        ("batch_size", ", batch {:.0f}"),
        ("n_layers", ", {:.0f} layers"),
    ):
        values = rows[name].dropna().unique()
        if len(values) == 1 and (name != "n_layers" or grid.measure == "step"):
            said += words.format(values[0])
    tokens = (rows["batch_size"] * rows["length"]).dropna().unique()
    return (
        f", {tokens[0]:,.0f} tokens in all (length/batch)"
        if len(tokens) == 1 and "batch" not in said
        else said
    )


def lengths_said(found: pd.Series) -> str:
    """ "1024-32768": the labels between which there are numbers."""
    known = list(found.dropna().index)
    return MISSING if not known else known[0] if len(known) == 1 else f"{known[0]}-{known[-1]}"


def made_on(grid: Grid, rows: pd.DataFrame) -> str:
    """ " CPU, 2 cores; 1 thread; fp32." """
    dtype = DTYPES[_precision(grid.cells[0].overrides)]
    threads = [
        f"{count:g} thread{'' if count == 1 else 's'}"
        for count in rows["threads"].dropna().unique()
    ]
    return f" {'; '.join([*map(str, rows['device'].dropna().unique()), *threads, dtype])}."


def sort_order_bytes(grid: Grid, variant: str) -> float:
    """What one layer of LSH keeps to reach the same keys in the backward pass, averaged over the pattern's words; 0 for other attention."""
    config = _composed(
        next(cell for cell in grid.cells if grid.place(cell)[0] == variant).overrides
    )
    words, lsh, tokens = config.model.attention.split(), config.model.lsh, config.task.length
    padded = -(-tokens // lsh.chunk_len) * lsh.chunk_len
    return (
        ORDER_BYTES
        * config.task.batch_size
        * config.model.n_heads
        * lsh.n_hashes
        * padded
        * words.count("lsh")
        / len(words)
    )


def _precision(overrides: tuple[str, ...]) -> str:
    return _composed(overrides).trainer.precision


BASES = Bases()


@cache  # composing takes longer than a table
def _composed(overrides: tuple[str, ...]) -> RunConfig:
    return compose(overrides, BASES)
