"""`length_memory`: peak memory by variant and length, in MiB and as a multiple of the first's."""

import pandas as pd

from ablations.report.benchmark_rows import (
    by_place,
    grid_rows,
    memory_words,
    not_measured,
    shape_words,
    two_decimals,
)
from ablations.report.benchmark_table import place_table
from ablations.report.drawing.figure import Drawing
from ablations.report.drawing.looks import variant_looks
from ablations.report.figures.growth import growth, length_axis
from ablations.report.table import Table
from ablations.study import Study
from reformer_pl.metrics import MEMORY_MIB


def tables(study: Study, cells: pd.DataFrame) -> list[Table]:
    (grid,) = study.grids
    rows = grid_rows(grid, cells)
    memory = by_place(rows, "peak_memory_mib")
    how = f"by length{shape_words(grid, rows)}; {memory_words(grid)}."
    caption, ratio = (
        f"Peak memory in MiB {how}",
        f"Peak memory as a multiple of {memory.index[0]}'s {how}",
    )
    ratios = memory / memory.iloc[0]
    return [
        place_table("length_memory", grid, rows, memory, caption),
        place_table("length_memory_ratio", grid, rows, ratios, ratio, entry=two_decimals),
    ]


def figures(study: Study, cells: pd.DataFrame, tables: list[Table]) -> list[Drawing]:
    (grid,) = study.grids
    rows = grid_rows(grid, cells)
    caption = (
        f"Peak memory against length{shape_words(grid, rows)}; {memory_words(grid)}."
        f"{not_measured(rows)}"
    )
    looks = variant_looks(study, "length_memory", "lines")
    figure = growth(rows, "peak_memory_mib", MEMORY_MIB.axis, length_axis(rows), looks=looks)
    return [Drawing("length_memory", caption + looks.words, figure)]
