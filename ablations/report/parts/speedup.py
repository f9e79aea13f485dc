"""`speedup`: how many times faster than the first variant a variant is, by length."""

import pandas as pd

from ablations.report.benchmark_rows import (
    COUNTED,
    by_place,
    disturbed_at,
    grid_rows,
    repeats_words,
    shape_words,
    two_decimals,
)
from ablations.report.benchmark_table import place_table
from ablations.report.table import Table
from ablations.report.time_ratios import TimeRatio, number_of_rounds, time_ratios
from ablations.study import Study


def tables(study: Study, cells: pd.DataFrame) -> list[Table]:
    """Where the cases are `paired`: the speed-up over fused full attention, timed in turn."""
    (grid,) = study.grids
    rows = grid_rows(grid, cells)
    seconds, paired = by_place(rows, "step_seconds"), by_place(rows, "speedup")
    first, how = seconds.index[0], f"{seconds.index[0]}'s median over the variant's"
    low, high = (by_place(rows, f"speedup_{end}") for end in ("q1", "q3"))
    if paired.notna().any(axis=None):
        quartiles = ", in parentheses their quartiles" if low.notna().any(axis=None) else ""
        unpaired = paired.isna().all(axis=1) & seconds.notna().any(axis=1)
        alone = ", ".join(seconds.index[unpaired])
        how = (
            "median of the ratios of fused full attention's seconds to the variant's, timed in "
            f"turn in one process{repeats_words(rows)}{quartiles}"
        )
        how += f" ({alone}, not paired: {first}'s median over its own)" if alone else ""
    by_rounds = time_ratios(study, grid.place)
    caption = (
        f"Speed-up of {COUNTED[grid.measure]}, by length{shape_words(grid, rows)}: {how}."
        f"{_over_rounds(by_rounds, paired)}"
    )
    unpaired_values = seconds.iloc[0] / seconds
    for (variant, at), ratio in by_rounds.items():
        unpaired_values.loc[variant, at] = ratio.inverse().median
        if pd.isna(paired.loc[variant, at]):
            low.loc[variant, at], high.loc[variant, at] = ratio.inverse()[1:3]

    def disturbed(variant: str, at: str) -> bool:
        if pd.isna(paired.loc[variant, at]) and (variant, at) in by_rounds:
            return by_rounds[variant, at].disturbed
        own = disturbed_at(rows, variant, at)
        return own or (pd.isna(paired.loc[variant, at]) and disturbed_at(rows, first, at))

    values, paper = paired.fillna(unpaired_values), _papers_speedup(study, first)
    table = place_table(
        "speedup",
        grid,
        rows,
        values,
        caption,
        max,
        two_decimals,
        paper,
        ends=(low, high),
        disturbed=disturbed,
    )
    return [table]


def _over_rounds(by_rounds: dict[tuple[str, str], TimeRatio], paired: pd.DataFrame) -> str:
    """A sentence where anything was measured in rounds."""
    if not by_rounds:
        return ""
    pairs = " (of pairs: within a round)" if paired.notna().any(axis=None) else ""
    counts = {ratio.n for ratio in by_rounds.values() if not ratio.is_base}
    number = number_of_rounds(counts)
    return f" Medians over {number}, with their quartiles in parentheses{pairs}."


def _papers_speedup(study: Study, first: str) -> dict[str, dict[str, float]]:
    """The paper's seconds of the first variant over those of each other one."""
    paper = study.paper.get("length_time", {})
    base = paper.get(first, {})
    return {
        variant: {at: base[at] / seconds for at, seconds in row.items() if at in base}
        for variant, row in paper.items()
        if first in paper
    }
