"""What the runs of a study left on disk, as tidy tables: the door for a notebook.

    from ablations.results import load_curves, load_results
    from ablations.study import load_study

    study = load_study("demo_hashes")
    load_results(study).pivot_table(values="accuracy", index="train", columns="eval")   # the paper's Table 2
    load_curves(study).query("split == 'valid'").plot(x="step", y="accuracy")

Failure is data: a cell that failed keeps its status (oom, failed, timeout, would_not_fit), one not run yet is "missing", and their numbers
are NaN, never 0. Only files are read; torch is never imported.
"""

import json
from typing import Any

import pandas as pd

from ablations.grid import Cell
from ablations.launch import read_evaluation
from ablations.study import Study
from reformer_pl.config import BENCHMARK_NUMBERS, ConfigError

# The columns of results.csv, in this order. Units: nats, 0-1, bits, GiB, seconds, tokens a second.
COLUMNS = (
    "study", "cell", "train", "eval", "seed", "status", "steps", "loss_nats", "accuracy", "bits_per_dim",
    "peak_memory_gib", "step_seconds", "tokens_per_second", "parameters",
)  # fmt: skip
SCORES = ("loss_nats", "accuracy", "bits_per_dim")
COSTS = ("peak_memory_gib", "step_seconds", "tokens_per_second", "train_seconds")
COUNTS = ("steps", "parameters")
BENCHMARK_ONLY = tuple(name for name in BENCHMARK_NUMBERS if name not in (*COSTS, *COUNTS))  # NaN in a cell that trains
PROVENANCE = ("git_commit", "versions", "device", "threads", "finished_at")
MEASURED_COLUMNS = ("study", "cell", "train", "seed", "status", "measure", "peer", *BENCHMARK_NUMBERS)  # where the cells measure
CURVE_COLUMNS = ("train", "cell", "seed", "split", "step", *SCORES, "lr", "seconds", "tokens")
COVERAGE_COLUMNS = ("train", "cell", "seed", "step", "layer", "head", "rounds", "coverage", "chance")
OWN = "own"  # the evaluation's name in a study without evaluations: the model as trained


def load_results(study: Study) -> pd.DataFrame:
    """One row per cell x evaluation with exactly `COLUMNS`; a study without evaluations has one row per cell, eval "own".
    A study whose cells measure and train nothing has one row per cell with exactly `MEASURED_COLUMNS`.

    A trained cell whose evaluation is not there, or was made under other overrides than the study now says, is "missing" in that row.
    Raises ConfigError for a result file that is not JSON.
    """
    if study.is_benchmark:
        return _typed([{"study": study.name, **_trained(cell)} for cell in study.cells], MEASURED_COLUMNS)
    rows = []
    for cell in study.cells:
        trained = {"study": study.name, **_trained(cell)}
        if not study.evaluations:
            rows.append({**trained, "eval": OWN})
        for name, overrides in study.evaluations.items():
            rows.append({**trained, "eval": name, **_evaluated(cell, name, overrides, trained["status"])})
    return _typed(rows, COLUMNS)


def load_cells(study: Study) -> pd.DataFrame:
    """One row per cell: its status, error, own held-out scores (the model as trained), costs, baseline (dict or None) and provenance.

    A cell that measures (`python -m experiments.benchmark`) has no scores, and has measure, peer and `BENCHMARK_NUMBERS` beside its costs.
    """
    own = ("cell", "train", "seed", "status", "error")
    columns = (*own, *COUNTS, *SCORES, *COSTS, "measure", "peer", *BENCHMARK_ONLY, "baseline", *PROVENANCE)
    return _typed([_trained(cell) for cell in study.cells], columns)


def load_curves(study: Study) -> pd.DataFrame:
    """Every row of every metrics.jsonl, with train, cell and seed added: loss_nats, accuracy (0-1) and bits_per_dim by step.

    `split` is "train" or "valid"; `seconds` and `tokens` count training so far. Cells without a metrics file add no row.
    """
    return pd.DataFrame(_rows(study, "metrics.jsonl"), columns=list(CURVE_COLUMNS))


def load_coverage(study: Study) -> pd.DataFrame:
    """Every row of every coverage.jsonl, with train, cell and seed added: by step, layer, head and number of hash rounds, the share (0-1)
    of full attention's mass that the buckets reach, `coverage`, and what as many random keys would hold, `chance`.

    Cells trained without trainer.coverage_every_steps add no row.
    """
    return pd.DataFrame(_rows(study, "coverage.jsonl"), columns=list(COVERAGE_COLUMNS))


def finished_cells(study: Study) -> pd.DataFrame:
    """`load_cells`, refused with ConfigError when no cell of the study has ended yet, well or badly."""
    cells = load_cells(study)
    if (cells["status"] == "missing").all():
        raise ConfigError(f"study {study.name} has no finished cell: run it first, with python -m ablations run")
    return cells


def labels(study: Study) -> list[str]:
    """The train labels in the study's order: the rows of every table, and the colours of every figure."""
    return list(dict.fromkeys(cell.train for cell in study.cells))


def _rows(study: Study, name: str) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file of every cell, with train, cell and seed first."""
    rows = []
    for cell in study.cells:
        path = cell.directory / name
        lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else [""]
        for line in lines[:-1]:  # what follows the last newline is empty, or half a row of a run that is writing or was killed
            rows.append({"train": cell.train, "cell": cell.name, "seed": cell.seed, **_parse(line, str(path))})
    return rows


def _trained(cell: Cell) -> dict[str, Any]:
    path = cell.directory / "result.json"
    found = _parse(path.read_text(encoding="utf-8"), str(path)) if path.exists() else {"status": "missing"}
    return {**found, "cell": cell.name, "train": cell.train, "seed": cell.seed}


def _evaluated(cell: Cell, name: str, overrides: list[str], status: str) -> dict[str, Any]:
    scores: dict[str, Any] = dict.fromkeys(SCORES)
    if status != "ok":
        return scores
    found = read_evaluation(cell, name, overrides)
    if found is None:
        return {**scores, "status": "missing"}
    return {key: found.get(key) for key in SCORES}


def _parse(text: str, path: str) -> dict[str, Any]:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is damaged (line {error.lineno}: {error.msg}): delete the run's directory and run it again") from error


def _typed(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> pd.DataFrame:
    """Counts as integers that may be missing, measures as floats: null becomes NaN."""
    frame = pd.DataFrame([{column: row.get(column) for column in columns} for row in rows], columns=list(columns))
    for column in columns:
        if column in COUNTS:
            frame[column] = frame[column].astype("Int64")
        elif column in (*SCORES, *COSTS, *BENCHMARK_ONLY):
            frame[column] = frame[column].astype(float)
    return frame
