"""What a study is judged by, and on what: the metrics of its task, the part of the data and the
task of each evaluation, and the draws of rotations that a score is the mean of.
"""

import math
from collections.abc import Mapping

import pandas as pd

from ablations.report.numbers import MISSING, digits, number
from ablations.report.table import Entry, Value, Words
from ablations.study import Study
from ablations.study.changed import composed
from experiments.run_dir.files import read_config_values
from reformer_pl.config import ConfigError
from reformer_pl.config.evaluations import split_of, task_changes
from reformer_pl.config.rules import PARTS, SPLITS
from reformer_pl.metrics import DRAWS_STD, N_DRAWS, Metric, task_metrics

DRAWS_MEAN = (
    " Over draws: the mean score ± its standard deviation over the draws of rotations; of several "
    "seeds, the root of the mean of their squares."
)


def judged_by(study: Study) -> Metric:
    """The first metric of the study's task."""
    return study_metrics(study)[0]


def study_metrics(study: Study) -> tuple[Metric, ...]:
    """The metrics of the task of the study's first cell; of a folder of runs, of the first run with
    a config. Raises ConfigError.
    """
    if study.grids:
        return task_metrics(composed(study.cells[0].overrides).task.name)
    for cell in study.cells:
        try:
            task = read_config_values(cell.directory).get("task")
        except ConfigError:  # another run of the folder may say
            continue
        if isinstance(task, dict) and "name" in task:
            return task_metrics(str(task["name"]))
    raise ConfigError(
        f"no config.yaml below {study.directory} has a task.name: copy it beside each result.json"
    )


def evaluation_heads(study: Study) -> dict[str, str]:
    """The head of the column of each evaluation: its name, marked where it is not of the held-out
    part.
    """
    heads = {}
    for name, overrides in study.evaluations.items():
        split = split_of(overrides)
        heads[name] = name if split == SPLITS[0] else f"{name} ({PARTS[split]})"
    return heads


def scored_part(study: Study) -> str:
    """For the start of a caption of evaluations: "Held-out ", "Test-part ", or nothing where they
    are of several parts. Without evaluations it is the held-out part.
    """
    splits = {split_of(overrides) for overrides in study.evaluations.values()} or {SPLITS[0]}
    if len(splits) > 1:
        return ""
    return "Held-out " if splits == {SPLITS[0]} else "Test-part "


def scored_words(study: Study) -> str:
    """For a caption, sentences: of which part the scores of the evaluations are, where they are of
    several, and which of them are of another task than the models were trained on.
    """
    text = ""
    if study.evaluations and not scored_part(study):
        text = (
            " Evaluations marked (test part) are scored on the test part, the others on the "
            "held-out part."
        )
    changed: dict[str, list[str]] = {}
    for name, overrides in study.evaluations.items():
        for key, value in task_changes(overrides).items():
            if key != "split":
                changed.setdefault(f"task.{key}={value}", []).append(name)
    if changed:
        listed = "; ".join(f"{change}: {', '.join(names)}" for change, names in changed.items())
        text += f" Scored with {listed}."
    return text


def draws_entries(
    groups: Mapping[str, pd.DataFrame], score: Metric, places: int
) -> dict[str, Entry]:
    """For a column of its own, "95.1 ± 0.4 over 8 draws" of each group of results that ended well:
    the mean of the score, and its spread over draws of rotations. Empty where none has several.
    """
    entries: dict[str, Entry] = {}
    for name, rows in groups.items():
        drawn = rows[rows[DRAWS_STD].notna()] if DRAWS_STD in rows else rows.head(0)
        entries[name] = Words(MISSING)
        if len(drawn):
            mean, std = score.scale * drawn[score.name].mean(), score.scale * spread(drawn)
            decimals = places if round(std, places) or not std else digits([std]) - 2
            counts = " or ".join(str(n) for n in sorted(drawn[N_DRAWS].dropna().unique()))
            note = f"± {number(std, decimals)} over {counts} draws".replace("  ", " ")
            entries[name] = Value(mean, places=places, note=note)
    return entries if any(isinstance(entry, Value) for entry in entries.values()) else {}


def spread(drawn: pd.DataFrame) -> float:
    """The standard deviation over draws that several seeds have in common, as stored."""
    return math.sqrt((drawn[DRAWS_STD] ** 2).mean())
