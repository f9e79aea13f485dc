"""Seconds and memory against length (both logarithmic) or layers: a line a variant, the paper's
beside ours.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from ablations.report.benchmark_rows import by_place, constant_tokens, disturbed_at
from ablations.report.drawing.belongs import belongs
from ablations.report.drawing.figure import column_axes, hollow_marker
from ablations.report.drawing.legend import explain_looks
from ablations.report.drawing.looks import GREY, Looks, plain_looks
from ablations.report.styles.style import styled
from experiments.times.disturbed import marked

PAPER = {"linestyle": (0, (1, 1.6)), "linewidth": 1.1}
LAYERS = "Layers"


def length_axis(rows: pd.DataFrame) -> str:
    """What the horizontal axis says: the length, with the batch where that shrinks as the length
    grows.
    """
    return "Length" if constant_tokens(rows) is None else "Length / batch"


@styled()
def growth(
    rows: pd.DataFrame,
    column: str,
    y_label: str,
    x_label: str = LAYERS,
    paper: dict[str, dict[str, float]] | None = None,
    looks: Looks | None = None,
) -> Figure:
    """`column` of each variant against length, both logarithmic, or against layers; `paper` gives
    dotted lines in the variants' colours.

    `rows` are `benchmark_rows.grid_rows`. Without `looks`, each variant has the look of its place.
    """
    looks = looks or plain_looks(rows["variant"].unique())
    figure, axes = column_axes(height=2.7)
    linear = x_label == LAYERS
    values = by_place(rows, column)
    places = by_place(rows, "n_layers" if linear else "length").mean().dropna()
    for i, (variant, style) in enumerate(looks.styles.items()):
        drawn = values.loc[variant, places.index].dropna()
        drawn = drawn if linear else drawn[drawn > 0]  # a logarithmic axis has no zero
        # from 1 down to 0, so that a line right below another still shows
        thick = 1 - i / len(values)
        sizes = {"linewidth": 1 + thick, "markersize": 3.2 + 2.2 * thick}
        labels = rows[rows["variant"] == variant].drop_duplicates("at").set_index("at")["train"]
        hollow = [
            at for at in drawn.index if column == "step_seconds" and disturbed_at(rows, variant, at)
        ]
        if len(drawn):
            gid = belongs(*labels[drawn.index])
            label = marked(looks.names[variant], bool(hollow)) if looks.entries is None else "_"
            line = {**style, **sizes, "label": label}
            axes.plot(places[drawn.index], drawn, gid=gid, **line)
        if hollow:
            rings = {**style, **sizes, **hollow_marker(style), "linestyle": "none"}
            gid = belongs(*labels[hollow], linked=False)
            axes.plot(places[hollow], drawn[hollow], gid=gid, **rings)
        printed = (paper or {}).get(variant, {})
        printed = {at: value for at, value in printed.items() if at in places.index}
        if printed:
            line = {"color": style["color"], "alpha": 0.75, "zorder": 2, **PAPER}
            marker = {"marker": style["marker"], "markersize": 2.8, "markerfacecolor": "white"}
            gid = belongs(labels.iloc[0], linked=False)
            axes.plot(places[list(printed)], list(printed.values()), gid=gid, **line, **marker)
    if paper:
        axes.plot([], [], color=GREY, label="the paper's", **PAPER)
    if not linear:
        _logarithmic(axes)
    _ticks_at(axes, places)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    if linear:
        axes.set_ylim(bottom=0)
    explain_looks(figure, [axes], looks)
    return figure


def _logarithmic(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    decades = np.ptp(np.log10(axes.get_ylim()))
    axes.yaxis.set_major_locator(LogLocator(subs=(1,) if decades > 3 else (1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _ticks_at(axes: Axes, places: pd.Series) -> None:
    """A tick at each place, with the label that the study gives it."""
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    fontsize = 6.5 if max(map(len, places.index)) > 6 else None
    axes.set_xticks(list(places), list(places.index), fontsize=fontsize)
