"""`python -m ablations status`: counts, a row for each cell, and the last log lines of failures."""

import os
from collections import Counter
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from rich.console import Console

from ablations.launch.job import Job
from ablations.launch.jobs import cancel_commands, settle
from ablations.launch.pace import Pace, pace, state
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
from experiments.times.disturbed import MARK_MEANS, marked
from reformer_pl.config import ConfigError, RunConfig
from reformer_pl.metrics import SCORES, STEP_SECONDS, loss_name, score_names
from reformer_pl.units import memory, three_digits

# The columns of a benchmark and the numbers in them: the first is whole.
MEASURED = (
    ("length", "length"), ("forward ms", "forward_seconds"), ("backward ms", "backward_seconds"),
    ("whole ms", "step_seconds"), ("x full", "speedup"), ("memory", "peak_memory_gib"),
)  # fmt: skip
NAMED = 3  # columns that are never left out: cell, seed, status
TIMES = ("forward_seconds", "backward_seconds", "step_seconds", "speedup")  # may be disturbed
OVERHEAD = {
    "startup_seconds": "from its start to the first step",
    "closing_seconds": "from the last step to its result",
}


@dataclass(frozen=True)
class CellStatus:
    """A cell's row of the table, and what must be read below it."""

    cell: Cell
    status: str
    result: dict[str, Any]  # of a cell that has not ended, its last training row
    left: str = ""
    problem: str = ""


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
    header, texts = _table(study, _columns(study, configs), rows)
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
        missing = ", ".join(missing_evaluations(cell.directory, study.evaluations))
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


def _columns(study: Study, configs: list[RunConfig]) -> tuple[tuple[str, str], ...]:
    """Title and key of each number: those of a benchmark, or the scores of the study's tasks."""
    if study.is_benchmark:
        return MEASURED
    names = {
        name for task in {config.task.name for config in configs} for name in score_names(task)
    }
    scores = (
        (metric.brief or metric.name, metric.name) for metric in SCORES if metric.name in names
    )
    return ("steps", "steps"), *scores, (STEP_SECONDS.header, "step_seconds")


def _table(
    study: Study, columns: tuple[tuple[str, str], ...], rows: list[CellStatus]
) -> tuple[list[str], list[list[str]]]:
    """Header, and the texts of each cell: its name and seed first. Empty columns are left out."""
    whole, *fractions = columns
    header = ["cell", "seed", "status", whole[0], *(title for title, _ in fractions), "left"]
    texts = []
    for row in rows:
        numbers = [_number(row, key) for _, key in fractions]
        first = str(row.result.get(whole[1]) or "")
        name, seed = row.cell.name, str(row.cell.seed)
        texts.append([name, seed, row.status, first, *numbers, row.left])
    used = [j for j in range(len(header)) if j < NAMED or any(row[j] for row in texts)]
    return [header[j] for j in used], [[row[j] for j in used] for row in texts]


def _number(row: CellStatus, key: str) -> str:
    """A score, a time or the memory; of a benchmark times are ms."""
    value = row.result.get(key)
    if value is None:
        return ""
    if key == "peak_memory_gib":
        return memory(value)
    if key in TIMES and key != "speedup" and not row.cell.trains:
        text = three_digits(1e3 * value)
    elif key in TIMES:
        text = three_digits(value)
    else:
        text = f"{value:.4f}"
    return marked(text, key in TIMES and bool(row.result.get("disturbed")))


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
