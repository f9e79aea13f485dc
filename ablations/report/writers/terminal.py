"""A report in the terminal: each table below its caption, in as many blocks of columns as the width
asks for.
"""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from ablations.report.report import Report
from ablations.report.table import Table, is_best
from ablations.report.variant_means import several_sessions
from experiments.run_dir.outcome import CHANGED

LOG_WIDTH = 160  # of a file, which has no width of its own


def print_tables(report: Report, console: Console | None = None) -> None:
    for table in report.tables:
        print_table(table, report.study.name, console or Console())
    for line in report.problems:
        (console or Console()).print(Text(line), soft_wrap=True)


def print_sessions(report: Report) -> None:
    """A line for each cell that was trained in several ways, one after the other."""
    for line in several_sessions(report.cells):
        print(line)


def print_changed(report: Report) -> None:
    """A line for each cell whose directory holds a run of another config."""
    changed = report.cells[report.cells["status"] == CHANGED]
    for row in changed.itertuples():
        print(f"{row.cell} seed={row.seed}: {CHANGED}, for {row.error}")


def print_table(table: Table, name: str, console: Console) -> None:
    """One table, named in its caption."""
    if not console.is_terminal:
        console = Console(file=console.file, width=LOG_WIDTH)
    console.print(Text(f"{name}: {table.caption}"))
    widths, rows = column_widths(table), table.texts()
    best = {
        (i, j)
        for i, row in enumerate(table.rows)
        for j, entry in enumerate(row.entries, 1)
        if is_best(entry)
    }
    for columns in column_blocks(widths, console.width):
        block = RichTable(header_style="bold", box=SIMPLE_HEAD)
        for j in columns:
            justify = "right" if j else "left"
            block.add_column(Text(table.header[j]), justify=justify, width=widths[j])
        for i, texts in enumerate(rows):
            block.add_row(*(Text(texts[j], "bold" if (i, j) in best else "") for j in columns))
        console.print(block)


def column_widths(table: Table) -> list[int]:
    """Characters each column needs: its longest number, or word of its header (the labels' header
    stays on one line).
    """
    words = [[name] if j == 0 else name.split() for j, name in enumerate(table.header)]
    rows = table.texts()
    return [max(map(len, (*words[j], *(row[j] for row in rows)))) for j in range(len(words))]


def column_blocks(widths: list[int], console_width: int) -> list[list[int]]:
    """The columns in as many blocks as the terminal needs, each with the labels (column 0) first,
    so that no number is cut.
    """
    blocks = [[0]]
    for j in range(1, len(widths)):
        if blocks[-1] != [0] and 1 + sum(widths[k] + 3 for k in (*blocks[-1], j)) > console_width:
            blocks.append([0])
        blocks[-1].append(j)
    return blocks
