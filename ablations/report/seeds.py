"""What the seeds of a variant say together: how each ended, and means with bootstrap intervals over those that ended well."""

from collections.abc import Iterable

import pandas as pd

from ablations.report.intervals import mean_interval
from ablations.report.numbers import MISSING
from ablations.results import COUNTS, labels
from ablations.study import Study
from experiments.run_dir.outcome import OK

INTERVAL_SAID = "95 % bootstrap interval (of 2 or 3 seeds: their range)"
NOT_REPEATED = "an interval that rounds to its mean is not printed"


def by_label(study: Study, cells: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """One row per variant: n seeds that ended well, how all ended, and of each column its mean over them and the interval's ends."""
    finished = cells[cells["status"] == OK]
    data = pd.DataFrame({"train": labels(study)})
    data["n"] = [int((finished["train"] == label).sum()) for label in data["train"]]
    data["n"] = data["n"].astype("Int64")
    data["seeds"] = [seeds_text(cells, label) for label in data["train"]]
    for column in columns:
        grouped = finished[column].astype(float).groupby(finished["train"])
        if column in COUNTS:  # the same for every seed of a variant
            data[column] = data["train"].map(grouped.mean())
            continue
        data[f"{column}_mean"] = data["train"].map(grouped.mean())
        intervals = {label: mean_interval(values) for label, values in grouped}
        for i, end in enumerate(("low", "high")):
            data[f"{column}_{end}"] = [
                intervals[label][i] if label in intervals else float("nan")
                for label in data["train"]
            ]
    return data


def seeds_text(cells: pd.DataFrame, train: str) -> str:
    """How the seeds of one variant ended: "3 ok", or "2 ok, 1 oom"."""
    return counted(cells.loc[cells["train"] == train, "status"])


def counted(statuses: pd.Series) -> str:
    """ "2 ok, 1 oom"."""
    counts = statuses.value_counts()
    return ", ".join(
        f"{counts[status]} {status}"
        for status in sorted(counts.index, key=lambda status: (status != "ok", status))
    )


def ended_badly(statuses: Iterable[str]) -> str:
    """The words that stand where a number would be, "oom" or "failed, would not fit"; a dash where any seed ended well."""
    words = sorted(set(statuses))
    return (
        MISSING
        if "ok" in words or not words
        else ", ".join(word.replace("_", " ") for word in words)
    )


def over_seeds(study: Study) -> str:
    """For a caption: what the numbers are means of, and their intervals."""
    seeds = len({cell.seed for cell in study.cells})
    return (
        f", mean over the seeds that ended well (of {seeds}) with its {INTERVAL_SAID}; {NOT_REPEATED}"
        if seeds > 1
        else ", one seed"
    )


def side_by_side(study: Study) -> str:
    """A warning where the cells may have shared the machine."""
    return (
        ""
        if study.timed
        else " Cells may have run side by side: their seconds say what was spent, not which variant is faster."
    )
