"""The scores of each cell under each evaluation of its study: the rows of results.csv."""

from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from ablations.result_columns import (
    COLUMNS,
    KEYS,
    MEASURED_COLUMNS,
    OTHER_SCORES,
    OWN,
    SCORES,
)
from ablations.results.cells import trained_row
from ablations.results.frames import present, typed
from ablations.study import Study
from ablations.study.cell import Cell
from ablations.study.changed import changed_cells
from experiments.run_dir.outcome import MISSING, OK, UNREADABLE, read_evaluation, read_scores
from reformer_pl.config import ConfigError
from reformer_pl.config.evaluations import split_of
from reformer_pl.config.rules import SPLITS


def score_rows(study: Study) -> pd.DataFrame:
    """The rows of results.csv: one per cell x evaluation with the columns `COLUMNS`, and after the
    scores those of `OTHER_SCORES` that a cell has. A study without evaluations has one per cell,
    eval "own". One whose cells measure and train nothing has one row per cell with exactly
    `MEASURED_COLUMNS`.

    A trained cell whose evaluation is not there, or was made under other overrides than the study
    now says, is "missing" in that row. One whose file cannot be read is "unreadable".
    """
    changed = changed_cells(study)
    if study.is_benchmark:
        measured = [trained_row(cell, changed.get(cell, "")) for cell in study.cells]
        return typed([{"study": study.name, **row} for row in measured], MEASURED_COLUMNS)
    rows = [
        row
        for cell in study.cells
        for row in rows_of(study.name, cell, study.evaluations_of(cell), changed.get(cell, ""))
    ]
    after_scores = COLUMNS.index(SCORES[-1]) + 1
    others = present(OTHER_SCORES, rows)
    return typed(rows, (*COLUMNS[:after_scores], *others, *COLUMNS[after_scores:]))


def rows_of(
    study: str, cell: Cell, evaluations: dict[str, list[str]], changed: str, own: bool = False
) -> list[dict[str, Any]]:
    """A row for each evaluation; one for the model as it was trained where there is none, or where
    it is asked for.
    """
    trained = {"study": study, **trained_row(cell, changed)}
    trained |= {"split": SPLITS[0] if trained["status"] == OK else None}
    scored = [
        {**trained, "eval": name, **_evaluated(cell, name, overrides, trained["status"])}
        for name, overrides in evaluations.items()
    ]
    return scored if scored and not own else [{**trained, "eval": OWN}, *scored]


def _evaluated(cell: Cell, name: str, overrides: list[str], status: str) -> dict[str, Any]:
    scores: dict[str, Any] = dict.fromkeys((*SCORES, *OTHER_SCORES, KEYS))
    if status != OK:
        return scores
    try:
        evaluation = read_evaluation(cell.directory, name, overrides)
    except ConfigError as error:
        return {**scores, "split": None, "status": UNREADABLE, "error": str(error)}
    if evaluation is None:
        return {**scores, "split": None, "status": MISSING}
    values = {key: evaluation.get(key) for key in scores}
    return values | {"split": part_scored(tuple(overrides))}


def scores_by_hand(path: Path) -> dict[str, Any]:
    """Of an evaluation that was made by hand."""
    scores: dict[str, Any] = dict.fromkeys((*SCORES, *OTHER_SCORES, KEYS))
    try:
        evaluation = read_scores(path) or {}
    except ConfigError as error:
        return {**scores, "split": None, "status": UNREADABLE, "error": str(error)}
    overrides = evaluation.get("overrides")
    split = part_scored(tuple(map(str, overrides))) if isinstance(overrides, list) else None
    values = {key: evaluation.get(key) for key in scores}
    return values | {"name": evaluation.get("name"), "split": split}


@cache
def part_scored(overrides: tuple[str, ...]) -> str | None:
    """The part of the data that an evaluation scores; None where its overrides are damaged."""
    try:
        return split_of(overrides)
    except ConfigError:
        return None
