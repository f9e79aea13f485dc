"""The table of `status`: a row for each cell, as texts with their units."""

from dataclasses import dataclass
from typing import Any

from ablations.study import Study
from ablations.study.cell import Cell
from experiments.terminal.units import memory, three_digits
from experiments.times.disturbed import marked
from reformer_pl.config import RunConfig
from reformer_pl.metrics import SCORES, STEP_SECONDS, score_names

# The columns of a benchmark and the numbers in them: the first is whole.
MEASURED = (
    ("length", "length"), ("forward ms", "forward_seconds"), ("backward ms", "backward_seconds"),
    ("whole ms", "step_seconds"), ("x full", "speedup"), ("memory", "peak_memory_gib"),
)  # fmt: skip
NAMED = 3  # columns that are never left out: cell, seed, status
TIMES = ("forward_seconds", "backward_seconds", "step_seconds", "speedup")  # may be disturbed


@dataclass(frozen=True)
class CellStatus:
    """A cell's row of the table, and what must be read below it."""

    cell: Cell
    status: str
    result: dict[str, Any]  # of a cell that has not ended, its last training row
    left: str = ""
    problem: str = ""


def columns_of(study: Study, configs: list[RunConfig]) -> tuple[tuple[str, str], ...]:
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


def texts_of(
    columns: tuple[tuple[str, str], ...], rows: list[CellStatus]
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
