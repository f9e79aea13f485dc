"""The report of a study: tables as CSV, Markdown and LaTeX, figures as PNG and PDF, and one page that holds them all.

runs/<study>/report/{results.csv, <table>.{csv,md,tex}, <figure>.{png,pdf}, index.html}
"""

from pathlib import Path

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from ablations.report.part_words import study_drawings, study_tables
from ablations.report.parts.speed_plots import speed_drawings
from ablations.report.parts.speed_tables import speed_tables
from ablations.report.table import Table
from ablations.report.writers.latex import latex
from ablations.report.writers.page import write_page
from ablations.results import finished_cells, score_rows
from ablations.study import Study
from reformer_pl.config import ConfigError


def write_report(study: Study) -> Path:
    """Write the whole report and return the path of index.html. Raises ConfigError when no cell has finished or nothing can be written."""
    cells = finished_cells(study)
    directory = study.directory / "report"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        score_rows(study).to_csv(directory / "results.csv", index=False)
        tables = _tables(study, cells)
        for table in tables:
            table.data.to_csv(directory / f"{table.name}.csv", index=False)
            (directory / f"{table.name}.md").write_text(markdown(table), encoding="utf-8")
            (directory / f"{table.name}.tex").write_text(latex(table, study), encoding="utf-8")
        drawings = (
            speed_drawings(study, cells) if study.is_benchmark else study_drawings(study, cells)
        )
        for drawing in drawings:
            drawing.save(directory)
        return write_page(study, cells, tables, drawings, directory)
    except OSError as error:
        raise ConfigError(
            f"the report cannot be written to {directory}: {error.strerror}"
        ) from error


def print_tables(study: Study, console: Console | None = None) -> None:
    """The study's tables in the terminal. Raises ConfigError when no cell has finished."""
    for table in _tables(study, finished_cells(study)):
        print_table(table, study.name, console or Console())


def print_table(table: Table, name: str, console: Console) -> None:
    """One table in the terminal, below its caption, in as many blocks of columns as the width asks for."""
    if not console.is_terminal:
        console = Console(file=console.file, width=160)  # a log file has no width of its own
    console.print(Text(f"{name}: {table.caption}"))
    widths = column_widths(table)
    for columns in column_blocks(widths, console.width):
        shown = RichTable(header_style="bold", box=SIMPLE_HEAD)
        for j in columns:
            shown.add_column(
                Text(table.header[j]), justify="right" if j else "left", width=widths[j]
            )
        for i, row in enumerate(table.rows):
            shown.add_row(
                *(Text(row[j], style="bold" if (i, j) in table.best else "") for j in columns)
            )
        console.print(shown)


def _tables(study: Study, cells: pd.DataFrame) -> list[Table]:
    return speed_tables(study, cells) if study.is_benchmark else study_tables(study, cells)


def column_widths(table: Table) -> list[int]:
    """Characters each column needs: its longest number, or word of its header (the labels' header stays on one line)."""
    words = [[name] if j == 0 else name.split() for j, name in enumerate(table.header)]
    return [max(map(len, (*words[j], *(row[j] for row in table.rows)))) for j in range(len(words))]


def column_blocks(widths: list[int], console_width: int) -> list[list[int]]:
    """The columns in as many blocks as the terminal needs, each with the labels (column 0) first, so that no number is cut."""
    blocks = [[0]]
    for j in range(1, len(widths)):
        if blocks[-1] != [0] and 1 + sum(widths[k] + 3 for k in (*blocks[-1], j)) > console_width:
            blocks.append([0])
        blocks[-1].append(j)
    return blocks


def markdown(table: Table) -> str:
    """A GitHub table, the best in bold, the caption below."""
    lines = [
        _markdown_row(table.header),
        "|" + "|".join(" --- " if i == 0 else " ---: " for i in range(len(table.header))) + "|",
    ]
    for i, row in enumerate(table.rows):
        lines.append(
            _markdown_row(
                f"**{text}**" if (i, j) in table.best else text for j, text in enumerate(row)
            )
        )
    return "\n".join(lines) + f"\n\n{table.caption}\n"


def _markdown_row(texts: object) -> str:
    return (
        "| " + " | ".join(text.replace("\\", "\\\\").replace("|", "\\|") for text in texts) + " |"
    )
