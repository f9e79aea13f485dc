"""A report in the terminal: each table below its caption, in as many blocks of columns as the width
asks for.
"""

from rich.console import Console
from rich.text import Text

from ablations.report.report import Report
from ablations.report.table import Table, is_best
from ablations.report.variant_means import several_sessions
from experiments.run_dir.outcome import CHANGED
from experiments.terminal.blocks import print_blocks
from experiments.terminal.lines import log_console, print_lines


def print_tables(report: Report, console: Console | None = None) -> None:
    for table in report.tables:
        print_table(table, report.study.name, console or Console())
    print_lines(console or Console(), report.problems)


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
    console = log_console(console)
    console.print(Text(f"{name}: {table.caption}"))
    rows = [
        [
            text if j == 0 or not is_best(row.entries[j - 1]) else Text(text, "bold")
            for j, text in enumerate(texts)
        ]
        for row, texts in zip(table.rows, table.texts(), strict=True)
    ]
    print_blocks(console, table.header, rows)
