"""Curves over training: means over seeds with their intervals, cells without an end, and
differences to a baseline.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation

from ablations.report.drawing.belongs import belongs
from ablations.report.drawing.looks import GREY
from ablations.report.drawing.panels import BAR_POINTS
from ablations.report.interval import ANY_VALUE, mean_intervals
from ablations.report.variant_means import value_bounds
from reformer_pl.metrics import Metric

# Evaluations in a line: two in a typographic point of a column's width, and a page of moderate
# size.
MOST_DRAWN = 500
FAINT = {"alpha": 0.4, "linewidth": 0.8, "markersize": 0}
MOST_BARS = 8
MOST_BANDS = 3  # of a panel: more would cover each other, and bars at the last point stand for them
STOP = {"marker": "x", "markersize": 4, "markeredgewidth": 0.9, "linestyle": "none"}


def mean_curve(rows: pd.DataFrame, score: Metric, by: str, lost: Iterable[int]) -> pd.DataFrame:
    """x, mean, low and high by step, of the rows of one variant's cells, in the unit shown.

    Seeds are joined step by step, where as many have one as at most; their tokens and seconds are
    the mean over them. A step that is lost has no number, which leaves a gap.
    """
    values = score.scale * _by_step(rows, score.name, lost, value_bounds(score.name))
    if by == "step":
        return values.assign(x=values.index)
    return values.assign(x=rows.groupby("step")[by].mean().reindex(values.index))


def difference_curve(
    before: pd.DataFrame, after: pd.DataFrame, score: Metric, lost: Iterable[int]
) -> pd.DataFrame:
    """x, mean, low and high by step: `after` minus `before` on equal seeds, in the unit shown."""
    both = after.merge(before, on=["seed", "step"], suffixes=("", "_before"))
    both["difference"] = both[score.name] - both[f"{score.name}_before"]
    values = score.scale * _by_step(both, "difference", lost)
    return values.assign(x=values.index)


def _by_step(
    rows: pd.DataFrame,
    column: str,
    lost: Iterable[int],
    bounds: tuple[float, float] = ANY_VALUE,
) -> pd.DataFrame:
    """mean, low and high by step, as stored, where as many seeds have the step as at most."""
    steps = rows.groupby("step")
    whole = steps.size() == steps.size().max()  # a mean over the same seeds at every step
    values = mean_intervals(steps[column], bounds)[whole]
    values = values.iloc[_spread(len(values))]
    return values.reindex(sorted({*values.index, *lost}))


def tail_of(curve: pd.DataFrame, share: float) -> pd.DataFrame:
    """What a curve is from a share of its own way on; its last point at least."""
    if curve.empty:
        return curve
    return curve[curve["x"] >= share * curve["x"].max()]


def draw_curve(
    axes: Axes, curve: pd.DataFrame, variant: str, look: dict[str, object], linked: bool = True
) -> None:
    """The mean as a line, which leads to the variant's cells where it is linked."""
    axes.plot(curve["x"], curve["mean"], gid=belongs(variant, linked=linked), **look)


def draw_band(axes: Axes, curve: pd.DataFrame, variant: str, look: dict[str, object]) -> None:
    """The interval around a curve, at every point."""
    band = {"color": look["color"], "alpha": 0.15, "linewidth": 0}
    gid = belongs(variant, linked=False)
    axes.fill_between(curve["x"], curve["low"], curve["high"], gid=gid, **band)


def draw_last_interval(
    axes: Axes, curve: pd.DataFrame, variant: str, look: dict[str, object], place: int
) -> None:
    """The interval of the last point alone, as the place-th bar to the right of the curves."""
    last = curve.dropna(subset="low").tail(1)
    if last.empty:
        return
    x, y, low, high = (float(last[name].iloc[0]) for name in ("x", "mean", "low", "high"))
    aside = ScaledTranslation(BAR_POINTS * (place + 1) / 72, 0, axes.figure.dpi_scale_trans)
    more = {"color": look["color"], "gid": belongs(variant, linked=False), "zorder": look["zorder"]}
    more["transform"] = axes.transData + aside
    axes.plot([x, x], [low, high], linewidth=1.1, **more)
    axes.plot([x], [y], marker="_", markersize=3, markeredgewidth=1.1, **more)


def draw_unfinished(
    axes: Axes, rows: pd.DataFrame, score: Metric, by: str, variant: str, style: dict[str, object]
) -> None:
    """The faint curve of one cell without a good end, and a cross where it came to.

    Call it when the limits of the axes stand: a cross beyond them is drawn on the border.
    """
    gid = belongs(variant, linked=False)
    line = {"color": style["color"], "linestyle": style["linestyle"], "zorder": 2}
    values = score.scale * rows[score.name]
    axes.plot(rows[by], values, gid=gid, **line, **FAINT)
    last = values.last_valid_index()
    if last is not None:
        height = float(np.clip(values[last], *axes.get_ylim()))
        cross = {"color": style["color"], "alpha": 0.8, "zorder": 2.5, "clip_on": False}
        axes.plot([rows[by][last]], [height], gid=gid, **cross, **STOP)


def sizes(place: int, count: int, is_small: bool) -> dict[str, object]:
    """Of the place-th of some lines: from thick to thin, so that one right below another shows."""
    thick = 1 - place / max(count, 1)
    return {
        "linewidth": 0.8 + 0.5 * thick if is_small else 1 + 1.2 * thick,
        "markersize": 2.6 + 1.2 * thick if is_small else 3.2 + 3 * thick,
        "markevery": (0.22 * (1 - thick), 0.22),
    }


def _spread(count: int) -> np.ndarray:
    """The places of the evaluations that are drawn; none of none."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_DRAWN)).round().astype(int))


def signed_tick(value: float, place: int | None = None) -> str:
    """A number beside an axis of differences: +0.1, its opposite with a true minus, and 0."""
    return f"{value:+.4g}".replace("-", "\N{MINUS SIGN}") if value else "0"


def zero_line(axes: Axes) -> None:
    """Where a difference is none."""
    axes.axhline(0, color=GREY, linewidth=0.8, zorder=1)
