"""The figures of a benchmark study: seconds and memory against length (log-log) or layers, a line a variant, the paper's beside ours."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from ablations.report.figure import GREY, STYLE, Drawing, column_axes, legend_below, styles
from ablations.report.parts.speed_rows import (
    COUNTED,
    by_place,
    grid_rows,
    memory_said,
    shape_said,
    status,
)
from ablations.report.table import MISSING
from ablations.report.writers.svg import belongs
from ablations.study import Study
from experiments.run_dir.outcome import OK

PAPER_DASHES = (0, (1, 1.6))


def speed_drawings(study: Study, cells: pd.DataFrame) -> list[Drawing]:
    """The figures that each grid asks for. One for which no case has a number is left out; the tables say why."""
    drawings = []
    for grid in study.grids:
        rows = grid_rows(grid, cells)
        if (rows["status"] != OK).all():
            continue
        gone, suffix, what = (
            not_drawn(rows),
            f"_{grid.name}" if grid.name else "",
            COUNTED[grid.measure],
        )
        x_said = (
            "Layers"
            if grid.grown == "n_layers"
            else "Length / batch"
            if "length/batch" in shape_said(grid, rows)
            else "Length"
        )
        if "length_time" in grid.report:
            paper = study.paper.get("length_time", {})
            beside = "; dotted: the paper's" if paper else ""
            caption = f"Seconds of {what}, against length{shape_said(grid, rows)}{beside}."
            figure = growth(rows, "step_seconds", "Seconds", x_said, paper)
            drawings.append(Drawing(f"length_time{suffix}", caption + gone, figure))
        if "length_memory" in grid.report:
            caption = f"Peak memory against length{shape_said(grid, rows)}; {memory_said(grid)}."
            figure = growth(rows, "peak_memory_mib", "Peak memory (MiB)", x_said)
            drawings.append(Drawing(f"length_memory{suffix}", caption + gone, figure))
        if "per_layer" in grid.report:
            caption = f"Peak memory against the number of layers{shape_said(grid, rows)}; {memory_said(grid)}."
            figure = growth(rows, "peak_memory_mib", "Peak memory (MiB)", x_said)
            drawings.append(Drawing(f"per_layer{suffix}", caption + gone, figure))
    return drawings


@mpl.rc_context(STYLE)
def growth(
    rows: pd.DataFrame,
    column: str,
    y_said: str,
    x_said: str,
    paper: dict[str, dict[str, float]] | None = None,
) -> Figure:
    """`column` of each variant against length, both logarithmic, or against layers; `paper` gives dotted lines in the variants' colours."""
    figure, axes = column_axes(height=2.7)
    linear = x_said == "Layers"
    values = by_place(rows, column)
    places = by_place(rows, "n_layers" if linear else "length").mean().dropna()
    for i, (variant, style) in enumerate(styles(values.index).items()):
        drawn = values.loc[variant, places.index].dropna()
        drawn = drawn if linear else drawn[drawn > 0]  # a logarithmic axis has no zero
        thick = 1 - i / len(
            values
        )  # from 1 down to 0, so that a line right below another still shows
        cells = [
            rows.loc[(rows["variant"] == variant) & (rows["at"] == at), "train"].iloc[0]
            for at in drawn.index
        ]
        if cells:
            sizes = {"linewidth": 1 + thick, "markersize": 3.2 + 2.2 * thick}
            axes.plot(
                places[drawn.index], drawn, label=variant, gid=belongs(*cells), **style, **sizes
            )
        printed = {
            at: value for at, value in (paper or {}).get(variant, {}).items() if at in places.index
        }
        if printed:
            whose = rows.loc[rows["variant"] == variant, "train"].iloc[0]
            line = {
                "color": style["color"],
                "linestyle": PAPER_DASHES,
                "linewidth": 1.1,
                "alpha": 0.75,
                "zorder": 2,
            }
            line |= {
                "marker": style["marker"],
                "markersize": 2.8,
                "markerfacecolor": "white",
                "gid": belongs(whose, linked=False),
            }
            axes.plot([places[at] for at in printed], list(printed.values()), **line)
    if paper:
        axes.plot([], [], color=GREY, linestyle=PAPER_DASHES, linewidth=1.1, label="the paper's")
    if not linear:
        axes.set_xscale("log")
        axes.set_yscale("log")
        decades = np.ptp(np.log10(axes.get_ylim()))
        axes.yaxis.set_major_locator(LogLocator(subs=(1,) if decades > 3 else (1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    _ticks_at(axes, places)
    axes.set_xlabel(x_said)
    axes.set_ylabel(y_said)
    if linear:
        axes.set_ylim(bottom=0)
    legend_below(figure, axes)
    return figure


def not_drawn(rows: pd.DataFrame) -> str:
    """ " Not measured: Full, naive at 8192/4 (would not fit)." Empty where every case has its point."""
    cases = rows[["variant", "at"]].drop_duplicates().itertuples(index=False)
    words = {(variant, at): status(rows, variant, at) for variant, at in cases}
    gone = [
        f"{variant} at {at or MISSING} ({word.replace('_', ' ')})"
        for (variant, at), word in words.items()
        if word != "ok"
    ]
    return f" Not measured: {', '.join(gone)}." if gone else ""


def _ticks_at(axes: Axes, places: pd.Series) -> None:
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(
        list(places), list(places.index), fontsize=6.5 if max(map(len, places.index)) > 6 else None
    )
