"""`loss_memory`: held-out score, peak memory and time of each variant, with the Pareto front of
score and memory.

The figures have one point a variant: score against memory, and time against memory.
"""

import math
from typing import Any

import pandas as pd

from ablations.report.drawing.figure import Drawing, not_drawn
from ablations.report.drawing.looks import variant_looks
from ablations.report.drawing.memory_points import MOST_LABELS, against_memory
from ablations.report.judged import DRAWS_MEAN, draws_entries, judged_by, study_metrics
from ablations.report.table import Row, Table, Value, Words, mark_variants
from ablations.report.time_ratios import NO_RATIO, TimeRatio, rounds_words, time_ratios
from ablations.report.variant_means import (
    baselines,
    count_models,
    disturbed_variants,
    disturbed_words,
    drawn_intervals,
    finished_by_variant,
    is_flagged,
    mean_entry,
    means_by_variant,
    metric_places,
    over_seeds,
    side_by_side,
    step_spread,
)
from ablations.report.winners import bold_variants, bold_words, pareto_front
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

    draws = draws_entries(finished_by_variant(study, cells), score, places[score])
    drawn = len(scores) + bool(draws)  # columns of scores
    rows = []
    for row in data.itertuples():
        other_scores = [_number(cells, row, metric, places[metric]) for metric in scores[1:]]
        entries = (
            mean_entry(cells, row, score, places[score]),
            *other_scores,
            *([draws[row.train]] if draws else []),
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
    for column, metric in ((0, score), (drawn, memory), (drawn + 2, STEP_SECONDS)):
        rows = mark_variants(rows, column, bold_variants(study, cells, metric, places[metric]))
    for name, baseline in (baselines(cells) | count_models(cells)).items():
        values = {metric: baseline.get(metric.name, math.nan) for metric in scores}
        entries = [Value(m.scale * value, places=places[m]) for m, value in values.items()]
        missing = [Value(math.nan)] * (6 + bool(draws))
        rows.append(
            Row(name, (*entries, *missing, *map(Words, ("", "", "baseline"))), "", kind="baseline")
        )
        columns = ["train", *(f"{metric.name}_mean" for metric in scores)]
        data.loc[len(data), columns] = [name, *values.values()]
    header = (
        "variant",
        *(metric.header for metric in scores),
        *([f"{score.header} over draws"] if draws else []),
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
        f"{DRAWS_MEAN if draws else ''}{bold_words(study)}{side_by_side(study)}"
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
    bars = f" Points are means; bar: {intervals} (a border may cut it off)." if intervals else ""
    bars += _looks_words(study)
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


def _looks_words(study: Study) -> str:
    """For the caption, what the looks of many points mean, and which have a label."""
    if len(variant_labels(study)) <= MOST_LABELS:
        return ""
    words = variant_looks(study, "loss_memory", "points").words
    return f"{words} Labels: the variants on the Pareto front of the two numbers."
