"""`learning_curves`: the held-out score while training, against steps, tokens and seconds."""

import pandas as pd

from ablations.report.drawing.figure import Drawing, not_drawn
from ablations.report.figures.training_curves import (
    BANDS,
    NEITHER,
    draw_curves,
    figure_keys,
    gone_steps,
    has_baseline,
    intervals_of,
    looks_of,
    tail_share,
)
from ablations.report.interval import INTERVAL
from ablations.report.judged import judged_by
from ablations.report.table import Table
from ablations.report.variant_means import (
    disturbed_variants,
    disturbed_words,
    drawn_intervals,
    side_by_side,
)
from ablations.results import load_curves
from ablations.study import Study, compose_variants
from experiments.run_dir.outcome import OK
from experiments.run_dir.rows import steps_text
from reformer_pl.metrics import TRAIN_SECONDS

BY_WORD = {"steps": "step", "tokens": "tokens", "seconds": "seconds"}  # of `x:` in `figures:`


def figures(study: Study, cells: pd.DataFrame, tables: list[Table]) -> list[Drawing]:
    """A figure for each axis: learning_curves (steps), learning_curves_tokens where tokens are not
    in step with the steps, learning_curves_time; or the one of `figures:`. None without an
    evaluation.

    The first has every evaluation of every cell as its data, so that the curves can be drawn again,
    or beside others.
    """
    curves = load_curves(study)
    held_out = curves[curves["split"] == "valid"]
    if held_out.empty:
        return []
    keys = figure_keys(study)
    axis = judged_by(study).axis
    score = axis[:1].lower() + axis[1:]
    intervals = drawn_intervals(study, cells)
    looks = looks_of(study, cells)
    kind = intervals_of(looks, set(cells.loc[cells["status"] == OK, "train"]))
    over = "; line: mean" if intervals else ""
    over += f", band: {intervals}" if intervals and kind == BANDS else ""
    missing = looks.words + tail_words(study) + part_scored(study)
    missing += not_drawn(study, cells) + unfinished_words(cells, held_out)
    gone = gone_steps(study, cells, curves)
    drawn = set(held_out["step"])
    missing += "".join(
        f" Of {cell}, {steps_text(steps, drawn.difference(steps))} are gone."
        for cell, steps in gone.items()
    )
    opening, again = f"Learning curves, {score}", "The same curves"
    again = opening if keys.x else again
    differences = difference_words(study, cells, intervals, kind)
    captions = {
        "step": f"{opening} by training step{over}.{differences}{missing}",
        "tokens": f"{again} by tokens seen{over}.{missing}",
        "seconds": f"{again} by training time{over}.{missing}{side_by_side(study)}"
        + disturbed_words(disturbed_variants(study, cells, TRAIN_SECONDS.flag)),
    }
    names = {"step": "", "tokens": "_tokens", "seconds": "_time"}
    chosen = [by for by in captions if by != "tokens" or not tokens_follow_steps(held_out)]
    chosen = [BY_WORD[keys.x]] if keys.x else chosen
    data = held_out.drop(columns=["split", "lr"])
    return [
        Drawing(
            f"learning_curves{names[by]}",
            captions[by],
            draw_curves(study, cells, curves, by, gone),
            data if by == chosen[0] else None,
        )
        for by in chosen
    ]


def tail_words(study: Study) -> str:
    """For the caption, where the axis does not show all."""
    share = tail_share(study)
    if not share:
        return ""
    return f" The vertical axis spans the values from {100 * share:g} % of the training on."


def tokens_follow_steps(held_out: pd.DataFrame) -> bool:
    """Whether every cell has seen the same number of tokens at the same step."""
    tokens = held_out["tokens"] / held_out["step"]
    return bool(tokens.max() - tokens.min() < 1e-6 * tokens.max())


def unfinished_words(cells: pd.DataFrame, held_out: pd.DataFrame) -> str:
    """For the caption, which curves are faint."""
    places = set(zip(held_out["cell"], held_out["seed"], strict=True))
    rows = cells[cells["status"] != OK]
    if not any(place in places for place in zip(rows["cell"], rows["seed"], strict=True)):
        return ""
    return (
        " Faint, up to a cross: a cell that failed, was stopped or still runs; it is in no mean, "
        "and a cross on the border lies beyond it."
    )


def difference_words(study: Study, cells: pd.DataFrame, intervals: str, kind: str) -> str:
    """For the caption of a figure with a lower panel."""
    if not has_baseline(study, cells):
        return ""
    text = f" Below: the difference to {study.baseline} on equal seeds"
    if not intervals or kind == NEITHER:
        return f"{text}."
    if kind == BANDS:
        return f"{text}; band: {INTERVAL}, paired by seed (a border may cut it off)."
    return (
        f"{text}; bars at the right: {intervals}, of the last difference, paired by seed (a border "
        "may cut them off)."
    )


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
