"""`loss_memory`: held-out score, peak memory and time of each variant, with the Pareto front of
score and memory.

The figures have one point a variant: score against memory, and time against memory.
"""

import math

import pandas as pd

from ablations.report.drawing.figure import Drawing, not_drawn
from ablations.report.drawing.looks import variant_looks
from ablations.report.drawing.memory_points import MOST_LABELS, against_memory
from ablations.report.judged import judged_by, study_metrics
from ablations.report.pareto_front import pareto_front
from ablations.report.table import Row, Table, Value, Words, if_disturbed, mark_best
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
)
from ablations.result_columns import SCORES
from ablations.results import variant_labels
from ablations.study import Study
from reformer_pl.metrics import LOSS_NATS, STEP_SECONDS, TOKENS_PER_SECOND, Metric, memory_metric

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
        other_scores = [_mean(row, metric, places[metric]) for metric in scores[1:]]
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
                disturbed=is_flagged(row, "step_seconds_ratio_disturbed"),
            ),
            if_disturbed(
                _mean(row, TOKENS_PER_SECOND, places[TOKENS_PER_SECOND]),
                is_flagged(row, TOKENS_PER_SECOND.flag),
            ),
            Value(row.parameters),
            Words("yes" if row.pareto_front else ""),
            Words(row.seeds),
        )
        rows.append(Row(row.train, entries, row.train))
    rows = mark_best(rows, 0, score.better)
    rows = mark_best(rows, len(scores), memory.better)
    rows = mark_best(rows, len(scores) + 2, STEP_SECONDS.better)
    for name, baseline in baselines(cells).items():
        values = {metric: baseline.get(metric.name, math.nan) for metric in scores}
        entries = [Value(m.scale * value, places=places[m]) for m, value in values.items()]
        missing = [Value(math.nan)] * 6
        rows.append(
            Row(name, (*entries, *missing, Words(""), Words("baseline")), "", kind="baseline")
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
        "seeds",
    )
    caption = (
        f"Held-out loss, peak memory of one training step, and speed{over_seeds(study)}. Ratios "
        f"are to {variant_labels(study)[0]}. On the Pareto front: no other variant needs as little "
        f"memory and scores as well.{rounds_words(by_rounds, variant_labels(study)[0])}"
        f"{side_by_side(study)}"
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


def _mean(row: object, metric: Metric, places: int) -> Value:
    return Value(metric.scale * getattr(row, f"{metric.name}_mean"), places=places)


def figures(study: Study, cells: pd.DataFrame, tables: list[Table]) -> list[Drawing]:
    score, missing = judged_by(study), not_drawn(study, cells)
    intervals = drawn_intervals(study, cells)
    bars = f" Points are means; bar: {intervals}." if intervals else ""
    bars += _looks_words(study)
    better = "higher" if score.higher_is_better else "lower"
    caption = (
        f"{score.axis} against the peak memory of one training step; left and {better} is better. "
        "Grey staircase: the Pareto front; a variant off it has another with no more memory and no "
        "worse score."
    )
    seconds = "Seconds per training step against its peak memory; left and lower is better."
    marks = disturbed_words(disturbed_variants(study, cells, STEP_SECONDS.flag))
    return [
        Drawing("loss_memory", caption + bars + missing, against_memory(study, cells, score)),
        Drawing(
            "time_memory",
            seconds + bars + missing + marks,
            against_memory(study, cells, STEP_SECONDS),
        ),
    ]


def _looks_words(study: Study) -> str:
    """For the caption, what the looks of many points mean, and which have a label."""
    if len(variant_labels(study)) <= MOST_LABELS:
        return ""
    words = variant_looks(study, "loss_memory", "points").words
    return f"{words} Labels: the variants on the Pareto front of the two numbers."
