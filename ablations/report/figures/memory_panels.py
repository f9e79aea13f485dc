"""Memory against several axes, a panel each: lines are predicted, points measured, and the grey
area is what the weights take.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from ablations.report.drawing.belongs import belongs
from ablations.report.drawing.legend import explain_looks
from ablations.report.drawing.looks import GREY, Looks, plain_looks
from ablations.report.styles.style import page_inches, styled

MOST_TICKS = 6
PANEL_INCHES = 1.95
WEIGHTS = {"color": "#e2e2e2", "linewidth": 0, "zorder": 0.5}
SCORES = {"color": GREY, "linestyle": (0, (1, 1.6)), "linewidth": 1.1, "zorder": 2}
UNITS = ((2.0**-10, "MiB"), (1.0, "GiB"), (2.0**10, "TiB"))


@dataclass(frozen=True)
class MemoryPanel:
    """`data` are rows of `parts.memory_axes.memory_data` of one axis; `shared` is its head."""

    axis: str
    shared: str
    data: pd.DataFrame


@styled()
def memory_panels(panels: Sequence[MemoryPanel]) -> Figure:
    """Both axes are logarithmic. Colour, marker and dashes are the variant's in every panel."""
    variants = list(dict.fromkeys(v for panel in panels for v in panel.data["variant"]))
    looks = plain_looks(variants)
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(page_inches(), 0.2 + rows * PANEL_INCHES))
    grid = figure.add_gridspec(rows, columns)
    all_axes = [figure.add_subplot(grid[divmod(i, columns)]) for i in range(len(panels))]
    for panel, axes in zip(panels, all_axes, strict=True):
        _draw(panel, axes, looks)
        axes.set_xlabel(panel.axis if "_" in panel.axis else panel.axis.capitalize())
        axes.set_title(panel.shared, loc="left", color=GREY, fontsize=7)
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel("Peak memory")
    _legend(all_axes[0], panels, looks)
    explain_looks(figure, all_axes, looks)
    return figure


def _draw(panel: MemoryPanel, axes: Axes, looks: Looks) -> None:
    data = panel.data.dropna(subset=["predicted_memory_gib"])
    data = data.sort_values("place", kind="stable")
    axes.set_xscale("log")
    axes.set_yscale("log")
    if data.empty:
        return
    for i, (variant, style) in enumerate(looks.styles.items()):
        own = data[data["variant"] == variant]
        # from 1 down to 0, so that a line right below another still shows
        thick = 1 - i / len(looks.styles)
        look = {"color": style["color"], "zorder": style["zorder"]}
        dashes = {"linestyle": style["linestyle"], "linewidth": 0.9 + thick}
        axes.plot(
            own["place"], own["predicted_memory_gib"], gid=belongs(*own["cell"]), marker=".",
            markersize=1.5, **look, **dashes,
        )  # fmt: skip
        ran = own.dropna(subset=["peak_memory_gib"])
        axes.plot(
            ran["place"], ran["peak_memory_gib"], gid=belongs(*ran["cell"]), linestyle="none",
            marker=style["marker"], markersize=3.4 + 2 * thick, markeredgecolor="white",
            markeredgewidth=0.4, **look,
        )  # fmt: skip
    floor = data.groupby("place")["weights_gib"].min()
    scores = data.groupby("place")["scores_gib"].first().dropna()
    low = min(floor.min(), data["predicted_memory_gib"].min())
    low, high = low / 1.5, data["predicted_memory_gib"].max() * 1.6
    axes.fill_between(floor.index, low, floor, **WEIGHTS)
    axes.plot(scores.index, scores, **SCORES)
    axes.set_xlim(data["place"].min() / 1.1, data["place"].max() * 1.05)
    axes.set_ylim(low, high)
    _label_ends(axes, data, looks)
    _ticks(axes, sorted(data["place"].unique()), low, high)


def _label_ends(axes: Axes, data: pd.DataFrame, looks: Looks) -> None:
    """The largest and the smallest prediction at the end of the axis, in words beside it."""
    last = data[data["place"] == data["place"].max()]
    ends = last.sort_values("predicted_memory_gib")
    for row in {ends.index[0]: ends.iloc[0], ends.index[-1]: ends.iloc[-1]}.values():
        value = row["predicted_memory_gib"]
        axes.annotate(
            memory_text(value), (row["place"], value), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=6.5, color=looks.styles[row["variant"]]["color"],
            annotation_clip=False,
        )  # fmt: skip


def _ticks(axes: Axes, places: list[float], low: float, high: float) -> None:
    """Powers of two of memory, and the places of the study."""
    first, last = math.ceil(math.log2(low)), math.floor(math.log2(high))
    every = max(1, math.ceil((last - first + 1) / MOST_TICKS))
    exponents = [e for e in range(first, last + 1) if e % every == 0]
    axes.set_yticks([2.0**e for e in exponents], [memory_text(2.0**e) for e in exponents])
    axes.set_xticks(places, [count_text(place) for place in places])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())


def _legend(axes: Axes, panels: Sequence[MemoryPanel], looks: Looks) -> None:
    """Entries of the variants, and of what else is drawn."""
    for variant, style in looks.styles.items():
        cells = [c for p in panels for c in p.data.loc[p.data["variant"] == variant, "cell"]]
        axes.plot([], [], gid=belongs(*cells, linked=False), label=looks.names[variant], **style)
    axes.plot([], [], color=GREY, label="predicted")
    axes.plot([], [], color=GREY, linestyle="none", marker="o", label="measured")
    if any(panel.data["weights_gib"].notna().any() for panel in panels):
        axes.fill_between([], [], [], label="weights, gradients, optimiser", **WEIGHTS)
    if any(panel.data["scores_gib"].notna().any() for panel in panels):
        axes.plot([], [], label="one layer's scores, if stored", **SCORES)


def memory_text(gib: float) -> str:
    """ "16 MiB", "2.5 GiB", "1 TiB": two digits at least."""
    size, unit = next(((s, u) for s, u in reversed(UNITS) if gib >= s * (1 - 1e-9)), UNITS[0])
    value = gib / size
    return f"{value:.0f} {unit}" if value >= 10 or value == round(value) else f"{value:.1f} {unit}"


def count_text(number: float) -> str:
    """ "512", "8K", "1M": of powers of two."""
    for size, letter in ((2**20, "M"), (2**10, "K")):
        if number >= size and not np.mod(number, size):
            return f"{number / size:g}{letter}"
    return f"{number:g}"
