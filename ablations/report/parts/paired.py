"""`paired`: each variant against a named baseline on equal seeds, with the interval of the mean
difference.

A seed fixes the initial weights and the data order. Its noise is common to both runs of a pair, and
leaves their difference.
"""

from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd

from ablations.report.interval import INTERVAL, Difference, paired_difference
from ablations.report.judged import judged_by
from ablations.report.numbers import digits
from ablations.report.table import Entry, Row, Table, Value, Words, mark_variants
from ablations.report.variant_means import (
    ended_badly,
    is_disturbed,
    n_note,
    seeds_text,
    side_by_side,
)
from ablations.report.winners import bold_variants
from ablations.results import variant_labels
from ablations.study import Study
from experiments.run_dir.outcome import OK
from experiments.times.disturbed import marked
from reformer_pl.metrics import STEP_SECONDS, Metric, memory_metric

EACH_ALONE = ", each by itself (n = 1 has none)"


class Pair(NamedTuple):
    """Two groups of `results.load_cells` rows whose seeds are matched, and how each ended, in
    words.
    """

    label: str
    before: pd.DataFrame
    after: pd.DataFrame
    ended: tuple[str, ...]


def tables(study: Study, cells: pd.DataFrame) -> list[Table]:
    """Every other variant minus `study.baseline`."""
    base = cells[cells["train"] == study.baseline]
    pairs = [
        Pair(variant, base, cells[cells["train"] == variant], (seeds_text(cells, variant),))
        for variant in variant_labels(study)
        if variant != study.baseline
    ]
    judged = judged_by(study)
    metrics = compared_metrics(judged, cells)
    rows, data = compare_pairs(pairs, metrics, study.baseline)
    rows = _mark_better(study, cells, rows, metrics)
    finished = base[base["status"] == OK]
    means = ", ".join(
        marked(
            f"{m.header} {m.scale * finished[m.name].mean():.4g}", is_disturbed(finished, m.flag)
        )
        for m in metrics
        if finished[m.name].notna().any()
    )
    caption = (
        f"Differences from {study.baseline} on the n equal seeds that ended well in both: mean, "
        f"and {INTERVAL} of the paired differences{EACH_ALONE}."
        + (" Scores are of the held-out part." if judged in metrics else "")
        + (f" {study.baseline} itself (n = {len(finished)}): {means}." if len(finished) else "")
        + f" Bold: better than {study.baseline}, with an interval that does not hold 0, and not "
        f"shown to be worse than the best.{side_by_side(study)}"
    )
    header = ("variant", *(metric.header for metric in metrics), "n", "seeds")
    return [Table("paired", caption, header, tuple(rows), data)]


def compared_metrics(score: Metric, cells: pd.DataFrame) -> list[Metric]:
    """Score (left out where no cell has one, as in benchmarks), memory and time."""
    scores = [score] if cells[score.name].notna().any() else []
    return [*scores, memory_metric(cells["peak_memory_gib"].max()), STEP_SECONDS]


def compare_pairs(
    pairs: Iterable[Pair], metrics: list[Metric], before_label: str
) -> tuple[list[Row], pd.DataFrame]:
    """(rows, data) of a table with a column for each metric, then n and how each group ended.

    Where there is no pair to take, the words say why: "oom", "BEFORE: failed" or "no equal seed".
    """
    pairs = list(pairs)
    differences = [_differences(pair, metrics) for pair in pairs]  # in the units shown
    places = [
        _places(metric, column)
        for metric, column in zip(metrics, zip(*differences, strict=False), strict=True)
    ]
    seeds = max((difference.n for columns in differences for difference in columns), default=0)
    rows = []
    for pair, all_metrics in zip(pairs, differences, strict=True):
        n = max(difference.n for difference in all_metrics)
        entries: list[Entry] = [Words(_why(pair, before_label))] * len(metrics)
        if n:
            entries = [
                Value(
                    *d[:3],
                    decimals,
                    signed=True,
                    note=n_note(d.n, n, seeds),
                    disturbed=_either_is_disturbed(pair, metric),
                )
                for d, decimals, metric in zip(all_metrics, places, metrics, strict=True)
            ]
        ended = map(Words, pair.ended)
        rows.append(Row(pair.label, (*entries, Value(n), *ended), pair.label))
    data = [
        {"label": pair.label} | _stored(metrics, all_metrics)
        for pair, all_metrics in zip(pairs, differences, strict=True)
    ]
    return rows, pd.DataFrame(data)


def _mark_better(
    study: Study, cells: pd.DataFrame, rows: list[Row], metrics: list[Metric]
) -> list[Row]:
    """Of each metric, the differences of the best variants that are shown to be better than the
    baseline.
    """
    for column, metric in enumerate(metrics):
        entries = {row.variant: row.entries[column] for row in rows}
        values = {name: entry for name, entry in entries.items() if isinstance(entry, Value)}
        places = next((entry.places for entry in values.values()), 0)
        best = bold_variants(study, cells, metric, places)
        better = {
            name
            for name, entry in values.items()
            if name in best
            and round(entry.mean, places)
            and (entry.low > 0 if metric.higher_is_better else entry.high < 0)
        }
        rows = mark_variants(rows, column, better)
    return rows


def _differences(pair: Pair, metrics: list[Metric]) -> list[Difference]:
    before, after = (
        rows[rows["status"] == OK].set_index("seed") for rows in (pair.before, pair.after)
    )
    return [paired_difference(m.scale * before[m.name], m.scale * after[m.name]) for m in metrics]


def _either_is_disturbed(pair: Pair, metric: Metric) -> bool:
    """Whether something disturbed a number of a metric that the difference is made of."""
    groups = (rows[rows["status"] == OK] for rows in (pair.before, pair.after))
    return any(is_disturbed(rows, metric.flag) for rows in groups)


def _places(metric: Metric, differences: Iterable[Difference]) -> int:
    """The decimals of a column: those of both means where the metric leaves it open."""
    if metric.places is not None:
        return metric.places
    return digits(
        mean for difference in differences for mean in (difference.before, difference.after)
    )


def _stored(metrics: list[Metric], differences: list[Difference]) -> dict[str, float]:
    """The differences as columns, in the units of results.csv."""
    columns: dict[str, float] = {}
    for metric, difference in zip(metrics, differences, strict=True):
        values = difference._asdict()
        n = values.pop("n")
        values = {"difference": values.pop("mean"), **values}
        columns |= {f"{metric.name}_{key}": value / metric.scale for key, value in values.items()}
        columns[f"{metric.name}_n"] = n
    return columns


def _why(pair: Pair, before_label: str) -> str:
    """Why there is no pair to take."""
    for rows, side in ((pair.after, ""), (pair.before, f"{before_label}: ")):
        if (rows["status"] != OK).all():
            return f"{side}{ended_badly(rows['status'])}"
    return "no equal seed"
