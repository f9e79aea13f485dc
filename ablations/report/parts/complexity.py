"""`complexity`: the paper's formulae beside the exponents with which memory and time grew, and the
growth over the last two lengths.
"""

import math

import pandas as pd

from ablations.report.benchmark_rows import (
    COUNTED,
    by_place,
    disturbed_at,
    exponent,
    grid_rows,
    made_on,
    memory_words,
    ratio_or_status,
    shape_words,
    two_decimals,
)
from ablations.report.numbers import MISSING
from ablations.report.table import Formula, Row, Table, Words, if_disturbed
from ablations.study import Study


def tables(study: Study, cells: pd.DataFrame) -> list[Table]:
    (grid,) = study.grids
    rows, formulae = grid_rows(grid, cells), study.paper.get("complexity", {})
    data = complexity_data(rows, formulae)
    *_, before, last = [None, *rows["at"].unique()]
    lines = []
    for row in data.itertuples():
        printed = (Formula(row.memory_paper), Formula(row.time_paper)) if formulae else ()
        entries = (
            *printed,
            two_decimals(row.memory_exponent),
            if_disturbed(two_decimals(row.time_exponent), row.time_is_disturbed),
            Words(f"{row.lengths} ({row.n})"),
            if_disturbed(
                ratio_or_status(rows, row.variant, (before, last), row.time_growth),
                any(disturbed_at(rows, row.variant, at) for at in (before, last)),
            ),
        )
        lines.append(Row(row.variant, entries, row.variant))
    header = (
        "variant",
        *(("memory, paper", "time, paper") if formulae else ()),
        "memory exponent",
        "time exponent",
        "lengths",
        f"time {last} / {before}" if before else "growth",
    )
    caption = (
        f"How the memory and time of {COUNTED[grid.measure]} grow with length"
        f"{shape_words(grid, rows)}: an exponent is the slope of the least-squares line through "
        "the logarithms at the lengths where the case ran (in brackets how many); "
        f"{memory_words(grid)}."
    )
    if formulae:
        caption += (
            " The formulae are the paper's: b batch, l length, n_h heads, d_k head size, n_r hash "
            "rounds, n_c chunks, n_l layers."
        )
    return [Table("complexity", caption + made_on(grid, rows), header, tuple(lines), data)]


def complexity_data(rows: pd.DataFrame, formulae: dict[str, dict[str, str]]) -> pd.DataFrame:
    """A row for each variant: formulae and exponents of memory and time, the lengths that ran, and
    time's growth over the last two.
    """
    lengths = by_place(rows, "length").mean()  # NaN for a length at which no variant ended well
    memory, seconds = by_place(rows, "peak_memory_mib"), by_place(rows, "step_seconds")
    variants = list(seconds.index)
    data = pd.DataFrame({"variant": variants})
    for kind, values in (("memory", memory), ("time", seconds)):
        data[f"{kind}_paper"] = [formulae.get(name, {}).get(kind, MISSING) for name in variants]
        data[f"{kind}_exponent"] = [exponent(lengths, values.loc[name]) for name in variants]
    data["lengths"] = [_first_to_last(seconds.loc[name]) for name in variants]
    data["time_is_disturbed"] = [
        any(disturbed_at(rows, name, at) for at in seconds.columns) for name in variants
    ]
    data["n"] = seconds.notna().sum(axis=1).to_numpy()
    *_, before, last = [None, *seconds.columns]
    data["time_growth"] = (seconds[last] / seconds[before]).to_numpy() if before else math.nan
    return data


def _first_to_last(seconds: pd.Series) -> str:
    """ "1024-32768": the labels between which there are numbers."""
    ran = list(seconds.dropna().index)
    return MISSING if not ran else "-".join(dict.fromkeys((ran[0], ran[-1])))
