"""A report as Markdown, one file a table."""

import re
from collections.abc import Iterable
from pathlib import Path

from ablations.report.report import Report
from ablations.report.table import Entry, Row, Table, Value, is_best, text_of
from experiments.run_dir.durable import replace_text

# An underscore within a word, as in n_hashes, is plain text.
SPECIAL = re.compile(r"[\\`*\[\]<>~$&|]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def write_markdown(report: Report, directory: Path) -> None:
    """<table>.md."""
    for table in report.tables:
        replace_text(directory / f"{table.name}.md", markdown(table))


def markdown(table: Table) -> str:
    """A GitHub table, the best in bold, the caption below."""
    lines = [
        _line(map(escape, table.header)),
        "|" + "|".join([" --- ", *[" ---: "] * (len(table.header) - 1)]) + "|",
        *(_line([escape(row.label), *_texts(row)]) for row in table.rows),
    ]
    return "\n".join(lines) + f"\n\n{escape(table.caption)}\n"


def _texts(row: Row) -> list[str]:
    texts = map(entry_text, row.entries)
    return [
        f"**{text}**" if is_best(entry) else text
        for entry, text in zip(row.entries, texts, strict=True)
    ]


def _line(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"


def entry_text(entry: Entry) -> str:
    """A number as it is; words with what Markdown would take for its own escaped."""
    return text_of(entry) if isinstance(entry, Value) else escape(text_of(entry))


def escape(text: str) -> str:
    """Text that GitHub shows as it is typed: no emphasis, formula, tag, entity or link."""
    return SPECIAL.sub(r"\\\g<0>", text)
