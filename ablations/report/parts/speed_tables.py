"""The tables of a benchmark study: seconds and memory by variant and length, their ratios, and how they grow.

The first variant of a grid is what the others are compared with. A case without a number says why in its place: would not fit, oom, failed.
"""

import math
from collections.abc import Callable

import pandas as pd

from ablations.report.parts.speed_rows import (
    COUNTED,
    by_place,
    exponent,
    grid_rows,
    lengths_said,
    made_on,
    memory_said,
    shape_said,
    slope,
    sort_order_bytes,
    status,
)
from ablations.report.table import MISSING, Table, best_of, digits, number
from ablations.study import Study
from ablations.study.grid import Grid
from experiments.run_dir.outcome import OK

BYTES_TRAINED = 16  # of a parameter in fp32: itself, its gradient, Adam's two moments
MEBIBYTE = 2**20
COSTS = (
    "forward_seconds",
    "backward_seconds",
    "step_seconds",
    "step_seconds_iqr",
    "peak_memory_mib",
    "tokens_per_second",
    "parameters",
)


def speed_tables(study: Study, cells: pd.DataFrame) -> list[Table]:
    """The tables that each grid asks for, from `results.load_cells`."""
    tables = []
    for grid in study.grids:
        rows = grid_rows(grid, cells)
        for part in grid.report:
            match part:
                case "cost":
                    tables.append(cost(grid, rows))
                case "speedup":
                    tables.append(speedup(study, grid, rows))
                case "length_time":
                    tables.append(length_time(study, grid, rows))
                case "length_memory":
                    tables += [length_memory(grid, rows), length_memory(grid, rows, ratio=True)]
                case "complexity":
                    tables.append(complexity(study, grid, rows))
                case "per_layer":
                    tables.append(per_layer(grid, rows))
    return tables


def cost(grid: Grid, rows: pd.DataFrame) -> Table:
    """One row a case: forward, backward and whole seconds, memory, and what both are of the first variant's at the same length."""
    data = pd.DataFrame(
        {column: by_place(rows, column).T.stack(future_stack=True) for column in COSTS}
    ).reset_index()
    first = data["variant"].iloc[0]
    for column in ("step_seconds", "peak_memory_mib"):
        base = data[data["variant"] == first].set_index("at")[column]
        data[f"{column}_ratio"] = data[column] / data["at"].map(base)
    grown = [] if grid.grown is None else [grid.grown.removeprefix("n_")]
    header = (
        "variant", *grown, "forward (s)", "backward (s)", "whole (s)", "IQR (s)", f"x {first}", "memory (MiB)", f"x {first}", "tokens/s",
        "parameters", "repeats",
    )  # fmt: skip
    texts = [
        (
            row.variant, *([row.at] if grown else []), three(row.forward_seconds), three(row.backward_seconds),
            value_or_status(rows, row.variant, row.at, row.step_seconds), three(row.step_seconds_iqr), number(row.step_seconds_ratio, 2),
            value_or_status(rows, row.variant, row.at, row.peak_memory_mib), number(row.peak_memory_mib_ratio, 2),
            number(row.tokens_per_second, 0), number(row.parameters, 0), repeats_text(rows, row.variant, row.at),
        )
        for row in data.itertuples()
    ]  # fmt: skip
    caption = f"Cost of {COUNTED[grid.measure]}{shape_said(grid, rows)}: medians and interquartile range; {memory_said(grid)}."
    caption += f" Ratios are to {first}" + (
        f" at the same {'length' if grid.grown == 'length' else 'number of layers'}."
        if grown
        else "."
    )
    return Table(
        table_name("cost", grid),
        caption + made_on(grid, rows),
        header,
        tuple(texts),
        frozenset(),
        data,
    )


def length_time(study: Study, grid: Grid, rows: pd.DataFrame) -> Table:
    """Seconds by variant and length, the paper's below ours."""
    paper = study.paper.get("length_time", {})
    caption = f"Seconds of {COUNTED[grid.measure]}, medians, by length{shape_said(grid, rows)}."
    return _matrix(
        "length_time", grid, rows, by_place(rows, "step_seconds"), caption, min, paper=paper
    )


def length_memory(grid: Grid, rows: pd.DataFrame, ratio: bool = False) -> Table:
    """Peak memory by variant and length, in MiB or as a ratio to the first variant's."""
    values = by_place(rows, "peak_memory_mib")
    said = f"by length{shape_said(grid, rows)}; {memory_said(grid)}."
    if not ratio:
        return _matrix("length_memory", grid, rows, values, f"Peak memory in MiB {said}", min)
    caption = f"Peak memory as a multiple of {values.index[0]}'s {said}"
    return _matrix(
        "length_memory_ratio",
        grid,
        rows,
        values / values.iloc[0],
        caption,
        min,
        write=lambda value: number(value, 2),
    )


def speedup(study: Study, grid: Grid, rows: pd.DataFrame) -> Table:
    """How many times faster than the first variant, or, where the cases are `paired`, than the fused full attention timed in turn."""
    seconds, first = by_place(rows, "step_seconds"), rows["variant"].iloc[0]
    paired = by_place(rows, "speedup")
    values = paired.fillna(seconds.iloc[0] / seconds)
    paper = study.paper.get("length_time", {})
    paper = {
        name: {at: paper[first][at] / row[at] for at in row if at in paper[first]}
        for name, row in paper.items()
        if first in paper
    }
    how = f"{first}'s median over the variant's"
    if paired.notna().any(axis=None):
        alone = [
            name
            for name in paired.index
            if paired.loc[name].isna().all() and seconds.loc[name].notna().any()
        ]
        how = "median of the ratios of fused full attention's seconds to the variant's, timed in turn in one process"
        how += f" ({', '.join(alone)}, not paired: {first}'s median over its own)" if alone else ""
    caption = f"Speed-up of {COUNTED[grid.measure]}, by length{shape_said(grid, rows)}: {how}."
    return _matrix(
        "speedup",
        grid,
        rows,
        values,
        caption,
        max,
        write=lambda value: number(value, 2),
        paper=paper,
    )


def complexity(study: Study, grid: Grid, rows: pd.DataFrame) -> Table:
    """The paper's formulae beside the exponents with which memory and time grew, and the growth of time over the last two lengths."""
    lengths = by_place(rows, "length").mean()  # NaN for a length at which no variant ended well
    formulae = study.paper.get("complexity", {})
    memory, seconds = by_place(rows, "peak_memory_mib"), by_place(rows, "step_seconds")
    data = pd.DataFrame({"variant": seconds.index})
    for kind, values in (("memory", memory), ("time", seconds)):
        data[f"{kind}_paper"] = [
            formulae.get(name, {}).get(kind, MISSING) for name in seconds.index
        ]
        data[f"{kind}_exponent"] = [exponent(lengths, values.loc[name]) for name in seconds.index]
    data["lengths"] = [lengths_said(seconds.loc[name]) for name in seconds.index]
    data["n"] = seconds.notna().sum(axis=1).to_numpy()
    *_, before, last = [None, *seconds.columns]
    data["time_growth"] = (seconds[last] / seconds[before]).to_numpy() if before else math.nan
    formula = ["memory, paper", "time, paper"] if formulae else []
    header = (
        "variant",
        *formula,
        "memory exponent",
        "time exponent",
        "lengths",
        f"time {last} / {before}" if before else "growth",
    )
    texts = [
        (
            row.variant, *([row.memory_paper, row.time_paper] if formulae else []), number(row.memory_exponent, 2),
            number(row.time_exponent, 2), f"{row.lengths} ({row.n})",
            _ratio_or_status(rows, row.variant, [before, last], row.time_growth),
        )
        for row in data.itertuples()
    ]  # fmt: skip
    caption = (
        f"How the memory and time of {COUNTED[grid.measure]} grow with length{shape_said(grid, rows)}: an exponent is the slope of the "
        f"least-squares line through the logarithms at the lengths where the case ran (in brackets how many); {memory_said(grid)}."
    )
    if formulae:
        caption += " The formulae are the paper's: b batch, l length, n_h heads, d_k head size, n_r hash rounds, n_c chunks, n_l layers."
    return Table(
        table_name("complexity", grid),
        caption + made_on(grid, rows),
        header,
        tuple(texts),
        frozenset(),
        data,
    )


def per_layer(grid: Grid, rows: pd.DataFrame) -> Table:
    """What one more layer costs: slopes over the number of layers, the memory split into its parameters' share and the rest."""
    memory, seconds, parameters = (
        by_place(rows, column) for column in ("peak_memory_mib", "step_seconds", "parameters")
    )
    layers = by_place(rows, "n_layers").mean()
    data = pd.DataFrame({"variant": memory.index})
    for column, values in (
        ("memory_mib", memory),
        ("seconds", seconds),
        ("parameters", parameters),
    ):
        data[f"{column}_per_layer"] = [slope(layers, values.loc[name]) for name in memory.index]
    data["trained_mib_per_layer"] = data["parameters_per_layer"] * BYTES_TRAINED / MEBIBYTE
    data["sort_order_mib_per_layer"] = [
        sort_order_bytes(grid, name) / MEBIBYTE for name in memory.index
    ]
    data["rest_mib_per_layer"] = (
        data["memory_mib_per_layer"]
        - data["trained_mib_per_layer"]
        - data["sort_order_mib_per_layer"]
    )
    at = [f"MiB at {label}" for label in memory.columns]
    header = (
        "variant",
        *at,
        "MiB a layer",
        "parameters' MiB",
        "sort order",
        "the rest",
        "s a layer",
        "n",
    )
    texts = [
        (
            row.variant, *(value_or_status(rows, row.variant, label, memory.loc[row.variant, label]) for label in memory.columns),
            number(row.memory_mib_per_layer, 2), number(row.trained_mib_per_layer, 2), number(row.sort_order_mib_per_layer, 2),
            number(row.rest_mib_per_layer, 2), three(row.seconds_per_layer),
            str(int(memory.loc[row.variant].notna().sum())),
        )
        for row in data.itertuples()
    ]  # fmt: skip
    caption = (
        f"What one more layer adds to {COUNTED[grid.measure]}: slopes of least-squares lines over the n numbers of layers that ran"
        f"{shape_said(grid, rows)}. “Parameters” are a layer's parameters, their gradients and Adam's two moments, in fp32; the “sort "
        f"order” of LSH is 8 bytes per token, head and round; “the rest” is what else is kept for the backward pass."
    )
    return Table(
        table_name("per_layer", grid),
        caption + made_on(grid, rows),
        header,
        tuple(texts),
        frozenset(),
        data,
    )


def _matrix(
    part: str, grid: Grid, rows: pd.DataFrame, values: pd.DataFrame, caption: str, choose: Callable[[list[float]], float],
    write: Callable[[float], str] | None = None, paper: dict[str, dict[str, float]] | None = None,
) -> Table:  # fmt: skip
    """Variants down, lengths across, the best of each length in bold, the paper's row below ours."""
    write, paper = write or three, paper or {}
    texts, ours = [], []
    for variant in values.index:
        ours.append(len(texts))
        texts.append(
            (
                variant,
                *(
                    value_or_status(rows, variant, at, values.loc[variant, at], write)
                    for at in values.columns
                ),
            )
        )
        if variant in paper:
            texts.append(
                (
                    f"{variant}, paper",
                    *(write(paper[variant].get(at, math.nan)) for at in values.columns),
                )
            )
    best = {
        (ours[i], j) for j, at in enumerate(values.columns, 1) for i in best_of(values[at], choose)
    }
    data = (
        values.T.stack(future_stack=True).rename("value").reset_index()[["variant", "at", "value"]]
    )
    data["status"] = [status(rows, row.variant, row.at) for row in data.itertuples()]
    if paper:
        data["paper"] = [
            paper.get(row.variant, {}).get(row.at, math.nan) for row in data.itertuples()
        ]
        caption += " Rows marked “paper” are the paper's."
    header = ("variant", *values.columns)
    return Table(
        table_name(part, grid),
        caption + made_on(grid, rows),
        header,
        tuple(texts),
        frozenset(best),
        data,
    )


def three(value: float) -> str:
    """A number with three digits that count: 0.0312, 25.6, 4,096."""
    return number(value, digits([value]))


def value_or_status(
    rows: pd.DataFrame, variant: str, at: str, value: float, write: Callable[[float], str] = three
) -> str:
    """The number, or why there is none, in words."""
    said = status(rows, variant, at)
    if said == "ok":
        return write(value)
    return "not run" if said == "missing" else said.replace("_", " ")


def repeats_text(rows: pd.DataFrame, variant: str, at: str) -> str:
    mine = rows[(rows["variant"] == variant) & (rows["at"] == at) & (rows["status"] == OK)]
    return MISSING if mine.empty else f"{mine['n_repeats'].sum():.0f}"


def table_name(part: str, grid: Grid) -> str:
    return f"{part}_{grid.name}" if grid.name else part


def _ratio_or_status(
    rows: pd.DataFrame, variant: str, places: list[str | None], value: float
) -> str:
    """The ratio of two numbers, or the word for the one that is missing."""
    if not pd.isna(value):
        return number(value, 2)
    words = [value_or_status(rows, variant, at, math.nan) for at in places if at is not None]
    return next((word for word in words if word != MISSING), MISSING)
