"""From a word of `report:` to the part that it names: the module of that name below
ablations/report/parts.

A part has `tables(study, cells)` or `figures(study, cells, tables)`, or both. `study` has one grid,
`cells` are the rows of `results.load_cells` that are the grid's, and the third argument holds the
part's own tables, for figures that draw their numbers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib import import_module
from typing import NamedTuple

import pandas as pd

from ablations.report.drawing.figure import Drawing
from ablations.report.table import Table
from ablations.study import Study
from ablations.study.report_words import REPORT_WORDS
from reformer_pl.config import ConfigError


class Part(NamedTuple):
    tables: list[Table]
    figures: list[Drawing]


def build_part(word: str, study: Study, cells: pd.DataFrame, drawn: bool = True) -> Part:
    """The tables of a word, and its figures where something can be drawn.

    Raises ConfigError for an unknown word.
    """
    if word not in REPORT_WORDS:
        raise ConfigError(f"report: '{word}' is unknown: choose {', '.join(REPORT_WORDS)}")
    module = import_module(f"ablations.report.parts.{word}")
    tables = module.tables(study, cells) if hasattr(module, "tables") else []
    drawn = drawn and hasattr(module, "figures")
    return Part(tables, module.figures(study, cells, tables) if drawn else [])


def check_only(study: Study, only: Iterable[str]) -> None:
    """Raises ConfigError for a word that is no part of the study's report."""
    for word in only:
        if word not in study.report:
            raise ConfigError(
                f"study {study.name}: --only {word} is no part of its report: "
                f"choose {', '.join(study.report)}"
            )


def with_columns(part: Part, word: str, columns: Sequence[str] | None) -> Part:
    """The part with these columns of its tables alone, beside the labels. A table that has none of
    them stays as it is. Raises ConfigError for a column that no table of the part has.
    """
    if columns is None:
        return part
    names = list(dict.fromkeys(name for table in part.tables for name in table.header[1:]))
    for column in columns:
        if column not in names:
            raise ConfigError(
                f"report: {word}: the column '{column}' is unknown: choose {', '.join(names)}"
            )
    return Part([_chosen(table, columns) for table in part.tables], part.figures)


def _chosen(table: Table, columns: Sequence[str]) -> Table:
    places = [table.header.index(name) for name in columns if name in table.header[1:]]
    if not places:
        return table
    rows = tuple(
        replace(row, entries=tuple(row.entries[j - 1] for j in places)) for row in table.rows
    )
    header = (table.header[0], *(table.header[j] for j in places))
    return replace(table, header=header, rows=rows)
