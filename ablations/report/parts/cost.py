"""`cost`: one row a case, forward, backward and whole seconds, memory, and what both are of the
first variant's at the same length.
"""

import pandas as pd

from ablations.report.benchmark_rows import (
    COUNTED,
    by_place,
    disturbed_at,
    grid_rows,
    made_on,
    memory_words,
    shape_words,
    three_digits,
    two_decimals,
    value_or_status,
)
from ablations.report.numbers import MISSING
from ablations.report.table import Entry, Row, Table, Value, Words, if_disturbed
from ablations.report.time_ratios import NO_RATIO, TimeRatio, rounds_words, time_ratios
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
    by_rounds = time_ratios(study, grid.place)
    data = cost_data(rows, by_rounds)
    first = data["variant"].iloc[0]
    lines = []
    for row in data.itertuples():
        case = (rows, row.variant, row.at)
        entries = (
            *((Words(row.at),) if grid.grown else ()),
            if_disturbed(three_digits(row.forward_seconds), row.disturbed),
            if_disturbed(three_digits(row.backward_seconds), row.disturbed),
            if_disturbed(value_or_status(*case, row.step_seconds), row.disturbed),
            if_disturbed(three_digits(row.step_seconds_iqr), row.disturbed),
            Value(
                row.step_seconds_ratio,
                row.step_seconds_ratio_low,
                row.step_seconds_ratio_high,
                places=2,
                is_range=True,
                disturbed=row.step_seconds_ratio_disturbed,
            ),
            value_or_status(*case, row.peak_memory_mib),
            two_decimals(row.peak_memory_mib_ratio),
            Value(row.tokens_per_second, disturbed=row.disturbed),
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
        f"{rounds_words(by_rounds, first)}"
    )
    return [Table("cost", caption + made_on(grid, rows), header, tuple(lines), data)]


def cost_data(
    rows: pd.DataFrame, by_rounds: dict[tuple[str, str], TimeRatio] | None = None
) -> pd.DataFrame:
    """A row for each case, in the units of `COLUMNS`, with the ratios of seconds and memory to the
    first variant's: of time over the rounds, where the case was measured in rounds.
    """
    columns = {name: by_place(rows, name).T.stack(future_stack=True) for name in COLUMNS}
    data = pd.DataFrame(columns).reset_index()
    first = data[data["variant"] == data["variant"].iloc[0]].set_index("at")
    for name in ("step_seconds", "peak_memory_mib"):
        data[f"{name}_ratio"] = data[name] / data["at"].map(first[name])
    data["disturbed"] = [disturbed_at(rows, row.variant, row.at) for row in data.itertuples()]
    leads = data["variant"].iloc[0]
    ratios = [(by_rounds or {}).get((row.variant, row.at), NO_RATIO) for row in data.itertuples()]
    for i, ratio in enumerate(ratios):
        if ratio.n:
            data.loc[i, "step_seconds_ratio"] = ratio.median
    data["step_seconds_ratio_low"] = [ratio.low for ratio in ratios]
    data["step_seconds_ratio_high"] = [ratio.high for ratio in ratios]
    data["n_rounds"] = pd.array([ratio.n or None for ratio in ratios], dtype="Int64")
    data["step_seconds_ratio_disturbed"] = [
        ratio.disturbed if ratio.n else row.disturbed or disturbed_at(rows, leads, row.at)
        for ratio, row in zip(ratios, data.itertuples(), strict=True)
    ]
    return data


def _repeats(rows: pd.DataFrame, variant: str, at: str) -> Entry:
    """How many times the case was timed, over its seeds."""
    timed = rows[(rows["variant"] == variant) & (rows["at"] == at) & (rows["status"] == OK)]
    return Words(MISSING if timed.empty else f"{timed['n_repeats'].sum():.0f}")
