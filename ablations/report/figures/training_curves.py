"""The figure of the learning curves: a panel for each choice of an axis, and below it the
differences to the baseline.
"""

from collections.abc import Iterable

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from ablations.report.drawing.curves import (
    MOST_BANDS,
    MOST_BARS,
    difference_curve,
    draw_band,
    draw_curve,
    draw_last_interval,
    draw_unfinished,
    mean_curve,
    signed_tick,
    sizes,
    tail_of,
    zero_line,
)
from ablations.report.drawing.figure import (
    baseline_line,
    hollow_marker,
    plain_log_ticks,
)
from ablations.report.drawing.legend import explain_looks
from ablations.report.drawing.looks import Looks, best_variants, variant_looks
from ablations.report.drawing.panels import Panels, limits, make_panels
from ablations.report.judged import judged_by
from ablations.report.styles.style import styled
from ablations.report.variant_means import disturbed_variants
from ablations.study import Study
from ablations.study.axes.figure_keys import FigureKeys
from ablations.study.cell import Cell
from experiments.run_dir.files import read_config_values
from experiments.run_dir.outcome import OK
from experiments.run_dir.rows import missing_metrics
from experiments.times.disturbed import marked
from reformer_pl.config import ConfigError
from reformer_pl.metrics import TRAIN_SECONDS, Metric

AXES = {"step": "Training step", "tokens": "Tokens seen", "seconds": "Training time (s)"}
LATER_HALF = 0.5
BANDS, BARS, NEITHER = "bands", "bars", "neither"


def figure_keys(study: Study) -> FigureKeys:
    """What the study says of this figure."""
    return study.figures.get("learning_curves", FigureKeys())


def looks_of(study: Study, cells: pd.DataFrame) -> Looks:
    """Of the variants; where they are too many for colours, of the best."""
    best = best_variants(cells, judged_by(study))
    return variant_looks(study, "learning_curves", "curves", best)


def tail_share(study: Study) -> float:
    """From which share of its training on the values of a curve must be on the y-axis.

    By default the later half, where variants differ by little; all of a score with bounds, which
    rises late.
    """
    tail = figure_keys(study).tail
    if tail is None:
        return 0.0 if judged_by(study).bounds else LATER_HALF
    return tail


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


def has_baseline(study: Study, cells: pd.DataFrame) -> bool:
    """Whether the baseline and another variant have a cell that ended well."""
    ended = set(cells.loc[cells["status"] == OK, "train"])
    return study.baseline in ended and len(ended) > 1


@styled()
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
    with_bands = intervals_of(looks, means) == BANDS
    for panel, axes in panels.upper.items():
        for variant, look in _lines(looks, panel).items():
            if variant not in means:
                continue
            face = hollow_marker(look) if variant in hollow else {}
            name = marked(looks.names[variant], variant in hollow) if looks.entries is None else "_"
            draw_curve(axes, means[variant], variant, {**look, **face, "label": name})
            if with_bands:
                draw_band(axes, means[variant], variant, look)
    bars = most_lines(looks, ended) if against and intervals_of(looks, ended) == BARS else 0
    _set_scales(panels, means.values(), keys, score, tail_share(study), with_bands, bars)
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
    score: Metric,
    share: float,
    with_bands: bool,
    bars: int,
) -> None:
    """The scales and limits of the upper panels, which they share; x of all, with room for bars."""
    means = list(means)
    axes = panels.first
    tails = pd.concat([tail_of(curve, share) for curve in means]) if means else None
    bounds = (
        (score.scale * score.bounds[0], score.scale * score.bounds[1]) if score.bounds else None
    )
    if "y" in keys.log:
        axes.set_yscale("log")
    if tails is not None:
        ends = tails[["low", "high"]] if with_bands else None
        axes.set_ylim(*limits(tails["mean"], bounds, ends, is_log="y" in keys.log))
    if "x" in keys.log:
        axes.set_xscale("log")
        plain_log_ticks(axes.xaxis)
    elif means:
        last = max(curve["x"].max() for curve in means)
        axes.set_xlim(0, last * panels.right_margin(bars))


def _draw_differences(
    study: Study,
    panels: Panels,
    ended: dict[str, pd.DataFrame],
    lost: dict[str, set[int]],
    score: Metric,
    looks: Looks,
) -> None:
    """The lower panels: each variant minus the baseline on equal seeds."""
    before, drawn, kind = ended[study.baseline], [], intervals_of(looks, ended)
    for panel, axes in panels.lower.items():
        zero_line(axes)
        others = {v: look for v, look in _lines(looks, panel).items() if v != study.baseline}
        others = {variant: look for variant, look in others.items() if variant in ended}
        for i, (variant, look) in enumerate(others.items()):
            curve = difference_curve(before, ended[variant], score, lost[variant])
            draw_curve(axes, curve, variant, look, linked=False)
            if kind == BANDS:
                draw_band(axes, curve, variant, look)
            elif kind == BARS:
                draw_last_interval(axes, curve, variant, look, i)
            drawn.append(tail_of(curve, tail_share(study)))
    if drawn:
        means = pd.concat([*(tail["mean"] for tail in drawn), pd.Series([0.0])])
        ends = drawn if kind == BANDS else [tail.tail(1) for tail in drawn if kind == BARS]
        first = next(iter(panels.lower.values()))
        first.set_ylim(*limits(means, ends=pd.concat(ends)[["low", "high"]] if ends else None))
        first.yaxis.set_major_formatter(signed_tick)


def _lines(looks: Looks, panel: str) -> dict[str, dict[str, object]]:
    """The look of each line of a panel, thinner where the panels are many."""
    own = looks.of_panel(panel)
    return {
        variant: looks.styles[variant] | sizes(i, len(own), is_small=len(looks.panels) > 1)
        for i, variant in enumerate(own)
    }


def most_lines(looks: Looks, drawn: Iterable[str]) -> int:
    """Of the variants that are drawn, the most in one panel."""
    places = [looks.panel[variant] for variant in drawn]
    return max(map(places.count, places), default=0)


def intervals_of(looks: Looks, drawn: Iterable[str]) -> str:
    """How intervals are drawn: few curves have a band each, more a bar at their last point, and
    the table `paired` has those of many.
    """
    most = most_lines(looks, drawn)
    return BANDS if most <= MOST_BANDS else BARS if most <= MOST_BARS else NEITHER
