"""A table of benchmarks with the variants down and the places on the grown axis across: seconds,
memory, a ratio.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from ablations.report.benchmark_rows import made_on, status, three_digits, value_or_status
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
    """The best of each place is marked, and the paper's row is below ours.

    `values` are by variant and place (`benchmark_rows.by_place`), `paper` has the same keys. `ends`
    are the ends of each value's interval, and `disturbed` says of times which are to be marked.
    """
    paper, lines = paper or {}, []
    for variant in values.index:
        ours = []
        for at in values.columns:
            number = value_or_status(rows, variant, at, values.loc[variant, at], entry)
            if ends is not None and isinstance(number, Value):
                low, high = (end.loc[variant, at] for end in ends)
                number = replace(number, low=low, high=high)
            ours.append(if_disturbed(number, disturbed is not None and disturbed(variant, at)))
        lines.append(Row(variant, tuple(ours), variant))
        if variant in paper:
            printed = (entry(paper[variant].get(at, math.nan)) for at in values.columns)
            lines.append(Row(f"{variant}, paper", tuple(printed), variant, "paper"))
    for column in range(len(values.columns)):
        lines = mark_best(lines, column, better, exact=True)
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
