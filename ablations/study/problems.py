"""What of a study's run directories cannot be read or is gone, in lines for a reader."""

from collections.abc import Mapping
from types import MappingProxyType

from ablations.study.cell import Cell
from ablations.study.runs.shared import one_cell_a_run
from ablations.study.study import Study
from experiments.run_dir.outcome import Result
from experiments.run_dir.problems import problems

MOST_LINES = 20


def problem_lines(study: Study, results: Mapping[Cell, Result] = MappingProxyType({})) -> list[str]:
    """A line a problem, named by its cell; of many the first ones, and how many more there are.

    A result that cannot be read is a row of every table, and has no line here. `results` are those
    that have been read.
    """
    lines = list(study.unread)
    for cell in one_cell_a_run(study).cells:
        lines += [f"{cell}: {line}" for line in problems(cell.directory, results.get(cell))]
    more = len(lines) - MOST_LINES
    return lines if more <= 0 else [*lines[:MOST_LINES], f"and {more} more such lines"]
