"""A metric against peak memory, one point a variant, and the Pareto front of a score."""

import itertools
import math
from dataclasses import replace

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablations.report.drawing.belongs import belongs
from ablations.report.drawing.figure import (
    baseline_line,
    hollow_marker,
    plain_log_ticks,
)
from ablations.report.drawing.legend import explain_looks, wrapped
from ablations.report.drawing.looks import GREY, Entry, best_variants, variant_looks
from ablations.report.drawing.panels import make_panels
from ablations.report.drawing.point_labels import Point, label_points
from ablations.report.interval import mean_interval
from ablations.report.judged import judged_by
from ablations.report.styles.style import styled
from ablations.report.variant_means import disturbed_variants, step_quartiles, value_bounds
from ablations.report.winners import pareto_front
from ablations.study import Study
from ablations.study.axes.figure_keys import FigureKeys
from experiments.run_dir.outcome import OK
from reformer_pl.metrics import STEP_SECONDS, Metric, memory_metric

MOST_LABELS = 8  # of more variants, only those on the Pareto front have a label
LONG_LABEL = 44  # letters: a longer one stands in the legend alone
LABEL_LETTERS = 22  # of a line of a label


@styled()
def against_memory(study: Study, cells: pd.DataFrame, metric: Metric) -> Figure:
    """A metric against peak memory, one point a variant, a bar for the interval of its mean, or for
    the quartiles of one seed's steps; of a score, the Pareto front of the means, the same in every
    panel.

    Many variants have a legend of their axes, and only those on the front have a label.
    """
    memory = memory_metric(cells["peak_memory_gib"].max())
    drawn = cells[(cells["status"] == OK) & cells[memory.name].notna() & cells[metric.name].notna()]
    looks = variant_looks(study, "loss_memory", "points", best_variants(cells, judged_by(study)))
    panels = make_panels(looks.panels, with_lower=False, height=(2.35, 2.2))
    hollow = disturbed_variants(study, cells, metric.flag)
    points: dict[str, Point] = {}
    bars: dict[str, tuple[Point, Point]] = {}
    for variant, style in looks.styles.items():
        rows, axes = drawn[drawn["train"] == variant], panels.upper[looks.panel[variant]]
        if rows.empty:
            continue
        x, values = memory.scale * rows[memory.name].mean(), metric.scale * rows[metric.name]
        least, most = (metric.scale * bound for bound in value_bounds(metric.name))
        low, high = mean_interval(values, (least, most))
        if metric == STEP_SECONDS and len(rows) == 1:
            low, high = step_quartiles(rows)
        if pd.notna(low):
            bars[variant] = ((x, low), (x, high))
            bar = {"color": style["color"], "linewidth": 1, "gid": belongs(variant, linked=False)}
            axes.plot(*zip(*bars[variant], strict=True), **bar)
        points[variant] = (x, values.mean())
        face = hollow_marker(style) if variant in hollow else {}
        look = {**style, "markersize": 6, "marker": style["marker"] or "o", **face}
        axes.plot(*points[variant], **look, gid=belongs(variant))
    near = [y for _, y in points.values()] + [y for bar in bars.values() for _, y in bar]
    _set_scales(panels.first, points, bars, study.figures.get("loss_memory", FigureKeys()).log)
    panels.set_labels(memory.axis, metric.axis)
    rules, stairs = [], []
    if metric == judged_by(study):
        rules = baseline_line(panels.figure, panels.all_axes, cells, metric, near)
        stairs = draw_front(panels.all_axes, list(points.values()), metric.higher_is_better)
    labelled = set(points)
    if len(looks.styles) > MOST_LABELS:
        labelled = _on_front(points, metric.higher_is_better)
    elif max(map(len, looks.names.values())) <= LONG_LABEL:
        looks = replace(looks, entries=None, bar=None)  # each point has its label
    elif looks.entries is None:
        entries = (Entry(looks.names[v], style, (v,)) for v, style in looks.styles.items())
        looks = replace(looks, entries=tuple(entries))
    labelled = {v for v in labelled if len(looks.names[v]) <= LONG_LABEL}
    explain_looks(panels.figure, panels.all_axes, looks, with_lines=False)
    left, right = panels.first.get_xlim()
    for panel, axes in panels.upper.items():
        own = [variant for variant in looks.of_panel(panel) if variant in points]
        labels = {
            variant: wrapped(looks.names[variant], LABEL_LETTERS)
            for variant in own
            if variant in labelled
        }
        lines = [bars[variant] for variant in own if variant in bars]
        rest = [*lines, *stairs, *(((left, y), (right, y)) for y in rules)]
        label_points(panels.figure, axes, {v: points[v] for v in own}, rest, labels=labels)
    return panels.figure


def _on_front(points: dict[str, Point], higher_is_better: bool) -> set[str]:
    on_front = pareto_front(*zip(*points.values(), strict=True), higher_is_better) if points else []
    return {variant for variant, is_on in zip(points, on_front, strict=True) if is_on}


def _set_scales(
    axes: Axes, points: dict[str, Point], bars: dict[str, tuple[Point, Point]], log: str
) -> None:
    """The limits of the panels, which share them: of the points, and of bars as far as they leave
    the points a quarter of the height.
    """
    if not points:
        return
    (xs, ys), ends = (
        zip(*points.values(), strict=True),
        [y for bar in bars.values() for _, y in bar],
    )
    if "x" in log or (not log and max(xs) > 8 * min(xs)):
        axes.set_xscale("log")
        plain_log_ticks(axes.xaxis)
    axes.margins(x=0.22)
    reach = 1.5 * (max(ys) - min(ys)) or math.inf
    low, high = max(min([*ends, *ys]), min(ys) - reach), min(max([*ends, *ys]), max(ys) + reach)
    if "y" in log and low > 0:
        axes.set_yscale("log")
        plain_log_ticks(axes.yaxis)
        axes.set_ylim(low / (high / low) ** 0.18, high * (high / low) ** 0.18)
    elif high > low:
        axes.set_ylim(low - 0.18 * (high - low), high + 0.18 * (high - low))


def draw_front(
    all_axes: list[Axes], points: list[Point], higher_is_better: bool
) -> list[tuple[Point, Point]]:
    """Draw the Pareto front as the staircase above (or below) which everything is worse, from
    border to border, in each panel. Returns its segments.
    """
    axes = all_axes[0]
    on_front = pareto_front(*zip(*points, strict=True), higher_is_better) if points else []
    corners = sorted({point for point, front in zip(points, on_front, strict=True) if front})
    if not corners:
        return []
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)
    line = [(corners[0][0], low if higher_is_better else high)]
    for x, y in corners:
        line += [(x, line[-1][1]), (x, y)]
    line = [*line[1:], (right, line[-1][1])]
    style = {"color": GREY, "linewidth": 1, "alpha": 0.55, "zorder": 1.5}
    for panel in all_axes:
        label = "Pareto front" if panel is axes else "_"
        panel.plot(*zip(*line, strict=True), **style, label=label)
    return list(itertools.pairwise(line))
