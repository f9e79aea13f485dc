"""What the runs of a study left on disk, as tidy tables: the door for a notebook.

    from ablations.results import load_curves, load_results

    # a name, a YAML file, a folder of runs, a Study; or several of them
    results = load_results("demo_hashes")
    # the paper's Table 2
    results.pivot_table(values="accuracy", index="train", columns="eval")
    # every key of the config is a column
    results.groupby("config.model.lsh.n_hashes")["bits_per_dim"].agg(["mean", "count"])
    # ablations.study.load_study
    curves = load_curves(load_study("demo_hashes"))
    curves.query("split == 'valid'").plot(x="step", y="accuracy")

Failure is data: a cell that failed keeps its status (oom, failed, timeout, would_not_fit), one not
run yet is "missing", one whose study was edited since is "changed", and one whose result cannot be
read is "unreadable", the last two with the reason as their error. Their numbers are NaN, never 0.
Damaged rows of curves are left out; `study_problems` lists them. Only files are read; torch is
never imported.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from ablations.result_columns import (
    BENCHMARK_ONLY,
    COLUMNS,
    COSTS,
    COUNTS,
    COVERAGE_COLUMNS,
    CURVE_COLUMNS,
    FLAGS,
    MEASURED_COLUMNS,
    OTHER_SCORES,
    OWN,
    PLAIN_PROVENANCE,
    PROVENANCE,
    SCORES,
    WHOLE,
)
from ablations.study import Study
from ablations.study.cell import Cell
from ablations.study.changed import changed_cells
from ablations.study.folder import open_source
from ablations.study.problems import problem_lines
from experiments.run_dir.files import CONFIG, COVERAGE, EVALUATIONS, METRICS, read_config_values
from experiments.run_dir.outcome import (
    CHANGED,
    MISSING,
    OK,
    UNREADABLE,
    is_ok,
    read_evaluation,
    read_scores,
    result_row,
)
from experiments.run_dir.rounds import over_rounds, read_rounds
from experiments.run_dir.rows import read_rows
from reformer_pl.config import ConfigError, flat


def load_results(*sources: Study | str | Path, runs_dir: Path = Path("runs")) -> pd.DataFrame:
    """Everything about every run of the sources: a row for each cell as it was trained, eval
    "own", and one for each of its evaluations.

    A source is a `Study`, a name below configs/study, the path of a YAML file, or a folder of runs,
    such as a copy of runs/STUDY from another machine, where `train` is the cell's folder, for
    labels stand in the YAML. The columns, in this order:

    study, cell, train, eval, seed, status, error
    SCORES, those of OTHER_SCORES that a cell has, COSTS, COUNTS    with units as in `COLUMNS`
    measure, peer, BENCHMARK_NUMBERS   where a cell measures (`python -m experiments.benchmark`)
    baseline.*                         what a model that knows nothing gets
    config.*                           every key of config.yaml, as an override names it, such as
                                       config.model.lsh.n_hashes; lists as JSON text;
                                       empty for a cell that never started
    git_commit, device, threads, finished_at, version.*, directory

    An evaluation that is not there, or was made under other overrides than its study says, is
    "missing" in its row, and one that cannot be read is "unreadable"; a folder of runs also has
    those that were made later, by hand. What else cannot be read is a warning. Raises ConfigError
    for an unknown source.
    """
    studies = [open_source(source, runs_dir) for source in sources]
    for line in (line for study in studies for line in study.unread):
        warnings.warn(line, stacklevel=2)
    rows = []
    for study in studies:
        changed = changed_cells(study)
        for cell in study.cells:
            rows += _all_known(study, cell, changed.get(cell, ""))
    groups = [
        [key for row in rows for key in row if key.startswith(prefix)]
        for prefix in ("baseline.", "config.", "version.")
    ]
    baselines, configs, versions = (list(dict.fromkeys(group)) for group in groups)
    run = ("study", "cell", "train", "eval", "seed", "status", "error")
    numbers = (*SCORES, *_present(OTHER_SCORES, rows), *COSTS, *COUNTS)
    measured = _present(("measure", "peer", *BENCHMARK_ONLY), rows)
    made_by = (*PLAIN_PROVENANCE, *versions, "directory")
    frame = _typed(rows, (*run, *numbers, *measured, *baselines, *configs, *made_by))
    for name in configs:
        values = [row.get(name) for row in rows]
        if all(
            value is None or type(value) is int for value in values
        ):  # stays whole beside cells without a config
            frame[name] = pd.array(values, dtype="Int64")
        elif (
            frame[name].dropna().map(lambda value: isinstance(value, str)).nunique() > 1
        ):  # one type a column
            frame[name] = frame[name].map(str, na_action="ignore")
    return frame


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
        measured = [_trained(cell, changed.get(cell, "")) for cell in study.cells]
        return _typed([{"study": study.name, **row} for row in measured], MEASURED_COLUMNS)
    rows = [
        row
        for cell in study.cells
        for row in _rows_of(study.name, cell, study.evaluations, changed.get(cell, ""))
    ]
    after_scores = COLUMNS.index(SCORES[-1]) + 1
    others = _present(OTHER_SCORES, rows)
    return _typed(rows, (*COLUMNS[:after_scores], *others, *COLUMNS[after_scores:]))


def load_cells(study: Study) -> pd.DataFrame:
    """One row per cell: its status, error, own held-out scores (the model as trained), costs,
    baseline (dict or None) and provenance.

    A cell that measures (`python -m experiments.benchmark`) has no scores, and has measure, peer
    and `BENCHMARK_NUMBERS` beside its costs.
    """
    own = ("cell", "train", "seed", "status", "error")
    columns = (
        *own,
        *COUNTS,
        *SCORES,
        *OTHER_SCORES,
        *COSTS,
        "measure",
        "peer",
        *BENCHMARK_ONLY,
        "baseline",
        *PROVENANCE,
    )
    changed = changed_cells(study)
    return _typed([_trained(cell, changed.get(cell, "")) for cell in study.cells], columns)


def load_curves(study: Study) -> pd.DataFrame:
    """Every row of every metrics.jsonl, with train, cell and seed added: loss_nats, accuracy (0-1)
    and bits_per_dim by step.

    `split` is "train" or "valid"; `seconds` and `tokens` count training so far. Cells without a
    metrics file add no row, nor do damaged rows.
    """
    rows, after_scores = _rows(study, METRICS), CURVE_COLUMNS.index(SCORES[-1]) + 1
    others = _present(OTHER_SCORES, rows)
    columns = (*CURVE_COLUMNS[:after_scores], *others, *CURVE_COLUMNS[after_scores:])
    return pd.DataFrame(rows, columns=list(columns))


def load_coverage(study: Study) -> pd.DataFrame:
    """Every row of every coverage.jsonl, with train, cell and seed added: by step, layer, head and
    number of hash rounds, the share (0-1) of full attention's mass that the buckets reach,
    `coverage`, and what as many random keys would hold, `chance`.

    Cells trained without trainer.coverage_every_steps add no row.
    """
    return pd.DataFrame(_rows(study, COVERAGE), columns=list(COVERAGE_COLUMNS))


def finished_cells(study: Study) -> pd.DataFrame:
    """`load_cells`, refused with ConfigError when no cell of the study has ended yet, well or
    badly.
    """
    cells = load_cells(study)
    if (cells["status"] == MISSING).all():
        raise ConfigError(
            f"study {study.name} has no finished cell: run it with python -m ablations run, or "
            "wait for the first to end"
        )
    return cells


def variant_labels(study: Study) -> list[str]:
    """The variants in the study's order: the rows of each table, the colours of each figure."""
    return list(dict.fromkeys(cell.train for cell in study.cells))


def _rows(study: Study, name: str) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file of every cell, with train, cell and seed first.

    A cell whose config has changed adds none.
    """
    changed = changed_cells(study)
    return [
        {"train": cell.train, "cell": cell.name, "seed": cell.seed, **row}
        for cell in study.cells
        if cell not in changed
        for row in _readable_rows(cell.directory / name)
    ]


def _readable_rows(path: Path) -> list[dict[str, Any]]:
    """None of a file that cannot be read, which `study_problems` names."""
    try:
        return read_rows(path)
    except ConfigError:
        return []


def study_problems(study: Study) -> list[str]:
    """What of the study's runs cannot be read or is gone: a line each, with what to do."""
    return problem_lines(study)


def _trained(cell: Cell, changed: str) -> dict[str, Any]:
    """Its result; of a cell that was measured in rounds, with the times over them.

    `changed` says what differs where the directory holds a run of another config.
    """
    result = result_row(cell.directory) or {"status": MISSING}
    if changed:
        result = {"status": CHANGED, "error": changed}
    if is_ok(result):
        result = over_rounds(result, read_rounds(cell.directory, result))
    return {**result, "cell": cell.name, "train": cell.train, "seed": cell.seed}


def _rows_of(
    study: str, cell: Cell, evaluations: dict[str, list[str]], changed: str, own: bool = False
) -> list[dict[str, Any]]:
    """A row for each evaluation; one for the model as it was trained where there is none, or where
    it is asked for.
    """
    trained = {"study": study, **_trained(cell, changed)}
    scored = [
        {**trained, "eval": name, **_evaluated(cell, name, overrides, trained["status"])}
        for name, overrides in evaluations.items()
    ]
    return scored if scored and not own else [{**trained, "eval": OWN}, *scored]


def _all_known(study: Study, cell: Cell, changed: str) -> list[dict[str, Any]]:
    unreadable = ""
    try:
        config = read_config_values(cell.directory)
    except ConfigError as error:
        config, unreadable = {}, str(error)
    evaluations: Any = study.evaluations if study.grids else config.pop("evaluations", None) or {}
    if not isinstance(evaluations, dict):
        evaluations, unreadable = {}, f"{cell.directory / CONFIG} has evaluations that are no names"
    rows = _rows_of(study.name, cell, evaluations, changed, own=True)
    later = [] if study.grids else sorted((cell.directory / EVALUATIONS).glob("*.json"))
    for path in later:
        scores = _scores(path)
        name = scores.pop("name", None) or path.stem
        if name not in evaluations:
            rows.append({**rows[0], "eval": name, "status": OK, **scores})
    config = {
        key: value for key, value in config.items() if key not in ("seed", "out_dir", "evaluations")
    }
    from_config = {
        f"config.{key}": json.dumps(value) if isinstance(value, list) else value
        for key, value in flat(config).items()
    }
    for group in ("baseline", "versions"):
        from_config |= {
            f"{group.removesuffix('s')}.{key}": value
            for key, value in (rows[0].get(group) or {}).items()
        }
    if unreadable:  # its numbers are its own, but nobody knows of what
        rows = [{**row, "error": row.get("error") or unreadable} for row in rows]
    return [{**row, **from_config, "directory": str(cell.directory)} for row in rows]


def _evaluated(cell: Cell, name: str, overrides: list[str], status: str) -> dict[str, Any]:
    scores: dict[str, Any] = dict.fromkeys((*SCORES, *OTHER_SCORES))
    if status != OK:
        return scores
    try:
        evaluation = read_evaluation(cell.directory, name, overrides)
    except ConfigError as error:
        return {**scores, "status": UNREADABLE, "error": str(error)}
    if evaluation is None:
        return {**scores, "status": MISSING}
    return {key: evaluation.get(key) for key in (*SCORES, *OTHER_SCORES)}


def _scores(path: Path) -> dict[str, Any]:
    """Of an evaluation that was made by hand."""
    scores: dict[str, Any] = dict.fromkeys((*SCORES, *OTHER_SCORES))
    try:
        evaluation = read_scores(path) or {}
    except ConfigError as error:
        return {**scores, "status": UNREADABLE, "error": str(error)}
    return {key: evaluation.get(key) for key in scores} | {"name": evaluation.get("name")}


def _present(names: tuple[str, ...], rows: list[dict[str, Any]]) -> list[str]:
    """Those of the names that a row has a value of."""
    return [name for name in names if any(row.get(name) is not None for row in rows)]


def _typed(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> pd.DataFrame:
    """Counts as integers that may be missing, measures as floats: null becomes NaN."""
    frame = pd.DataFrame(
        [{column: row.get(column) for column in columns} for row in rows], columns=list(columns)
    )
    for column in columns:
        if column in FLAGS:
            flags = frame[column].map(lambda flag: flag if isinstance(flag, bool) else None)
            frame[column] = flags.astype("boolean")
        elif column in WHOLE:
            numbers = pd.to_numeric(frame[column], errors="coerce")
            frame[column] = numbers.where(numbers % 1 == 0).astype("Int64")
        elif column in (*SCORES, *OTHER_SCORES, *COSTS, *BENCHMARK_ONLY):
            frame[column] = pd.to_numeric(frame[column], errors="coerce").astype(float)
    return frame
