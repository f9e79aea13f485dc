"""What the seeds of a variant have in common: how each ended, and means with intervals over those
that ended well.
"""

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd

from ablations.report.interval import INTERVAL, mean_interval
from ablations.report.numbers import MISSING, digits
from ablations.report.table import Entry, Value, Words
from ablations.result_columns import COUNTS
from ablations.results import variant_labels
from ablations.study import Study
from experiments.run_dir.outcome import CHANGED, OK
from experiments.times.disturbed import MARK, MARK_MEANS
from reformer_pl.metrics import SCORES, STEP_SECONDS, Metric

NOT_REPEATED = "an interval that rounds to its mean is not printed"
METRIC_BOUNDS = {metric.name: metric.bounds for metric in SCORES if metric.bounds}


def means_by_variant(study: Study, cells: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """One row per variant: n seeds that ended well, and how all ended. Of each column its own n,
    its mean over them, and the interval's ends.
    """
    finished = cells[cells["status"] == OK]
    data = pd.DataFrame({"train": variant_labels(study)})
    data["n"] = [int((finished["train"] == variant).sum()) for variant in data["train"]]
    data["n"] = data["n"].astype("Int64")
    data["seeds"] = [seeds_text(cells, variant) for variant in data["train"]]
    for flag in ("disturbed", "training_is_disturbed"):
        flags = [
            is_disturbed(finished[finished["train"] == variant], flag) if n else None
            for variant, n in zip(data["train"], data["n"], strict=True)
        ]
        data[flag] = pd.array(flags, dtype="boolean")
    for column in dict.fromkeys(columns):
        grouped = finished[column].astype(float).groupby(finished["train"])
        if column in COUNTS:  # the same for every seed of a variant
            data[column] = data["train"].map(grouped.mean())
            continue
        counts = data["train"].map(grouped.count())
        data[f"{column}_n"] = counts.fillna(0).astype("Int64")
        data[f"{column}_mean"] = data["train"].map(grouped.mean())
        bounds = value_bounds(column)
        intervals = {variant: mean_interval(values, bounds) for variant, values in grouped}
        for i, end in enumerate(("low", "high")):
            data[f"{column}_{end}"] = [
                intervals.get(variant, (math.nan, math.nan))[i] for variant in data["train"]
            ]
    return data


def seed_numbers(rows: pd.DataFrame, metric: Metric) -> dict[str, float]:
    """n, mean, low and high of a metric over some rows, as stored: accuracy_n, accuracy_mean."""
    values = (
        rows[metric.name].astype(float).dropna() if metric.name in rows else pd.Series(dtype=float)
    )
    low, high = mean_interval(values, value_bounds(metric.name))
    ends = {"n": len(values), "mean": float(values.mean()), "low": low, "high": high}
    return {f"{metric.name}_{end}": value for end, value in ends.items()}


def value_bounds(column: str) -> tuple[float, float]:
    """Between which all values of a column lie: nothing that is measured is below 0."""
    return METRIC_BOUNDS.get(column, (0.0, math.inf))


def metric_places(metric: Metric, means: pd.Series) -> int:
    """The decimals of a metric in a column of means, which are as stored."""
    return digits(metric.scale * means) if metric.places is None else metric.places


def mean_entry(cells: pd.DataFrame, row: Any, metric: Metric, places: int) -> Entry:
    """A metric in one row of `means_by_variant`; where no seed ended well, the word for how they
    ended. The seconds of a step of one seed have their quartiles.
    """
    mean, low, high = (
        metric.scale * getattr(row, f"{metric.name}_{part}") for part in ("mean", "low", "high")
    )
    if pd.isna(mean):
        return Words(ended_badly(cells.loc[cells["train"] == row.train, "status"]))
    n = getattr(row, f"{metric.name}_n")
    is_range = n == 1 and metric == STEP_SECONDS
    if is_range:
        own = cells[(cells["train"] == row.train) & (cells["status"] == OK)]
        low, high = step_quartiles(own)
    return Value(
        mean, low, high, places,
        note=n_note(n, row.n, cells["seed"].nunique()),
        is_range=is_range,
        disturbed=is_flagged(row, metric.flag),
    )  # fmt: skip


def n_note(n: int, n_of_row: int, seeds: int) -> str:
    """ "(n = 2)" behind a number whose n is not that of its row, and "(n = 1)" where others have an
    interval.
    """
    return f"(n = {n})" if n != n_of_row or (n == 1 and seeds > 1) else ""


def finished_by_variant(study: Study, cells: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of the cells that ended well, of each variant."""
    finished = cells[cells["status"] == OK]
    return {name: finished[finished["train"] == name] for name in variant_labels(study)}


def step_quartiles(finished: pd.DataFrame) -> tuple[float, float]:
    """Of the timed steps of one cell, in seconds; NaN where there are none, or several cells."""
    if len(finished) != 1:
        return math.nan, math.nan
    (row,) = finished.to_dict("records")
    return row["step_seconds_q1"], row["step_seconds_q3"]


def step_spread(
    study: Study,
    cells: pd.DataFrame,
    words: str = " Of one seed, s/step has the quartiles of its steps in parentheses.",
) -> str:
    """For a caption, words about the quartiles of one seed's steps; empty where there are none."""
    groups = finished_by_variant(study, cells).values()
    if all(pd.isna(step_quartiles(rows)[0]) for rows in groups):
        return ""
    return words


def is_flagged(row: Any, flag: str) -> bool:
    """Whether one row of `means_by_variant` has the flag of a metric."""
    value = getattr(row, flag) if flag else False
    return not pd.isna(value) and bool(value)


def is_disturbed(rows: pd.DataFrame, flag: str) -> bool:
    """Whether any of some rows of `results.load_cells` has the flag of a metric."""
    return bool(flag) and bool((rows[flag].fillna(False)).any())


def disturbed_variants(study: Study, cells: pd.DataFrame, flag: str) -> list[str]:
    """Of the cells that ended well, for a figure."""
    finished = cells[cells["status"] == OK]
    return [
        variant
        for variant in variant_labels(study)
        if is_disturbed(finished[finished["train"] == variant], flag)
    ]


def disturbed_words(names: Iterable[str]) -> str:
    """For a figure's caption, which of its points carry the mark; empty where none does."""
    listed = ", ".join(names)
    return f" {MARK} hollow: {listed}. {MARK_MEANS}" if listed else ""


def seeds_text(cells: pd.DataFrame, variant: str) -> str:
    """How the seeds of one variant ended: "3 ok", or "2 ok, 1 oom"."""
    return counted(cells.loc[cells["train"] == variant, "status"])


def counted(statuses: pd.Series) -> str:
    """ "2 ok, 1 oom"."""
    counts = statuses.value_counts()
    return ", ".join(
        f"{counts[status]} {status}"
        for status in sorted(counts.index, key=lambda status: (status != OK, status))
    )


def changed_note(cells: pd.DataFrame) -> str:
    """For a caption: the cells left out since their directories hold runs of another config."""
    changed = cells[cells["status"] == CHANGED]
    if changed.empty:
        return ""
    first = changed.iloc[0]
    count = "1 cell is" if len(changed) == 1 else f"{len(changed)} cells are"
    return (
        f" {count} left out as {CHANGED}; of {first['cell']} seed={first['seed']} {first['error']}."
    )


def several_sessions(cells: pd.DataFrame) -> list[str]:
    """A line for each cell that several commits, devices, hosts or numbers of threads trained."""
    lines = []
    for row in cells.to_dict("records"):
        sessions = row.get("sessions")
        if not isinstance(sessions, list) or len(sessions) < 2:
            continue
        changes = []
        for key in ("git_commit", "device", "threads", "host"):
            values = list(dict.fromkeys(str(session.get(key)) for session in sessions))
            if len(values) > 1:
                changes.append(f"{key.replace('_', ' ')} {', then '.join(values)}")
        if changes:
            steps = ", ".join(str(session.get("step")) for session in sessions[1:])
            cell = f"{row['cell']} seed={row['seed']}"
            lines.append(f"{cell} went on at step {steps}: {'; '.join(changes)}")
    return lines


def ended_badly(statuses: Iterable[str]) -> str:
    """The words that stand where a number would be, "oom" or "failed, would not fit"; a dash where
    any seed ended well.
    """
    words = sorted(set(statuses))
    if OK in words or not words:
        return MISSING
    return ", ".join(word.replace("_", " ") for word in words)


def over_seeds(study: Study) -> str:
    """For a caption: what the numbers are means of, and their intervals."""
    seeds = len({cell.seed for cell in study.cells})
    if seeds == 1:
        return ", one seed (n = 1)"
    return (
        f", mean and {INTERVAL} over the n seeds (of {seeds}) that ended well, cut off where no "
        f"value can lie; {NOT_REPEATED}"
    )


def drawn_intervals(study: Study, cells: pd.DataFrame) -> str:
    """For a figure's caption, what its bars or bands are: "95 % interval of Student's t over n = 3
    seeds (LSH-4: 2)". Empty where no variant has two seeds that ended well.
    """
    labels = cells.loc[cells["status"] == OK, "train"].value_counts()
    most = labels.max() if len(labels) else 0
    if most < 2:
        return ""
    fewer = [
        f"{variant}: {labels.get(variant, 0)}"
        for variant in variant_labels(study)
        if labels.get(variant, 0) < most
    ]
    exceptions = f" ({', '.join(fewer)})" if fewer else ""
    return f"{INTERVAL} over n = {most} seeds{exceptions}"


def side_by_side(study: Study) -> str:
    """A warning where the cells may have shared the machine."""
    if study.timed:
        return ""
    return (
        " Cells may have run side by side: their seconds say what was spent, not which variant is "
        "faster."
    )


def baselines(cells: pd.DataFrame) -> dict[str, dict[str, float]]:
    """What a model that knows nothing gets, by name, once for each different value."""
    return _different(cells["baseline"].dropna())


def count_models(cells: pd.DataFrame) -> dict[str, dict[str, float]]:
    """What models that count bytes get from 1 byte of context on, as `baselines`. Without any
    context they are the byte frequencies, which are the baseline.
    """
    scores = (one for models in cells["count_models"].dropna() for one in models[1:])
    return _different(scores)


def _different(scores: Iterable[dict[str, Any]]) -> dict[str, dict[str, float]]:
    different: dict[str, dict[str, float]] = {}
    for baseline in scores:
        same = [name for name in different if name.startswith(baseline["name"])]
        if all(_rounded(different[name]) != _rounded(baseline) for name in same):
            different[baseline["name"] + (f" ({len(same) + 1})" if same else "")] = baseline
    return different


def _rounded(baseline: dict[str, Any]) -> dict[str, float]:
    """Its scores to three decimals: two held-out parts of one task differ in them."""
    return {key: round(value, 3) for key, value in baseline.items() if key != "name"}
