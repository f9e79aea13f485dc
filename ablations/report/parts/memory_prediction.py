"""`memory_prediction`: what `plan` says of each variant before it runs, beside what its training
step then held.

A prediction takes seconds.
"""

import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ablations.launch.predicted_memory import Predictions
from ablations.report.drawing.belongs import belongs
from ablations.report.drawing.figure import (
    Drawing,
    column_axes,
    not_drawn,
    plain_log_ticks,
)
from ablations.report.drawing.legend import explain_looks, wrapped
from ablations.report.drawing.looks import GREY, variant_looks
from ablations.report.drawing.point_labels import label_points
from ablations.report.numbers import digits
from ablations.report.styles.style import styled
from ablations.report.table import Row, Table, Value, Words
from ablations.report.variant_means import mean_entry, means_by_variant, over_seeds
from ablations.study import Study, compose_variants
from reformer_pl.metrics import memory_metric

# Of more variants than the first, only the second many have a label: those farthest off.
MOST_LABELS, FARTHEST = 8, 5
KINDS = ("parameters", "gradients", "optimizer", "activations", "temporary")


def tables(study: Study, cells: pd.DataFrame) -> list[Table]:
    """One row a variant; one that did not run has a prediction all the same, and the word for how
    it ended.
    """
    data = prediction_data(study, cells)
    memory = memory_metric(data[["predicted_memory_gib", "peak_memory_gib_mean"]].max().max())
    places = digits(memory.scale * data["predicted_memory_gib"])
    predicted = [*(f"predicted_{kind}_gib" for kind in KINDS), "predicted_memory_gib"]
    rows = [
        Row(
            row.train,
            (
                *(Value(memory.scale * getattr(row, name), places=places) for name in predicted),
                mean_entry(cells, row, memory, places),
                Value(row.ratio, places=3),
                Value(row.n),
                Words(row.seeds),
            ),
            row.train,
        )
        for row in data.itertuples()
    ]
    unit = memory.suffix
    header = ("variant", *KINDS, f"predicted ({unit})", f"measured ({unit})", "ratio", "n", "seeds")
    kind = "GPU" if measured_on_gpu(cells) else "CPU"
    devices = ", ".join(sorted(set(cells["device"].dropna()))) or "nothing"
    caption = (
        f"Peak memory of one training step in {unit}, predicted on fake tensors before it runs "
        f"(the sum of the five kinds) and measured{over_seeds(study)}. The ratio is measured / "
        f"predicted. The prediction is a {kind}'s; measured on {devices}."
    )
    return [Table("memory_prediction", caption, header, tuple(rows), data)]


def figures(study: Study, cells: pd.DataFrame, tables: list[Table]) -> list[Drawing]:
    """The figure, or none where no variant has both numbers."""
    data = tables[0].data.dropna(subset=["ratio"])
    if data.empty:
        return []
    caption = (
        "Measured against predicted peak memory of one training step, one point a variant; on the "
        f"diagonal the prediction is exact.{not_drawn(study, cells)}"
    )
    return [Drawing("memory_prediction", caption, against_the_diagonal(study, data))]


def measured_on_gpu(cells: pd.DataFrame) -> bool:
    """Whether some cell was; device names of CPUs begin with the word."""
    return any("CPU" not in device for device in cells["device"].dropna())


def prediction_data(study: Study, cells: pd.DataFrame) -> pd.DataFrame:
    """`means_by_variant` of peak memory, with predicted_memory_gib, its kinds
    (`predicted_KIND_gib`) and ratio, measured / predicted.
    """
    data = means_by_variant(study, cells, ("peak_memory_gib",))
    predictions = Predictions(measured_on_gpu(cells))
    predicted = [predictions.of(config) or {} for config in compose_variants(study).values()]
    data["predicted_memory_gib"] = [kinds.get("total") for kinds in predicted]
    for kind in KINDS:
        data[f"predicted_{kind}_gib"] = [kinds.get(kind) for kinds in predicted]
    data["ratio"] = data["peak_memory_gib_mean"] / data["predicted_memory_gib"]
    return data


@styled()
def against_the_diagonal(study: Study, data: pd.DataFrame) -> Figure:
    """Rows of `prediction_data` with both numbers, against the line where they are equal."""
    memory = memory_metric(data["peak_memory_gib_mean"].max())
    both = data[["predicted_memory_gib", "peak_memory_gib_mean"]] * memory.scale
    figure, axes = column_axes(height=2.9)
    points = dict(zip(data["train"], both.itertuples(index=False, name=None), strict=True))
    looks = variant_looks(study, "memory_prediction", "points", _off(data))
    for variant, style in looks.styles.items():
        if variant in points:
            look = {**style, "markersize": 6, "marker": style["marker"] or "o"}
            axes.plot(*points[variant], **look, gid=belongs(variant))
    low, high = both.min().min(), both.max().max()
    if high > 8 * low:
        low, high = low / 1.6, high * 1.6
        axes.set_xscale("log")
        axes.set_yscale("log")
        plain_log_ticks(axes.xaxis)
        plain_log_ticks(axes.yaxis)
    else:
        low, high = low - 0.2 * (high - low) - 0.02 * high, high + 0.2 * (high - low) + 0.02 * high
    style = {"color": GREY, "linestyle": (0, (4, 3)), "linewidth": 0.9, "zorder": 1}
    axes.plot((low, high), (low, high), label="predicted = measured", **style)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    name = memory.axis[:1].lower() + memory.axis[1:]
    axes.set_xlabel(f"Predicted {name}")
    axes.set_ylabel(f"Measured {name}")
    labelled = list(points)
    if len(points) > MOST_LABELS:
        labelled = [variant for variant in _off(data) if variant in points][:FARTHEST]
    else:
        looks = replace(looks, entries=None, bar=None)  # each point has its label
    explain_looks(figure, [axes], looks, with_lines=False)
    steps = [(at, at) for at in np.linspace(low, high, 60)]
    labels = {variant: wrapped(looks.names[variant], 22) for variant in labelled}
    label_points(figure, axes, points, itertools.pairwise(steps), labels=labels)
    return figure


def _off(data: pd.DataFrame) -> list[str]:
    """The variants, those farthest from the diagonal first."""
    off = data.set_index("train")["ratio"].map(lambda ratio: abs(math.log(ratio)))
    return list(off.sort_values(ascending=False, kind="stable").index)
