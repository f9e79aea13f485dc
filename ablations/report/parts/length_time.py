"""`length_time`: seconds by variant and length, the paper's below ours and dotted beside ours."""

from functools import partial

import pandas as pd

from ablations.report.benchmark_rows import (
    COUNTED,
    by_place,
    disturbed_at,
    disturbed_cases,
    grid_rows,
    not_measured,
    repeats_words,
    shape_words,
)
from ablations.report.benchmark_table import place_table
from ablations.report.drawing.figure import Drawing
from ablations.report.drawing.looks import variant_looks
from ablations.report.figures.growth import growth, length_axis
from ablations.report.table import Table
from ablations.study import Study


def tables(study: Study, cells: pd.DataFrame) -> list[Table]:
    (grid,) = study.grids
    rows = grid_rows(grid, cells)
    seconds, paper = by_place(rows, "step_seconds"), study.paper.get("length_time", {})
    low, high = (by_place(rows, f"step_seconds_{end}") for end in ("q1", "q3"))
    how = "medians and quartiles (in parentheses)" if low.notna().any(axis=None) else "medians"
    how += repeats_words(rows)
    caption = f"Seconds of {COUNTED[grid.measure]}, {how}, by length{shape_words(grid, rows)}."
    table = place_table(
        "length_time",
        grid,
        rows,
        seconds,
        caption,
        paper=paper,
        ends=(low, high),
        disturbed=partial(disturbed_at, rows),
    )
    return [table]


def figures(study: Study, cells: pd.DataFrame, tables: list[Table]) -> list[Drawing]:
    (grid,) = study.grids
    rows, paper = grid_rows(grid, cells), study.paper.get("length_time", {})
    beside = "; dotted: the paper's" if paper else ""
    caption = (
        f"Seconds of {COUNTED[grid.measure]}, medians{repeats_words(rows)}, against length"
        f"{shape_words(grid, rows)}{beside}."
        f"{not_measured(rows)}{disturbed_cases(rows)}"
    )
    looks = variant_looks(study, "length_time", "lines")
    figure = growth(rows, "step_seconds", "Seconds", length_axis(rows), paper, looks)
    return [Drawing("length_time", caption + looks.words, figure)]
