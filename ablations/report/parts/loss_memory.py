"""Held-out score and time against peak memory, one point a variant, with the Pareto front of score and memory."""

import itertools

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from ablations.report.figure import (
    GREY,
    SAID,
    STYLE,
    Drawing,
    baseline_line,
    column_axes,
    legend_below,
    not_drawn,
    styles,
)
from ablations.report.pareto import pareto_front
from ablations.report.point_labels import Point, label_points
from ablations.report.table import score
from ablations.report.writers.svg import belongs
from ablations.results import labels
from ablations.study import Study
from experiments.run_dir.outcome import OK


def memory_drawings(study: Study, cells: pd.DataFrame) -> list[Drawing]:
    missing = not_drawn(study, cells)
    caption = (
        f"{SAID[score(study)]} against the peak memory of one training step; left and {_better(study)} is better. "
        "Grey staircase: the Pareto front; a variant off it has another with no more memory and no worse score."
    )
    spent = "Seconds per training step against its peak memory; left and lower is better."
    return [
        Drawing("loss_memory", caption + missing, loss_memory(study, cells)),
        Drawing("time_memory", spent + missing, time_memory(study, cells)),
    ]


@mpl.rc_context(STYLE)
def loss_memory(study: Study, cells: pd.DataFrame) -> Figure:
    """Held-out score against peak memory, one point a variant, a bar from the lowest to the highest seed."""
    judged = score(study)
    return _against_memory(study, cells, judged, 100 if judged == "accuracy" else 1, SAID[judged])


@mpl.rc_context(STYLE)
def time_memory(study: Study, cells: pd.DataFrame) -> Figure:
    """Seconds per training step against peak memory, one point a variant."""
    return _against_memory(study, cells, "step_seconds", 1, "Seconds per training step")


def _against_memory(
    study: Study, cells: pd.DataFrame, column: str, scale: float, said: str
) -> Figure:
    finished = cells[
        (cells["status"] == OK) & cells["peak_memory_gib"].notna() & cells[column].notna()
    ]
    gib = cells["peak_memory_gib"].max() >= 1
    figure, axes = column_axes(height=2.7)
    points, bars = {}, []
    for train, style in styles(labels(study)).items():
        mine = finished[finished["train"] == train]
        if mine.empty:
            continue
        x, y = mine["peak_memory_gib"].mean() * (1 if gib else 1024), scale * mine[column].mean()
        bars.append(((x, scale * mine[column].min()), (x, scale * mine[column].max())))
        axes.plot(
            *zip(*bars[-1], strict=True),
            color=style["color"],
            linewidth=1,
            gid=belongs(train, linked=False),
        )
        axes.plot(x, y, **{**style, "markersize": 6}, gid=belongs(train))
        points[train] = (x, y)
    xs = [x for x, _ in points.values()]
    if xs and max(xs) > 8 * min(xs):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
    axes.set_xlabel(f"Peak memory ({'GiB' if gib else 'MiB'})")
    axes.set_ylabel(said)
    axes.margins(0.22, 0.18)
    near = [y for bar in bars for _, y in bar]
    judged = column == score(study)
    rules = baseline_line(axes, cells, column, scale, near) if judged else []
    stairs = (
        _front(axes, list(points.values()), higher_is_better=column == "accuracy") if judged else []
    )
    legend_below(figure, axes)
    left, right = axes.get_xlim()
    label_points(figure, axes, points, [*bars, *stairs, *(((left, y), (right, y)) for y in rules)])
    return figure


def _front(axes: Axes, points: list[Point], higher_is_better: bool) -> list[tuple[Point, Point]]:
    """Draw the Pareto front as the staircase above (or below) which everything is worse, from border to border. Returns its segments."""
    on = pareto_front(*zip(*points, strict=True), higher_is_better) if points else []
    corners = sorted({point for point, front in zip(points, on, strict=True) if front})
    if not corners:
        return []
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)
    line = [(corners[0][0], low if higher_is_better else high)]
    for x, y in corners:
        line += [(x, line[-1][1]), (x, y)]
    line = [*line[1:], (right, line[-1][1])]
    axes.plot(
        *zip(*line, strict=True),
        color=GREY,
        linewidth=1,
        alpha=0.55,
        zorder=1.5,
        label="Pareto front",
    )
    return list(itertools.pairwise(line))


def _better(study: Study) -> str:
    return "higher" if score(study) == "accuracy" else "lower"
