"""Predicted memory beside measured: what `plan` says of each variant before it runs, and what its training step then held.

A study asks for it with `report: [memory_prediction]`; a variant's prediction takes seconds.
"""

import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from ablations.launch.predicted_memory import Predictions
from ablations.report.figure import (
    GREY,
    STYLE,
    Drawing,
    column_axes,
    legend_below,
    not_drawn,
    styles,
)
from ablations.report.numbers import digits, number
from ablations.report.point_labels import label_points
from ablations.report.seeds import by_label, over_seeds
from ablations.report.table import Table, mean_text
from ablations.report.writers.svg import belongs
from ablations.results import labels
from ablations.study import Study, compose_variants

KINDS = ("parameters", "gradients", "optimizer", "activations", "temporary")
KNOWN = Predictions()  # a report asks three times: for its tables, its figures and the terminal


def prediction_data(study: Study, cells: pd.DataFrame) -> pd.DataFrame:
    """`seeds.by_label` of peak memory, with predicted_memory_gib, its kinds (`predicted_KIND_gib`) and ratio, measured / predicted."""
    data = by_label(study, cells, ("peak_memory_gib",))
    predicted = [KNOWN.of(config) or {} for config in compose_variants(study).values()]
    data["predicted_memory_gib"] = [found.get("total") for found in predicted]
    for kind in KINDS:
        data[f"predicted_{kind}_gib"] = [found.get(kind) for found in predicted]
    data["ratio"] = data["peak_memory_gib_mean"] / data["predicted_memory_gib"]
    return data


def prediction_table(study: Study, cells: pd.DataFrame) -> Table:
    """One row a variant; one that did not run has a prediction all the same, and the word for how it ended."""
    data = prediction_data(study, cells)
    gib = data[["predicted_memory_gib", "peak_memory_gib_mean"]].max().max() >= 1
    unit, scale = ("GiB", 1) if gib else ("MiB", 1024)
    places = digits(scale * data["predicted_memory_gib"])
    header = ("variant", *KINDS, f"predicted ({unit})", f"measured ({unit})", "ratio", "seeds")
    rows = [
        (
            row.train, *(number(scale * getattr(row, f"predicted_{kind}_gib"), places) for kind in KINDS),
            number(scale * row.predicted_memory_gib, places), mean_text(cells, row, "peak_memory_gib", places, scale),
            number(row.ratio, 3), row.seeds,
        )
        for row in data.itertuples()
    ]  # fmt: skip
    devices = ", ".join(sorted(set(cells["device"].dropna()))) or "nothing"
    caption = (
        f"Peak memory of one training step in {unit}, predicted on fake tensors before it runs (the sum of the five kinds) and measured"
        f"{over_seeds(study)}. The ratio is measured / predicted. The prediction is a CPU's; measured on {devices}."
    )
    return Table("memory_prediction", caption, header, tuple(rows), frozenset(), data)


def prediction_drawings(study: Study, cells: pd.DataFrame) -> list[Drawing]:
    """The figure, or none where no variant has both numbers."""
    data = prediction_data(study, cells).dropna(subset=["ratio"])
    if data.empty:
        return []
    caption = "Measured against predicted peak memory of one training step, one point a variant; on the diagonal the prediction is exact."
    return [
        Drawing(
            "memory_prediction", caption + not_drawn(study, cells), memory_prediction(study, data)
        )
    ]


@mpl.rc_context(STYLE)
def memory_prediction(study: Study, data: pd.DataFrame) -> Figure:
    """The rows of `prediction_data` that have both numbers, against the diagonal."""
    both = data[["predicted_memory_gib", "peak_memory_gib_mean"]] * (
        1 if data["peak_memory_gib_mean"].max() >= 1 else 1024
    )
    unit = "GiB" if data["peak_memory_gib_mean"].max() >= 1 else "MiB"
    figure, axes = column_axes(height=2.9)
    points = dict(zip(data["train"], both.itertuples(index=False, name=None), strict=True))
    for train, style in styles(labels(study)).items():
        if train in points:
            axes.plot(*points[train], **{**style, "markersize": 6}, gid=belongs(train))
    low, high = both.min().min(), both.max().max()
    if high > 8 * low:
        low, high = low / 1.6, high * 1.6
        for axis, set_scale in ((axes.xaxis, axes.set_xscale), (axes.yaxis, axes.set_yscale)):
            set_scale("log")
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter("")
    else:
        low, high = low - 0.2 * (high - low) - 0.02 * high, high + 0.2 * (high - low) + 0.02 * high
    axes.plot(
        (low, high),
        (low, high),
        color=GREY,
        linestyle=(0, (4, 3)),
        linewidth=0.9,
        label="predicted = measured",
        zorder=1,
    )
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_xlabel(f"Predicted peak memory ({unit})")
    axes.set_ylabel(f"Measured peak memory ({unit})")
    legend_below(figure, axes)
    steps = [(at, at) for at in np.linspace(low, high, 60)]
    label_points(figure, axes, points, itertools.pairwise(steps))
    return figure
