"""A table of benchmarks with the variants down and the places on the grown axis across: seconds,
memory, a ratio.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from ablations.report.benchmark_rows import (
    made_on,
    seeds_at,
    status,
    three_digits,
    value_or_status,
)
from ablations.report.table import Row, Table, Value, if_disturbed, mark_best
from ablations.study.grid import Grid


def place_table(
    name: str,
    grid: Grid,
    rows: pd.DataFrame,
    values: pd.DataFrame,
    caption: str,
    better: Callable[[list[float]], float] = min,
    entry: Callable[[float], Value] = three_digits,
    paper: dict[str, dict[str, float]] | None = None,
    ends: tuple[pd.DataFrame, pd.DataFrame] | None = None,
    disturbed: Callable[[str, str], bool] | None = None,
) -> Table:
    """The best of each place is marked, with those whose range overlaps its own, but none of fewer
    seeds than another there. The paper's row is below ours.

    `values` are by variant and place (`benchmark_rows.by_place`), `paper` has the same keys. `ends`
    are the quartiles of each value, and `disturbed` says of times which are to be marked.
    """
    paper, lines, seeds = paper or {}, [], seeds_at(rows)
    for variant in values.index:
        ours = []
        for at in values.columns:
            number = value_or_status(rows, variant, at, values.loc[variant, at], entry)
            n = seeds.loc[variant, at]
            if isinstance(number, Value) and n < seeds[at].max():
                number = replace(number, note=f"(n = {n:.0f})")
            if ends is not None and isinstance(number, Value):
                low, high = (end.loc[variant, at] for end in ends)
                number = replace(number, low=low, high=high, is_range=True)
            ours.append(if_disturbed(number, disturbed is not None and disturbed(variant, at)))
        lines.append(Row(variant, tuple(ours), variant))
        if variant in paper:
            printed = (entry(paper[variant].get(at, math.nan)) for at in values.columns)
            lines.append(Row(f"{variant}, paper", tuple(printed), variant, "paper"))
    for column, at in enumerate(values.columns):
        fewer = seeds.index[seeds[at] < seeds[at].max()]
        lines = mark_best(lines, column, better, excluded=fewer)
    measured = ends is not None and ends[0].notna().any(axis=None)
    overlapping = ", and those whose quartiles overlap its own" if measured else ""
    caption += f" Bold: the best{overlapping}."
    data = (
        values.T.stack(future_stack=True).rename("value").reset_index()[["variant", "at", "value"]]
    )
    data["status"] = [status(rows, row.variant, row.at) for row in data.itertuples()]
    if ends is not None:
        for side, end in zip(("low", "high"), ends, strict=True):
            data[side] = [end.loc[row.variant, row.at] for row in data.itertuples()]
    if disturbed is not None:
        data["disturbed"] = [disturbed(row.variant, row.at) for row in data.itertuples()]
    if paper:
        data["paper"] = [
            paper.get(row.variant, {}).get(row.at, math.nan) for row in data.itertuples()
        ]
        caption += " Rows marked “paper” are the paper's."
    header = ("variant", *values.columns)
    return Table(name, caption + made_on(grid, rows), header, tuple(lines), data)
