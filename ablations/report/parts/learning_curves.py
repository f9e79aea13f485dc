"""Learning curves: the held-out score while training, against steps, tokens and seconds."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from ablations.report.figure import (
    SAID,
    STYLE,
    Drawing,
    baseline_line,
    column_axes,
    legend_below,
    not_drawn,
    styles,
)
from ablations.report.seeds import side_by_side
from ablations.report.table import score
from ablations.report.writers.svg import belongs
from ablations.results import labels, load_curves
from ablations.study import Study, compose_variants
from experiments.run_dir.outcome import OK

MOST_DRAWN = 500  # evaluations in a line: two in a typographic point of a column's width, and a page of moderate size
AXES = {"step": "Training step", "tokens": "Tokens seen", "seconds": "Training time (s)"}


def curve_drawings(study: Study, cells: pd.DataFrame) -> list[Drawing]:
    """A figure for each axis: learning_curves (steps), learning_curves_tokens, learning_curves_time. None without an evaluation.

    The first has every evaluation of every cell as its data, so that the curves can be drawn again, or beside others.
    """
    curves = load_curves(study)
    held_out = curves[curves["split"] == "valid"]
    if held_out.empty:
        return []
    data = {"learning_curves": held_out.drop(columns=["split", "lr"])}
    judged, missing = SAID[score(study)].lower(), part_scored(study) + not_drawn(study, cells)
    over = (
        "; line: mean, band: lowest to highest seed"
        if len({cell.seed for cell in study.cells}) > 1
        else ""
    )
    captions = {
        "learning_curves": ("step", f"Learning curves, {judged} by training step{over}.{missing}"),
        "learning_curves_tokens": ("tokens", f"The same curves by tokens seen{over}.{missing}"),
        "learning_curves_time": (
            "seconds",
            f"The same curves by training time{over}.{missing}{side_by_side(study)}",
        ),
    }
    figures = {
        name: learning_curves(study, cells, curves, by) for name, (by, _) in captions.items()
    }
    return [
        Drawing(name, caption, figures[name], data.get(name))
        for name, (_, caption) in captions.items()
    ]


def part_scored(study: Study) -> str:
    """A sentence where the curves are scored on less than the tables are: their last points are then other numbers."""
    tasks = (config.task for config in compose_variants(study).values())
    parts = {
        task.curve_sequences
        for task in tasks
        if task.curve_sequences and not 0 < task.eval_sequences <= task.curve_sequences
    }
    if not parts:
        return ""
    return f" Scored while training on about {' or '.join(map(str, sorted(parts)))} held-out sequences; the tables, at the end, on all."


@mpl.rc_context(STYLE)
def learning_curves(
    study: Study, cells: pd.DataFrame, curves: pd.DataFrame, by: str = "step"
) -> Figure:
    """Held-out score by step, tokens or seconds of the cells that ended well: mean over seeds, and a band from the lowest to the highest.

    Seeds are joined step by step; their tokens and seconds at a step are the mean over them.
    """
    judged = score(study)
    scale = 100 if judged == "accuracy" else 1
    ended = cells.loc[cells["status"] == OK, ["cell", "seed"]]
    held_out = curves[curves["split"] == "valid"].merge(ended, on=["cell", "seed"])
    figure, axes = column_axes(height=2.3)
    for i, (train, style) in enumerate(styles(labels(study)).items()):
        mine = held_out[held_out["train"] == train]
        if mine.empty:
            continue
        steps = mine.groupby("step")
        whole = steps.size() == steps.size().max()  # a mean over the same seeds at every step
        found = steps[judged].agg(["mean", "min", "max"])[whole] * scale
        found = found.iloc[
            np.unique(np.linspace(0, len(found) - 1, MOST_DRAWN).round().astype(int))
        ]
        x = found.index if by == "step" else steps[by].mean()[found.index]
        thick = 1 - i / len(
            labels(study)
        )  # from 1 down to 0, so that a curve right below another still shows
        sizes = {
            "linewidth": 1 + 1.2 * thick,
            "markersize": 3.2 + 3 * thick,
            "markevery": (0.22 * (1 - thick), 0.22),
        }
        axes.plot(x, found["mean"], label=train, gid=belongs(train), **style, **sizes)
        band = {
            "color": style["color"],
            "alpha": 0.18,
            "linewidth": 0,
            "gid": belongs(train, linked=False),
        }
        axes.fill_between(x, found["min"], found["max"], **band)
    baseline_line(axes, cells, judged, scale)
    axes.set_xlabel(AXES[by])
    if by == "tokens":
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 200k, 1.5M
    axes.set_ylabel(SAID[judged])
    axes.set_xlim(left=0)
    if judged == "accuracy":
        axes.set_ylim(-3, 103)
    legend_below(figure, axes)
    return figure
