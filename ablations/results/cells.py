"""One row a cell: how it ended, its own held-out scores and its costs."""

from typing import Any

import pandas as pd

from ablations.result_columns import (
    BENCHMARK_ONLY,
    COSTS,
    COUNTS,
    KEYS,
    OTHER_SCORES,
    PROVENANCE,
    SCORES,
)
from ablations.results.frames import typed
from ablations.study import Study
from ablations.study.cell import Cell
from ablations.study.changed import changed_cells
from ablations.study.problems import problem_lines
from ablations.study.tune.final_cells import stages
from experiments.run_dir.outcome import CHANGED, MISSING, is_ok, result_row
from experiments.run_dir.rounds import over_rounds, read_rounds
from reformer_pl.config import ConfigError


def load_cells(study: Study) -> pd.DataFrame:
    """One row per cell: its status, error, own held-out scores (the model as trained), costs,
    baseline (dict or None), count models (a list of such dicts, or None) and provenance.

    A cell that measures (`python -m experiments.benchmark`) has no scores, and has measure, peer
    and `BENCHMARK_NUMBERS` beside its costs.
    """
    own = ("cell", "train", "seed", "status", "error")
    columns = (
        *own,
        *COUNTS,
        *SCORES,
        *OTHER_SCORES,
        KEYS,
        *COSTS,
        "measure",
        "peer",
        *BENCHMARK_ONLY,
        "baseline",
        "count_models",
        *PROVENANCE,
    )
    changed = changed_cells(study)
    return typed([trained_row(cell, changed.get(cell, "")) for cell in study.cells], columns)


def finished_cells(study: Study) -> pd.DataFrame:
    """`load_cells`, refused with ConfigError when no cell of the study has ended yet, well or
    badly. A tuning cell is one of them.
    """
    cells = load_cells(study)
    tried = study.tuning.grid.cells if study.tuning else ()
    none_was_tried = all(result_row(cell.directory) is None for cell in tried)
    if (cells["status"] == MISSING).all() and none_was_tried:
        raise ConfigError(
            f"study {study.name} has no finished cell: run it with python -m ablations run, or "
            "wait for the first to end"
        )
    return cells


def variant_labels(study: Study) -> list[str]:
    """The variants in the study's order: the rows of each table, the colours of each figure."""
    return list(dict.fromkeys(cell.train for cell in study.cells))


def study_problems(study: Study) -> list[str]:
    """What of the study's runs cannot be read or is gone: a line each, with what to do."""
    return [line for stage in stages(study) for line in problem_lines(stage)]


def trained_row(cell: Cell, changed: str) -> dict[str, Any]:
    """Its result; of a cell that was measured in rounds, with the times over them.

    `changed` says what differs where the directory holds a run of another config.
    """
    result = result_row(cell.directory) or {"status": MISSING}
    if changed:
        result = {"status": CHANGED, "error": changed}
    if is_ok(result):
        result = over_rounds(result, read_rounds(cell.directory, result))
    return {**result, "cell": cell.name, "train": cell.train, "seed": cell.seed}
