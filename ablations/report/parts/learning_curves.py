"""`learning_curves`: the held-out score while training, against steps, tokens and seconds."""

from collections.abc import Iterable

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from ablations.report.drawing.curves import (
    difference_curve,
    draw_curve,
    draw_unfinished,
    mean_curve,
    sizes,
    tail_of,
    zero_line,
)
from ablations.report.drawing.figure import (
    STYLE,
    Drawing,
    baseline_line,
    not_drawn,
    plain_log_ticks,
)
from ablations.report.drawing.legend import explain_looks
from ablations.report.drawing.looks import Looks, variant_looks
from ablations.report.drawing.panels import Panels, limits, make_panels
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
from ablations.study.axes.figure_keys import FigureKeys
from ablations.study.cell import Cell
from experiments.run_dir.files import read_config_values
from experiments.run_dir.outcome import OK
from experiments.run_dir.rows import missing_metrics, steps_text
from reformer_pl.config import ConfigError
from reformer_pl.metrics import TRAIN_SECONDS, Metric

LATER_HALF = 0.5
AXES = {"step": "Training step", "tokens": "Tokens seen", "seconds": "Training time (s)"}


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
    over = f"; line: mean, band: {intervals}" if intervals else ""
    looks = looks_of(study, cells)
    missing = looks.words + tail_words(study, keys) + part_scored(study)
    missing += not_drawn(study, cells) + unfinished_words(cells, held_out)
    gone = gone_steps(study, cells, curves)
    drawn = set(held_out["step"])
    missing += "".join(
        f" Of {cell}, {steps_text(steps, drawn.difference(steps))} are gone."
        for cell, steps in gone.items()
    )
    by_step, again = f"Learning curves, {score}", "The same curves"
    captions = {
        "step": f"{by_step} by training step{over}.{difference_words(study, cells)}{missing}",
        "tokens": f"{again if not keys.x else by_step} by tokens seen{over}.{missing}",
        "seconds": f"{again if not keys.x else by_step} by training time{over}.{missing}"
        f"{side_by_side(study)}"
        + disturbed_words(disturbed_variants(study, cells, TRAIN_SECONDS.flag)),
    }
    names = {"step": "", "tokens": "_tokens", "seconds": "_time"}
    chosen = (
        [keys.x.removesuffix("s") if keys.x == "steps" else keys.x]
        if keys.x
        else [by for by in captions if by != "tokens" or not tokens_follow_steps(held_out)]
    )
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


def figure_keys(study: Study) -> FigureKeys:
    """What the study says of this figure."""
    return study.figures.get("learning_curves", FigureKeys())


def looks_of(study: Study, cells: pd.DataFrame) -> Looks:
    """Of the variants; where they are too many for colours, of the best."""
    score = judged_by(study)
    means = cells[cells["status"] == OK].groupby("train")[score.name].mean().dropna()
    best = means.sort_values(ascending=not score.higher_is_better, kind="stable")
    return variant_looks(study, "learning_curves", "curves", list(best.index))


def tail_share(study: Study) -> float:
    """From which share of its training on the values of a curve must be on the y-axis.

    By default the later half, where variants differ by little; all of a score with bounds, which
    rises late.
    """
    tail = figure_keys(study).tail
    if tail is None:
        return 0.0 if judged_by(study).bounds else LATER_HALF
    return tail


def tail_words(study: Study, keys: FigureKeys) -> str:
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


def difference_words(study: Study, cells: pd.DataFrame) -> str:
    """For the caption of a figure with a lower panel."""
    if not has_baseline(study, cells):
        return ""
    several = any(cells[cells["status"] == OK].groupby("train").size() > 1)
    band = f", with the {INTERVAL} of the paired differences" if several else ""
    return f" Below: the difference to {study.baseline} on equal seeds{band}."


def has_baseline(study: Study, cells: pd.DataFrame) -> bool:
    """Whether the baseline and another variant have a cell that ended well."""
    ended = set(cells.loc[cells["status"] == OK, "train"])
    return study.baseline in ended and len(ended) > 1


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


@mpl.rc_context(STYLE)
def draw_curves(
    study: Study,
    cells: pd.DataFrame,
    curves: pd.DataFrame,
    by: str = "step",
    gone: dict[Cell, list[int]] | None = None,
) -> Figure:
    """Held-out score by step, tokens or seconds: of the cells that ended well the mean over seeds,
    with its interval as a band; of the others, faint, what there is.

    A line has a gap at the steps that are `gone` (`gone_steps`) in any seed. By step, a lower panel
    has the differences to the baseline.
    """
    gone = gone_steps(study, cells, curves) if gone is None else gone
    score, looks, keys = judged_by(study), looks_of(study, cells), figure_keys(study)
    held_out = curves[curves["split"] == "valid"]
    held_out = held_out.merge(cells[["cell", "seed", "status"]], on=["cell", "seed"])
    ended = dict(iter(held_out[held_out["status"] == OK].groupby("train")))
    lost = {v: {s for c in gone if c.train == v for s in gone[c]} for v in looks.styles}
    means = {v: mean_curve(rows, score, by, lost[v]) for v, rows in ended.items()}
    against = by == "step" and study.baseline in ended and len(ended) > 1
    panels = make_panels(looks.panels, against)
    hollow = disturbed_variants(study, cells, TRAIN_SECONDS.flag) if by == "seconds" else []
    for panel, axes in panels.upper.items():
        own = looks.of_panel(panel)
        for i, variant in enumerate(own):
            if variant in means:
                label = looks.names[variant] if looks.entries is None else ""
                look = looks.styles[variant] | sizes(i, len(own))
                draw_curve(axes, means[variant], variant, look, label, hollow=variant in hollow)
    _set_scales(panels, means.values(), keys, by, score, tail_share(study))
    for (variant, _), rows in held_out[held_out["status"] != OK].groupby(["train", "seed"]):
        axes = panels.upper[looks.panel[variant]]
        draw_unfinished(axes, rows.sort_values("step"), score, by, variant, looks.styles[variant])
    if against:
        _draw_differences(study, panels, ended, lost, score, looks)
    baseline_line(panels.figure, list(panels.upper.values()), cells, score)
    below = f"minus {study.baseline}" if len(study.baseline) < 14 else "minus baseline"
    panels.set_labels(AXES[by], score.axis, f"{below}" if against else "")
    if by == "tokens":
        panels.first.xaxis.set_major_formatter(EngFormatter(sep=""))  # 200k, 1.5M
    explain_looks(panels.figure, panels.all_axes, looks)
    return panels.figure


def _set_scales(
    panels: Panels,
    means: Iterable[pd.DataFrame],
    keys: FigureKeys,
    by: str,
    score: Metric,
    share: float,
) -> None:
    """The scales and limits of the upper panels, which they share; x of all."""
    means = list(means)
    axes = panels.first
    tails = pd.concat([tail_of(curve, share) for curve in means]) if means else None
    bounds = (
        (score.scale * score.bounds[0], score.scale * score.bounds[1]) if score.bounds else None
    )
    if "y" in keys.log:
        axes.set_yscale("log")
    if tails is not None:
        axes.set_ylim(*limits(tails["mean"], bounds, is_log="y" in keys.log))
    if "x" in keys.log:
        axes.set_xscale("log")
        plain_log_ticks(axes.xaxis)
    else:
        axes.set_xlim(left=0)


def _draw_differences(
    study: Study,
    panels: Panels,
    ended: dict[str, pd.DataFrame],
    lost: dict[str, set[int]],
    score: Metric,
    looks: Looks,
) -> None:
    """The lower panels: each variant minus the baseline on equal seeds."""
    before, drawn = ended[study.baseline], []
    for panel, axes in panels.lower.items():
        zero_line(axes)
        own = looks.of_panel(panel)
        for i, variant in enumerate(own):
            if variant not in ended or variant == study.baseline:
                continue
            curve = difference_curve(before, ended[variant], score, lost[variant])
            look = looks.styles[variant] | sizes(i, len(own))
            draw_curve(axes, curve, variant, look, "", linked=False)
            drawn.append(tail_of(curve, tail_share(study)))
    if drawn:
        values = pd.concat([*(curve["mean"] for curve in drawn), pd.Series([0.0])])
        first = next(iter(panels.lower.values()))
        first.set_ylim(*limits(values))
        first.yaxis.set_major_formatter("{x:+g}")
