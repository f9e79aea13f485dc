"""`learning_curves`: the held-out score while training, against steps, tokens and seconds."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from ablations.report.drawing.belongs import belongs
from ablations.report.drawing.figure import (
    Drawing,
    baseline_line,
    column_axes,
    hollow_marker,
    legend_below,
    not_drawn,
    styles,
)
from ablations.report.drawing.style import styled
from ablations.report.interval import mean_intervals
from ablations.report.judged import judged_by
from ablations.report.table import Table
from ablations.report.variant_means import (
    disturbed_variants,
    disturbed_words,
    drawn_intervals,
    side_by_side,
    value_bounds,
)
from ablations.results import load_curves, variant_labels
from ablations.study import Study, compose_variants
from ablations.study.cell import Cell
from experiments.run_dir.files import read_config_values
from experiments.run_dir.outcome import OK
from experiments.run_dir.rows import missing_metrics, steps_text
from experiments.times.disturbed import marked
from reformer_pl.config import ConfigError
from reformer_pl.metrics import TRAIN_SECONDS

# Evaluations in a line: two in a typographic point of a column's width, and a page of moderate
# size.
MOST_DRAWN = 500
AXES = {"step": "Training step", "tokens": "Tokens seen", "seconds": "Training time (s)"}


def figures(study: Study, cells: pd.DataFrame, tables: list[Table]) -> list[Drawing]:
    """A figure for each axis: learning_curves (steps), learning_curves_tokens,
    learning_curves_time. None without an evaluation.

    The first has every evaluation of every cell as its data, so that the curves can be drawn again,
    or beside others.
    """
    curves = load_curves(study)
    held_out = curves[curves["split"] == "valid"]
    if held_out.empty:
        return []
    axis = judged_by(study).axis
    score = axis[:1].lower() + axis[1:]
    intervals = drawn_intervals(study, cells)
    over = f"; line: mean, band: {intervals}" if intervals else ""
    missing = part_scored(study) + not_drawn(study, cells)
    gone = gone_steps(study, cells, curves)
    drawn = set(held_out["step"])
    missing += "".join(
        f" Of {cell}, {steps_text(steps, drawn.difference(steps))} are gone."
        for cell, steps in gone.items()
    )
    captions = {
        "step": f"Learning curves, {score} by training step{over}.{missing}",
        "tokens": f"The same curves by tokens seen{over}.{missing}",
        "seconds": f"The same curves by training time{over}.{missing}{side_by_side(study)}"
        + disturbed_words(disturbed_variants(study, cells, TRAIN_SECONDS.flag)),
    }
    names = {"step": "", "tokens": "_tokens", "seconds": "_time"}
    data = {"step": held_out.drop(columns=["split", "lr"])}
    return [
        Drawing(
            f"learning_curves{names[by]}",
            caption,
            draw_curves(study, cells, curves, by, gone),
            data.get(by),
        )
        for by, caption in captions.items()
    ]


def gone_steps(study: Study, cells: pd.DataFrame, curves: pd.DataFrame) -> dict[Cell, list[int]]:
    """The steps whose evaluation lacks in the rows of each cell that ended well; few cells do."""
    held_out, gone = curves[curves["split"] == "valid"], {}
    steps = held_out.groupby(["cell", "seed"])["step"].agg(set).to_dict()
    for cell, row in zip(study.cells, cells.to_dict("records"), strict=True):
        if row["status"] != OK or pd.isna(row["steps"]):
            continue
        try:
            config = read_config_values(cell.directory)
        except ConfigError:  # the report names it
            continue
        present = [
            {"step": step, "split": "valid"} for step in steps.get((cell.name, cell.seed), ())
        ]
        missing = missing_metrics(present, config, int(row["steps"]), ("valid",))
        if missing:
            gone[cell] = missing
    return gone


def part_scored(study: Study) -> str:
    """A sentence where the curves are scored on less than the tables are: their last points are
    then other numbers.
    """
    tasks = [config.task for config in compose_variants(study).values()]
    parts = {
        task.curve_sequences
        for task in tasks
        if task.curve_sequences and not 0 < task.eval_sequences <= task.curve_sequences
    }
    if not parts:
        return ""
    numbers = " or ".join(map(str, sorted(parts)))
    return (
        f" Scored while training on about {numbers} held-out sequences; the tables, at the end, "
        "on all."
    )


@styled()
def draw_curves(
    study: Study,
    cells: pd.DataFrame,
    curves: pd.DataFrame,
    by: str = "step",
    gone: dict[Cell, list[int]] | None = None,
) -> Figure:
    """Held-out score by step, tokens or seconds of the cells that ended well: mean over seeds,
    and its interval as a band.

    Seeds are joined step by step; their tokens and seconds at a step are the mean over them. A line
    has a gap at the steps that are `gone` (`gone_steps`) in any seed.
    """
    gone = gone_steps(study, cells, curves) if gone is None else gone
    score = judged_by(study)
    ended = cells.loc[cells["status"] == OK, ["cell", "seed"]]
    held_out = curves[curves["split"] == "valid"].merge(ended, on=["cell", "seed"])
    figure, axes = column_axes(height=2.3)
    all_styles = styles(variant_labels(study))
    hollow = disturbed_variants(study, cells, TRAIN_SECONDS.flag) if by == "seconds" else []
    for i, (variant, style) in enumerate(all_styles.items()):
        rows = held_out[held_out["train"] == variant]
        if rows.empty:
            continue
        steps = rows.groupby("step")
        whole = steps.size() == steps.size().max()  # a mean over the same seeds at every step
        bounds = value_bounds(score.name)
        values = mean_intervals(steps[score.name], bounds)[whole] * score.scale
        drawn = np.linspace(0, len(values) - 1, MOST_DRAWN).round().astype(int)
        values = values.iloc[np.unique(drawn)]
        lost = {step for cell in gone if cell.train == variant for step in gone[cell]}
        values = values.reindex(sorted({*values.index, *lost}))  # no number there: a gap
        x = values.index if by == "step" else steps[by].mean().reindex(values.index)
        # from 1 down to 0, so that a curve right below another still shows
        thick = 1 - i / len(all_styles)
        sizes = {
            "linewidth": 1 + 1.2 * thick,
            "markersize": 3.2 + 3 * thick,
            "markevery": (0.22 * (1 - thick), 0.22),
        }
        face = hollow_marker(style) if variant in hollow else {}
        line = {**style, **sizes, **face, "label": marked(variant, variant in hollow)}
        axes.plot(x, values["mean"], gid=belongs(variant), **line)
        band = {"color": style["color"], "alpha": 0.18, "linewidth": 0}
        gid = belongs(variant, linked=False)
        axes.fill_between(x, values["low"], values["high"], gid=gid, **band)
    baseline_line(axes, cells, score)
    axes.set_xlabel(AXES[by])
    if by == "tokens":
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 200k, 1.5M
    axes.set_ylabel(score.axis)
    axes.set_xlim(left=0)
    if score.bounds is not None:
        low, high = (score.scale * bound for bound in score.bounds)
        margin = 0.03 * (high - low)
        axes.set_ylim(low - margin, high + margin)
    legend_below(figure, axes)
    return figure
