"""`loss_memory`: held-out score, peak memory and time of each variant, with the Pareto front of
score and memory.

The figures have one point a variant: score against memory, and time against memory.
"""

import itertools
import math
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablations.report.drawing.belongs import belongs
from ablations.report.drawing.figure import (
    STYLE,
    Drawing,
    baseline_line,
    hollow_marker,
    not_drawn,
    plain_log_ticks,
)
from ablations.report.drawing.legend import explain_looks, wrapped
from ablations.report.drawing.looks import GREY, variant_looks
from ablations.report.drawing.panels import make_panels
from ablations.report.drawing.point_labels import Point, label_points
from ablations.report.interval import mean_interval
from ablations.report.judged import judged_by, study_metrics
from ablations.report.table import Row, Table, Value, Words, mark_variants
from ablations.report.time_ratios import NO_RATIO, TimeRatio, rounds_words, time_ratios
from ablations.report.variant_means import (
    baselines,
    disturbed_variants,
    disturbed_words,
    drawn_intervals,
    is_flagged,
    mean_entry,
    means_by_variant,
    metric_places,
    over_seeds,
    side_by_side,
    step_quartiles,
    step_spread,
    value_bounds,
)
from ablations.report.winners import best_variants, bold_words, pareto_front
from ablations.result_columns import SCORES
from ablations.results import variant_labels
from ablations.study import Study
from ablations.study.axes.figure_keys import FigureKeys
from experiments.run_dir.outcome import OK
from reformer_pl.metrics import LOSS_NATS, STEP_SECONDS, TOKENS_PER_SECOND, Metric, memory_metric

MOST_LABELS = 8  # of more variants, only those on the Pareto front have a label
RATIOS = ("peak_memory_gib", "step_seconds")


def tables(study: Study, cells: pd.DataFrame) -> list[Table]:
    """Ratios are to the first variant; the model that knows nothing is the last row.

    The variants on the Pareto front are marked: no other needs at most their memory and scores at
    least as well.
    """
    score, scores = judged_by(study), scores_shown(study)
    memory = memory_metric(cells["peak_memory_gib"].max())
    metrics = (*scores, memory, STEP_SECONDS, TOKENS_PER_SECOND)
    data = means_by_variant(study, cells, (*(metric.name for metric in metrics), "parameters"))
    for name in RATIOS:
        data[f"{name}_ratio"] = data[f"{name}_mean"] / data[f"{name}_mean"].iloc[0]
    by_rounds = time_ratios(study, lambda cell: cell.train)
    add_round_ratios(data, by_rounds)
    front = pareto_front(
        data["peak_memory_gib_mean"], data[f"{score.name}_mean"], score.higher_is_better
    )
    data["pareto_front"] = pd.array(front, dtype="boolean")  # missing in the baseline's row
    places = {metric: metric_places(metric, data[f"{metric.name}_mean"]) for metric in metrics}

    rows = []
    for row in data.itertuples():
        other_scores = [_number(cells, row, metric, places[metric]) for metric in scores[1:]]
        entries = (
            mean_entry(cells, row, score, places[score]),
            *other_scores,
            mean_entry(cells, row, memory, places[memory]),
            Value(row.peak_memory_gib_ratio, places=2),
            mean_entry(cells, row, STEP_SECONDS, places[STEP_SECONDS]),
            Value(
                row.step_seconds_ratio,
                row.step_seconds_ratio_low,
                row.step_seconds_ratio_high,
                places=2,
                is_range=True,
                disturbed=is_flagged(row, "step_seconds_ratio_disturbed"),
            ),
            _number(cells, row, TOKENS_PER_SECOND, places[TOKENS_PER_SECOND]),
            Value(row.parameters),
            Words("yes" if row.pareto_front else ""),
            Value(row.n),
            Words(row.seeds),
        )
        rows.append(Row(row.train, entries, row.train))
    for column, metric in ((0, score), (len(scores), memory), (len(scores) + 2, STEP_SECONDS)):
        rows = mark_variants(rows, column, best_variants(study, cells, metric, places[metric]))
    for name, baseline in baselines(cells).items():
        values = {metric: baseline.get(metric.name, math.nan) for metric in scores}
        entries = [Value(m.scale * value, places=places[m]) for m, value in values.items()]
        missing = [Value(math.nan)] * 6
        rows.append(
            Row(name, (*entries, *missing, *map(Words, ("", "", "baseline"))), "", kind="baseline")
        )
        columns = ["train", *(f"{metric.name}_mean" for metric in scores)]
        data.loc[len(data), columns] = [name, *values.values()]
    header = (
        "variant",
        *(metric.header for metric in scores),
        memory.header,
        "memory ratio",
        STEP_SECONDS.header,
        "time ratio",
        TOKENS_PER_SECOND.header,
        "parameters",
        "Pareto front",
        "n",
        "seeds",
    )
    caption = (
        f"Held-out loss, peak memory of one training step, and speed{over_seeds(study)}."
        f"{step_spread(study, cells)} Ratios are of the means, to {variant_labels(study)[0]}."
        f"{rounds_words(by_rounds, variant_labels(study)[0])} On the Pareto front, by the means: "
        "no other variant needs as little memory and scores as well."
        f"{bold_words(study)}{side_by_side(study)}"
    )
    return [Table("loss_memory", caption, header, tuple(rows), data)]


def add_round_ratios(data: pd.DataFrame, by_rounds: dict[str, TimeRatio]) -> None:
    """Time ratios over the rounds where there are any; else those of the means stay, marked where
    one of the two was disturbed.
    """
    ratios = [by_rounds.get(variant, NO_RATIO) for variant in data["train"]]
    of_means, flags = data["step_seconds_ratio"], data["disturbed"].fillna(False)
    data["step_seconds_ratio"] = [
        ratio.median if ratio.n else mean for ratio, mean in zip(ratios, of_means, strict=True)
    ]
    data["step_seconds_ratio_low"] = [ratio.low for ratio in ratios]
    data["step_seconds_ratio_high"] = [ratio.high for ratio in ratios]
    disturbed = [
        ratio.disturbed if ratio.n else bool(own or flags.iloc[0])
        for ratio, own in zip(ratios, flags, strict=True)
    ]
    data["step_seconds_ratio_disturbed"] = pd.array(disturbed, dtype="boolean")
    data.loc[data["step_seconds_ratio"].isna(), "step_seconds_ratio_disturbed"] = pd.NA
    data["n_rounds"] = pd.array([ratio.n or None for ratio in ratios], dtype="Int64")


def scores_shown(study: Study) -> tuple[Metric, ...]:
    """What the study is judged by, its loss, and every score that only its task has."""
    judged, *others = study_metrics(study)
    return (judged, *(m for m in others if m == LOSS_NATS or m.name not in SCORES))


def _number(cells: pd.DataFrame, row: Any, metric: Metric, places: int) -> Value:
    """`mean_entry`; a dash where another column of the row has the word."""
    entry = mean_entry(cells, row, metric, places)
    return entry if isinstance(entry, Value) else Value(math.nan)


def figures(study: Study, cells: pd.DataFrame, tables: list[Table]) -> list[Drawing]:
    score, missing = judged_by(study), not_drawn(study, cells)
    intervals = drawn_intervals(study, cells)
    bars = f" Points are means; bar: {intervals}." if intervals else ""
    better = "higher" if score.higher_is_better else "lower"
    caption = (
        f"{score.axis} against the peak memory of one training step; left and {better} is better. "
        "Grey staircase: the Pareto front; a variant off it has another with no more memory and no "
        "worse score."
    )
    seconds = "Seconds per training step against its peak memory; left and lower is better."
    one_seed = step_spread(study, cells, " Bar of one seed: the quartiles of its steps.")
    marks = disturbed_words(disturbed_variants(study, cells, STEP_SECONDS.flag))
    return [
        Drawing("loss_memory", caption + bars + missing, against_memory(study, cells, score)),
        Drawing(
            "time_memory",
            seconds + bars + one_seed + missing + side_by_side(study) + marks,
            against_memory(study, cells, STEP_SECONDS),
        ),
    ]


@mpl.rc_context(STYLE)
def against_memory(study: Study, cells: pd.DataFrame, metric: Metric) -> Figure:
    """A metric against peak memory, one point a variant, a bar for the interval of its mean, or for
    the quartiles of one seed's steps; of a score, the Pareto front of the means, the same in every
    panel.

    Many variants have a legend of their axes, and only those on the front have a label.
    """
    memory = memory_metric(cells["peak_memory_gib"].max())
    drawn = cells[(cells["status"] == OK) & cells[memory.name].notna() & cells[metric.name].notna()]
    looks = variant_looks(study, "loss_memory", "points", _best(cells, judged_by(study)))
    panels = make_panels(looks.panels, with_lower=False, height=(2.35, 2.2))
    hollow = disturbed_variants(study, cells, metric.flag)
    points: dict[str, Point] = {}
    bars: dict[str, tuple[Point, Point]] = {}
    for variant, style in looks.styles.items():
        rows, axes = drawn[drawn["train"] == variant], panels.upper[looks.panel[variant]]
        if rows.empty:
            continue
        x, values = memory.scale * rows[memory.name].mean(), metric.scale * rows[metric.name]
        least, most = (metric.scale * bound for bound in value_bounds(metric.name))
        low, high = mean_interval(values, (least, most))
        if metric == STEP_SECONDS and len(rows) == 1:
            low, high = step_quartiles(rows)
        if pd.notna(low):
            bars[variant] = ((x, low), (x, high))
            bar = {"color": style["color"], "linewidth": 1, "gid": belongs(variant, linked=False)}
            axes.plot(*zip(*bars[variant], strict=True), **bar)
        points[variant] = (x, values.mean())
        face = hollow_marker(style) if variant in hollow else {}
        look = {**style, "markersize": 6, "marker": style["marker"] or "o", **face}
        axes.plot(*points[variant], **look, gid=belongs(variant))
    near = [y for _, y in points.values()] + [y for bar in bars.values() for _, y in bar]
    _set_scales(panels.first, points, bars, study.figures.get("loss_memory", FigureKeys()).log)
    panels.set_labels(memory.axis, metric.axis)
    rules, stairs = [], []
    front = set(points)
    if metric == judged_by(study):
        rules = baseline_line(panels.figure, panels.all_axes, cells, metric, near)
        stairs = draw_front(panels.all_axes, list(points.values()), metric.higher_is_better)
    if len(looks.styles) > MOST_LABELS:
        front = _on_front(points, metric.higher_is_better)
    else:
        looks = replace(looks, entries=None, bar=None)  # each point has its label
    explain_looks(panels.figure, panels.all_axes, looks)
    left, right = panels.first.get_xlim()
    for panel, axes in panels.upper.items():
        own = [variant for variant in looks.of_panel(panel) if variant in points]
        labels = {variant: wrapped(looks.names[variant], 22) for variant in own if variant in front}
        lines = [bars[variant] for variant in own if variant in bars]
        rest = [*lines, *stairs, *(((left, y), (right, y)) for y in rules)]
        label_points(panels.figure, axes, {v: points[v] for v in own}, rest, labels=labels)
    return panels.figure


def _best(cells: pd.DataFrame, score: Metric) -> list[str]:
    """The variants with a score, the best first."""
    means = cells[cells["status"] == OK].groupby("train")[score.name].mean().dropna()
    return list(means.sort_values(ascending=not score.higher_is_better, kind="stable").index)


def _on_front(points: dict[str, Point], higher_is_better: bool) -> set[str]:
    on_front = pareto_front(*zip(*points.values(), strict=True), higher_is_better) if points else []
    return {variant for variant, is_on in zip(points, on_front, strict=True) if is_on}


def _set_scales(
    axes: Axes, points: dict[str, Point], bars: dict[str, tuple[Point, Point]], log: str
) -> None:
    """The limits of the panels, which share them: of the points, and of bars as far as they leave
    the points half of the height.
    """
    if not points:
        return
    (xs, ys), ends = (
        zip(*points.values(), strict=True),
        [y for bar in bars.values() for _, y in bar],
    )
    if "x" in log or (not log and max(xs) > 8 * min(xs)):
        axes.set_xscale("log")
        plain_log_ticks(axes.xaxis)
    axes.margins(x=0.22)
    reach = (max(ys) - min(ys)) / 2 or math.inf
    low, high = max(min([*ends, *ys]), min(ys) - reach), min(max([*ends, *ys]), max(ys) + reach)
    if "y" in log and low > 0:
        axes.set_yscale("log")
        plain_log_ticks(axes.yaxis)
        axes.set_ylim(low / (high / low) ** 0.18, high * (high / low) ** 0.18)
    elif high > low:
        axes.set_ylim(low - 0.18 * (high - low), high + 0.18 * (high - low))


def draw_front(
    all_axes: list[Axes], points: list[Point], higher_is_better: bool
) -> list[tuple[Point, Point]]:
    """Draw the Pareto front as the staircase above (or below) which everything is worse, from
    border to border, in each panel. Returns its segments.
    """
    axes = all_axes[0]
    on_front = pareto_front(*zip(*points, strict=True), higher_is_better) if points else []
    corners = sorted({point for point, front in zip(points, on_front, strict=True) if front})
    if not corners:
        return []
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)
    line = [(corners[0][0], low if higher_is_better else high)]
    for x, y in corners:
        line += [(x, line[-1][1]), (x, y)]
    line = [*line[1:], (right, line[-1][1])]
    style = {"color": GREY, "linewidth": 1, "alpha": 0.55, "zorder": 1.5}
    for panel in all_axes:
        label = "Pareto front" if panel is axes else "_"
        panel.plot(*zip(*line, strict=True), **style, label=label)
    return list(itertools.pairwise(line))
