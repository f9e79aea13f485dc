"""A score against keys per token, a curve for each kind of attention."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablations.report.drawing.belongs import belongs
from ablations.report.drawing.figure import baseline_line, plain_log_ticks
from ablations.report.drawing.legend import legend_below
from ablations.report.drawing.looks import plain_looks
from ablations.report.drawing.panels import limits, make_panels
from ablations.report.styles.style import styled
from reformer_pl.metrics import KEYS_PER_TOKEN, Metric

ALL_KEYS = ("full", "shared_full")  # drawn across the panel, too: all others reach fewer


@styled()
def score_by_keys(data: pd.DataFrame, score: Metric, axis: str, cells: pd.DataFrame) -> Figure:
    """`parts.keys.drawn_points` as curves over a logarithmic axis, with bars for both intervals.

    `axis` is the name of the vertical one. `cells` have the scores of the model that knows nothing.
    """
    panels = make_panels(data["panel"].unique(), with_lower=False, height=(2.4, 2.0))
    looks = plain_looks(sorted(data["curve"].unique(), key=list(data["curve"]).index))
    for (panel, curve), points in data.groupby(["panel", "curve"], sort=False):
        style, axes = looks.styles[curve], panels.upper[panel]
        points = points.sort_values(["at", f"{KEYS_PER_TOKEN.name}_mean"], kind="stable")
        _draw(axes, points, score, style)
        if set(points["attention"]) <= set(ALL_KEYS):
            _draw_across(axes, points, score, style)
    for curve, style in looks.styles.items():  # every curve, whichever panel it is in
        points = data[data["curve"] == curve]
        is_line = points["panel"].value_counts().max() > 1
        look = {**style, "label": curve, **({} if is_line else {"linestyle": "none"})}
        gid = belongs(*points["train"].unique(), linked=False)
        panels.first.plot([], [], gid=gid, **look)
    panels.first.set_xscale("log")
    plain_log_ticks(panels.first.xaxis)
    low, high = limits(data[f"{KEYS_PER_TOKEN.name}_mean"], is_log=True)
    panels.first.set_xlim(low, high)
    heights = score.scale * data[[f"{score.name}_{end}" for end in ("mean", "low", "high")]]
    heights.columns = ["mean", "low", "high"]
    scaled = tuple(score.scale * bound for bound in score.bounds) if score.bounds else None
    panels.first.set_ylim(limits(heights["mean"], scaled, heights))
    panels.set_labels(KEYS_PER_TOKEN.axis, axis)
    baseline_line(panels.figure, panels.all_axes, cells, score, list(heights["mean"]))
    legend_below(panels.figure, panels.first)
    return panels.figure


def _draw(axes: Axes, points: pd.DataFrame, score: Metric, style: dict[str, object]) -> None:
    """One curve through its means, each with the intervals of both numbers."""
    (x, x_bars), (y, y_bars) = _with_bars(points, KEYS_PER_TOKEN), _with_bars(points, score)
    line, caps, bars = axes.errorbar(
        x, y, xerr=x_bars, yerr=y_bars, capsize=1.5, elinewidth=0.8, **{**style, "label": "_"}
    )
    line.set_gid(belongs(*points["train"]))
    for artist in (*caps, *bars):
        artist.set_gid(belongs(*points["train"].unique(), linked=False))


def _with_bars(points: pd.DataFrame, metric: Metric) -> tuple[pd.Series, list[pd.Series]]:
    mean, low, high = (
        metric.scale * points[f"{metric.name}_{part}"] for part in ("mean", "low", "high")
    )
    return mean, [(mean - low).fillna(0), (high - mean).fillna(0)]


def _draw_across(axes: Axes, points: pd.DataFrame, score: Metric, style: dict[str, object]) -> None:
    line = {"color": style["color"], "linewidth": 0.8, "alpha": 0.6, "zorder": 1.5}
    for variant, mean in zip(points["train"], points[f"{score.name}_mean"], strict=True):
        axes.axhline(score.scale * mean, gid=belongs(variant, linked=False), **line)
