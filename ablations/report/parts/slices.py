"""`slices`: accuracy of recall by how far back the pair stands, and by how many pairs there are.

Each number is of one variant under one evaluation. The figures are the table's numbers: a panel for
each evaluation with a curve for each variant; and accuracy against the number of pairs, where the
variants or the evaluations differ in it.
"""

from typing import Any

import pandas as pd

from ablations.report.drawing.figure import Drawing, not_drawn
from ablations.report.figures.slice_panels import (
    by_distance,
    by_pairs,
    looks_of,
    shows_intervals,
)
from ablations.report.judged import (
    evaluation_heads,
    judged_by,
    scored_part,
    scored_words,
    study_metrics,
)
from ablations.report.numbers import MISSING
from ablations.report.table import Entry, Row, Table, Value, Words, mark_variants
from ablations.report.variant_means import (
    drawn_intervals,
    ended_badly,
    metric_places,
    n_note,
    over_seeds,
    seed_numbers,
    seeds_text,
)
from ablations.report.winners import bold_variants, bold_words
from ablations.result_columns import OWN
from ablations.results import score_rows, variant_labels
from ablations.study import Study, compose_variants
from experiments.run_dir.outcome import OK
from reformer_pl.config.evaluations import task_changes
from reformer_pl.metrics import RECALL_SLICES, Metric

DISTANCE = (
    "the distance between a query and the last place of its key, in % of the length of a sequence"
)


def tables(study: Study, cells: pd.DataFrame) -> list[Table]:
    """The rows of an evaluation are compared with each other where they have as many pairs."""
    metrics, results = metrics_shown(study), score_rows(study)
    data = slice_data(study, results, metrics)
    places = {metric: metric_places(metric, data[f"{metric.name}_mean"]) for metric in metrics}
    heads, with_pairs = evaluation_heads(study), data["pairs"].nunique() > 1
    rows: list[Row] = []
    for (name, _), group in data.groupby(["eval", "pairs"], sort=False):
        own = results[(results["eval"] == name) & results["train"].isin(group["train"])]
        compared = []
        for row in group.to_dict("records"):
            entries: list[Entry] = [Words(heads[name])] if study.evaluations else []
            entries += [Value(row["pairs"])] if with_pairs else []
            first = len(entries)
            entries += _numbers(own, cells, row, metrics, places)
            counts = (Value(row["n"]), Words(seeds_text(cells, row["train"])))
            compared.append(Row(row["train"], (*entries, *counts), row["train"]))
        for column, metric in enumerate(metrics, first):
            best = bold_variants(study, own, metric, places[metric])
            compared = mark_variants(compared, column, best)
        rows += compared
    header = (
        "trained with",
        *(["evaluated with"] if study.evaluations else []),
        *(["pairs"] if with_pairs else []),
        *(metric.header for metric in metrics),
        "n",
        "seeds",
    )
    caption = (
        f"{_title(study)} of recall, in all and by {DISTANCE}{over_seeds(study)}."
        f"{scored_words(study)}{bold_words(study)}"
    )
    return [Table("slices", caption, header, tuple(rows), data)]


def _title(study: Study) -> str:
    part = scored_part(study)
    return f"{part}accuracy" if part else "Accuracy"


def metrics_shown(study: Study) -> list[Metric]:
    """Accuracy in all, then by distance."""
    return [judged_by(study), *(m for m in study_metrics(study) if m in RECALL_SLICES)]


def slice_data(study: Study, results: pd.DataFrame, metrics: list[Metric]) -> pd.DataFrame:
    """A row for each evaluation and variant: length, pairs, n seeds that ended well, and of each
    metric the mean over them and its interval, as stored.
    """
    finished = results[results["status"] == OK]
    groups = dict(iter(finished.groupby(["eval", "train"], sort=False)))
    configs, rows = compose_variants(study), []
    scored = {(cell.train, name) for cell in study.cells for name in cell.evaluations or (OWN,)}
    for name, overrides in (study.evaluations or {OWN: []}).items():
        changes = task_changes(overrides)
        for variant in variant_labels(study):
            if (variant, name) not in scored:
                continue
            task = configs[variant].task
            own = groups.get((name, variant), finished.head(0))
            row: dict[str, Any] = {"train": variant, "eval": name}
            row |= {key: changes.get(key, getattr(task, key)) for key in ("length", "pairs")}
            row["n"] = int(own[metrics[0].name].notna().sum())
            for metric in metrics:
                row |= seed_numbers(own, metric)
            rows.append(row)
    return pd.DataFrame(rows)


def _numbers(
    results: pd.DataFrame,
    cells: pd.DataFrame,
    row: dict[str, Any],
    metrics: list[Metric],
    places: dict[Metric, int],
) -> list[Entry]:
    """Of one row of `slice_data`; a dash where no query is so far from its pair."""
    if not row["n"]:
        own = results.loc[results["train"] == row["train"], "status"]
        return [Words(ended_badly(own)), *[Words(MISSING)] * (len(metrics) - 1)]
    entries: list[Entry] = []
    for metric in metrics:
        ends = (metric.scale * row[f"{metric.name}_{key}"] for key in ("mean", "low", "high"))
        n = row[f"{metric.name}_n"]
        note = n_note(n, row["n"], cells["seed"].nunique()) if n else ""
        entries.append(Value(*ends, places[metric], note=note))
    return entries


def figures(study: Study, cells: pd.DataFrame, tables: list[Table]) -> list[Drawing]:
    """The second one only where there are several numbers of pairs to stand on its axis."""
    data, metrics = tables[0].data, metrics_shown(study)
    intervals = drawn_intervals(study, cells)
    bars = f" Bars: {intervals}." if intervals and shows_intervals(study, cells) else ""
    bars += " Dotted: chance, where it lies within the axis."
    end = f"{scored_words(study)}{bars}{not_drawn(study, cells)}"
    title = _title(study)
    y_label = f"{title} (%)"
    panels = ", a panel for each evaluation" if len(study.evaluations) > 1 else ""
    caption = (
        f"{title} of recall by {DISTANCE}{panels}. A point stands in the middle of its quarter."
        f"{looks_of(study, cells).words}{end}"
    )
    drawings = [Drawing("slices", caption, by_distance(study, cells, data, metrics, y_label))]
    figure = by_pairs(study, cells, data, metrics[0], y_label)
    if figure is not None:
        panels = panels if len(figure.axes) > 1 else ""
        caption = f"{title} of recall by the number of pairs in a sequence{panels}.{end}"
        drawings.append(Drawing("slices_pairs", caption, figure))
    return drawings
