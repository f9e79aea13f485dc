"""`cost`: one row a case, forward, backward and whole seconds, memory, and what both are of the
first variant's at the same length.
"""

import pandas as pd

from ablations.report.benchmark_rows import (
    COUNTED,
    by_place,
    grid_rows,
    made_on,
    memory_words,
    shape_words,
    three_digits,
    two_decimals,
    value_or_status,
)
from ablations.report.numbers import MISSING
from ablations.report.table import Entry, Row, Table, Value, Words
from ablations.study import Study
from experiments.run_dir.outcome import OK
from reformer_pl.metrics import MEMORY_MIB, TOKENS_PER_SECOND

COLUMNS = (
    "forward_seconds",
    "backward_seconds",
    "step_seconds",
    "step_seconds_iqr",
    "peak_memory_mib",
    "tokens_per_second",
    "parameters",
)


def tables(study: Study, cells: pd.DataFrame) -> list[Table]:
    (grid,) = study.grids
    rows = grid_rows(grid, cells)
    data = cost_data(rows)
    first = data["variant"].iloc[0]
    lines = []
    for row in data.itertuples():
        case = (rows, row.variant, row.at)
        entries = (
            *((Words(row.at),) if grid.grown else ()),
            three_digits(row.forward_seconds),
            three_digits(row.backward_seconds),
            value_or_status(*case, row.step_seconds),
            three_digits(row.step_seconds_iqr),
            two_decimals(row.step_seconds_ratio),
            value_or_status(*case, row.peak_memory_mib),
            two_decimals(row.peak_memory_mib_ratio),
            Value(row.tokens_per_second),
            Value(row.parameters),
            _repeats(*case),
        )
        lines.append(Row(row.variant, entries, row.variant))
    header = (
        "variant",
        *((grid.grown.removeprefix("n_"),) if grid.grown else ()),
        "forward (s)",
        "backward (s)",
        "whole (s)",
        "IQR (s)",
        f"x {first}",
        MEMORY_MIB.header,
        f"x {first}",
        TOKENS_PER_SECOND.header,
        "parameters",
        "repeats",
    )
    same = {"length": " at the same length", "n_layers": " at the same number of layers"}
    caption = (
        f"Cost of {COUNTED[grid.measure]}{shape_words(grid, rows)}: medians and interquartile "
        f"range; {memory_words(grid)}. Ratios are to {first}{same.get(grid.grown, '')}."
    )
    return [Table("cost", caption + made_on(grid, rows), header, tuple(lines), data)]


def cost_data(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each case, in the units of `COLUMNS`, with the ratios of seconds and memory to the
    first variant's.
    """
    columns = {name: by_place(rows, name).T.stack(future_stack=True) for name in COLUMNS}
    data = pd.DataFrame(columns).reset_index()
    first = data[data["variant"] == data["variant"].iloc[0]].set_index("at")
    for name in ("step_seconds", "peak_memory_mib"):
        data[f"{name}_ratio"] = data[name] / data["at"].map(first[name])
    return data


def _repeats(rows: pd.DataFrame, variant: str, at: str) -> Entry:
    """How many times the case was timed, over its seeds."""
    timed = rows[(rows["variant"] == variant) & (rows["at"] == at) & (rows["status"] == OK)]
    return Words(MISSING if timed.empty else f"{timed['n_repeats'].sum():.0f}")
