"""`python -m ablations status`: counts, a row for each cell, and the last log lines of failures."""

import os
from collections import Counter
from dataclasses import replace
from statistics import median
from typing import Any

from rich.console import Console

from ablations.launch.job import Job
from ablations.launch.jobs import cancel_commands, settle
from ablations.launch.pace import UNTUNED, Pace, pace, state
from ablations.launch.views.status_table import CellStatus, columns_of, texts_of
from ablations.study import Study
from ablations.study.cell import Cell
from ablations.study.changed import changed_config, how_to_go_on
from ablations.study.problems import problem_lines
from experiments.run_dir.files import CONFIG, LOG, checkpoint_path, log_tail, no_checkpoint
from experiments.run_dir.outcome import (
    CHANGED,
    OK,
    UNEVALUATED,
    UNREADABLE,
    is_ok,
    missing_evaluations,
    result_row,
)
from experiments.run_dir.owner import owned_elsewhere
from experiments.run_dir.rounds import over_rounds, read_rounds
from experiments.terminal.blocks import print_blocks
from experiments.terminal.lines import print_lines
from experiments.times.disturbed import MARK_MEANS
from reformer_pl.config import ConfigError, RunConfig
from reformer_pl.metrics import loss_name

OVERHEAD = {
    "startup_seconds": "from its start to the first step",
    "closing_seconds": "from the last step to its result",
}


def print_status(
    study: Study, configs: list[RunConfig], console: Console, log_lines: int = 5
) -> None:
    """Counts, one row a cell, then jobs, and the last log lines of the cells with a problem."""
    jobs = settle(study.cells)
    rows = [
        _cell_status(study, cell, config, jobs.get(cell))
        for cell, config in zip(study.cells, configs, strict=True)
    ]
    print_lines(console, [_summary(study, rows), study.description])
    header, texts = texts_of(columns_of(study, configs), rows)
    print_blocks(console, header, texts, names=2, left=(0, 2))
    lines = []
    if any(row.result.get("disturbed") for row in rows):
        lines.append(MARK_MEANS)
    lines += _overhead([row.result for row in rows if row.status == OK])
    lines += _job_lines(jobs)
    for row in rows:
        lines += _problem_lines(row, log_lines)
    results = {row.cell: row.result | {"status": row.status} for row in rows}
    lines += problem_lines(study, results)
    print_lines(console, lines)


def _summary(study: Study, rows: list[CellStatus]) -> str:
    """ "demo: 4 cells: 2 ok, 1 running, 1 waiting"."""
    counts = Counter(row.status for row in rows)
    texts = ", ".join(f"{number} {status}" for status, number in counts.items())
    return f"{study.name}: {len(rows)} cells: {texts}"


def _cell_status(study: Study, cell: Cell, config: RunConfig, job: Job | None) -> CellStatus:
    """A running cell shows its last training row, its pace and the time it has left.

    An unfinished one, which resumes, shows only the row. One whose config has changed shows none.
    """
    if study.is_open(cell):
        return CellStatus(cell, UNTUNED, {})
    try:
        changed = changed_config(study, cell, config)
    except ConfigError:  # a line below names the file
        changed = ""
    if changed:
        return CellStatus(cell, CHANGED, {}, problem=f"{CHANGED}: {how_to_go_on(changed)}")
    status = state(study, cell, job)
    result = result_row(cell.directory) or {}
    if is_ok(result or None):
        result = over_rounds(result, read_rounds(cell.directory, result))
    if status == UNREADABLE and result.get("status") != UNREADABLE:  # a line below names the file
        problem = f"{status}: {job.why}" if job is not None and job.state == UNREADABLE else ""
        return CellStatus(cell, status, result, problem=problem)
    if status in ("running", "unfinished", "requeued"):
        row = _unfinished(cell, status, pace(cell, config), loss_name(config.task.name))
        return replace(row, problem=owned_elsewhere(cell.directory))
    if status == UNEVALUATED:
        missing = ", ".join(missing_evaluations(cell.directory, study.evaluations_of(cell)))
        checkpoint, config_file = checkpoint_path(cell.directory), cell.directory / CONFIG
        makes = checkpoint.is_file() or not config_file.exists()
        how = ", which the next run makes" if makes else f": {no_checkpoint(checkpoint)}"
        problem = f"trained, without {missing}{how}"
        return CellStatus(cell, status, result, problem=problem)
    failed = bool(result) and status != OK
    problem = f"{status}: {result.get('error')}" if failed else ""
    return CellStatus(cell, status, result, problem=problem)


def _unfinished(cell: Cell, status: str, at: Pace, loss: str) -> CellStatus:
    result: dict[str, Any] = {
        "steps": "" if at.step is None else f"{at.step}/{at.max_steps}",
        loss: at.loss,
    }
    left = ""
    if status == "running" and at.step_seconds:
        result["step_seconds"] = at.step_seconds
        left = at.left.removesuffix(" left")
    return CellStatus(cell, status, result, left)


def _job_lines(jobs: dict[Cell, Job]) -> list[str]:
    """Why jobs wait, and what ends them."""
    waiting = [f"{cell}: {job}" for cell, job in jobs.items() if job.why and job.may_run]
    commands = cancel_commands(jobs).items()
    return waiting + [f"{command} ends what {name} has of it" for name, command in commands]


def _problem_lines(row: CellStatus, log_lines: int) -> list[str]:
    if not row.problem:
        return []
    directory = row.cell.directory
    tail = [f"  | {line}" for line in log_tail(directory, log_lines)]
    log = directory / LOG  # a cell that was refused has none
    return [f"{row.cell}: {row.problem}", *tail, *([f"  {log}"] if os.path.lexists(log) else [])]


def _overhead(results: list[dict[str, Any]]) -> list[str]:
    """What a cell costs beside its steps, in one line; none where no result says."""
    medians = []
    for name, text in OVERHEAD.items():
        seconds = [result[name] for result in results if result.get(name) is not None]
        if seconds:
            medians.append(f"{median(seconds):.2f} s {text}")
    if not medians:
        return []
    return [f"a cell takes {' and '.join(medians)} (medians of {len(results)})"]
