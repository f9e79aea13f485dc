"""A report as Markdown, one file a table."""

from collections.abc import Iterable
from pathlib import Path

from ablations.report.report import Report
from ablations.report.table import Row, Table, is_best, text_of
from experiments.run_dir.durable import replace_text


def write_markdown(report: Report, directory: Path) -> None:
    """<table>.md."""
    for table in report.tables:
        replace_text(directory / f"{table.name}.md", markdown(table))


def markdown(table: Table) -> str:
    """A GitHub table, the best in bold, the caption below."""
    lines = [
        _line(table.header),
        "|" + "|".join([" --- ", *[" ---: "] * (len(table.header) - 1)]) + "|",
        *(_line([row.label, *_texts(row)]) for row in table.rows),
    ]
    return "\n".join(lines) + f"\n\n{table.caption}\n"


def _texts(row: Row) -> list[str]:
    texts = map(text_of, row.entries)
    return [
        f"**{text}**" if is_best(entry) else text
        for entry, text in zip(row.entries, texts, strict=True)
    ]


def _line(texts: Iterable[str]) -> str:
    escaped = (text.replace("\\", "\\\\").replace("|", "\\|") for text in texts)
    return f"| {' | '.join(escaped)} |"
