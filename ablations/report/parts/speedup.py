"""`speedup`: how many times faster than the first variant a variant is, by length."""

import pandas as pd

from ablations.report.benchmark_rows import (
    COUNTED,
    by_place,
    grid_rows,
    shape_words,
    two_decimals,
)
from ablations.report.benchmark_table import place_table
from ablations.report.table import Table
from ablations.study import Study


def tables(study: Study, cells: pd.DataFrame) -> list[Table]:
    """Where the cases are `paired`: the speed-up over fused full attention, timed in turn."""
    (grid,) = study.grids
    rows = grid_rows(grid, cells)
    seconds, paired = by_place(rows, "step_seconds"), by_place(rows, "speedup")
    first, how = seconds.index[0], f"{seconds.index[0]}'s median over the variant's"
    if paired.notna().any(axis=None):
        unpaired = paired.isna().all(axis=1) & seconds.notna().any(axis=1)
        alone = ", ".join(seconds.index[unpaired])
        how = (
            "median of the ratios of fused full attention's seconds to the variant's, timed in "
            "turn in one process"
        )
        how += f" ({alone}, not paired: {first}'s median over its own)" if alone else ""
    caption = f"Speed-up of {COUNTED[grid.measure]}, by length{shape_words(grid, rows)}: {how}."
    values, paper = paired.fillna(seconds.iloc[0] / seconds), _papers_speedup(study, first)
    return [place_table("speedup", grid, rows, values, caption, max, two_decimals, paper)]


def _papers_speedup(study: Study, first: str) -> dict[str, dict[str, float]]:
    """The paper's seconds of the first variant over those of each other one."""
    paper = study.paper.get("length_time", {})
    base = paper.get(first, {})
    return {
        variant: {at: base[at] / seconds for at, seconds in row.items() if at in base}
        for variant, row in paper.items()
        if first in paper
    }
