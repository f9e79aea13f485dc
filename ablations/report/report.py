"""The report of a study: its tables and figures, built once from its cells; `write.py` and the
terminal take it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from ablations.report.drawing.figure import Drawing
from ablations.report.parts.tuning import with_tuned
from ablations.report.styles.letters import with_letters
from ablations.report.styles.style import current_style, drawn_in
from ablations.report.table import Table, with_mark_explained
from ablations.report.variant_means import changed_note
from ablations.report.words import Part, build_part, check_only, with_columns
from ablations.results import finished_cells, study_problems
from ablations.results.devices import devices_note, without_mixed_costs
from ablations.study import Study
from ablations.study.grid import Grid
from ablations.study.report_words import REPORT_WORDS
from experiments.run_dir.outcome import OK


@dataclass(frozen=True)
class Report:
    """`cells` are `results.load_cells`; tables and figures are in the order of the page.

    `problems` are what of the runs cannot be read or is gone, a line each.
    """

    study: Study
    cells: pd.DataFrame
    tables: tuple[Table, ...]
    figures: tuple[Drawing, ...]
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()  # a line each, for the terminal
    is_whole: bool = True  # not some of the study's parts alone


def load_report(study: Study, only: Sequence[str] = ()) -> Report:
    """The report of what the study's runs left on disk; of some words of its report, if given.

    Raises ConfigError when no cell has finished, or for a word that the study does not report.
    """
    check_only(study, only)
    return build_report(study, finished_cells(study), only)


def build_report(study: Study, cells: pd.DataFrame, only: Sequence[str] = ()) -> Report:
    """The parts that each grid of the study asks for, from `results.load_cells`.

    A grid none of whose cells ended well has no figures; its tables say why.
    """
    style, warnings = with_letters(current_style(), study)
    with drawn_in(style):
        comparable = without_mixed_costs(cells)
        parts = [part for grid in study.grids for part in _parts(study, grid, comparable, only)]
    note = changed_note(cells) + devices_note(cells)
    marked = (with_mark_explained(table) for part in parts for table in part.tables)
    tables = tuple(replace(table, caption=table.caption + note) for table in marked)
    figures = tuple(figure for part in parts for figure in part.figures)
    return Report(study, cells, tables, figures, tuple(study_problems(study)), warnings, not only)


def _tuned(part: Part, study: Study) -> Part:
    return part._replace(tables=[with_tuned(table, study.tuning) for table in part.tables])


def _parts(study: Study, grid: Grid, cells: pd.DataFrame, only: Sequence[str]) -> list[Part]:
    """The parts of one grid, as if it were a study of its own; their names end with the grid's, if
    it has one. A part of several grids is among those of the first that asks for it.
    """
    words = [word for word in grid.report if not only or word in only]
    joined = [word for word in words if REPORT_WORDS[word].joins]
    parts, together = [], []
    for word in words:
        grids = [grid.measured()]
        if word in joined:
            grids = [other for other in study.grids if word in other.report]
        if grids[0].name != grid.name:
            continue
        part = _tuned(_part(study, grids, cells, word), study)
        part = with_columns(part, word, grid.entries.columns.get(word))
        (together if word in joined else parts).append(part)
    if not (only or joined or any(part.tables for part in parts)):
        # a report has a table, even where it asks for none
        word = "cost" if grid.measure else "loss_memory"
        parts.append(_part(study, [grid.measured()], cells, word, drawn=False))
    return [*together, *(_named(part, grid.name) for part in parts)]


def _part(
    study: Study, grids: Sequence[Grid], cells: pd.DataFrame, word: str, drawn: bool = True
) -> Part:
    """A word's part of these grids, as if they were a study of their own."""
    own_cells = tuple(cell for grid in grids for cell in grid.cells)
    alone = replace(study, grids=tuple(grids), cells=own_cells, report=grids[0].report)
    places = {(cell.name, cell.seed) for cell in own_cells}
    own = [place in places for place in zip(cells["cell"], cells["seed"], strict=True)]
    rows = cells[own].reset_index(drop=True)
    return build_part(word, alone, rows, drawn and bool((rows["status"] == OK).any()))


def _named(part: Part, name: str) -> Part:
    """The part, with the name of its grid behind its own."""
    if not name:
        return part
    return Part(
        [replace(table, name=f"{table.name}_{name}") for table in part.tables],
        [replace(figure, name=f"{figure.name}_{name}") for figure in part.figures],
    )
