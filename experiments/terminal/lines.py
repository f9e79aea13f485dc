"""Sentences in a terminal, broken between words; and the width of a file, which has none."""

import textwrap
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

LOG_WIDTH = 160  # of a table in a file


def log_console(console: Console) -> Console:
    """The console, or one of a fixed width where its output is a file."""
    return console if console.is_terminal else Console(file=console.file, width=LOG_WIDTH)


def print_lines(console: Console, lines: Sequence[str]) -> None:
    """Sentences, broken between words alone: a path stays one word, to be copied."""
    for line in lines:
        body = line.lstrip(" |") if console.is_terminal else ""
        start = line.removesuffix(body)
        parts = textwrap.wrap(
            body,
            console.width,
            initial_indent=start,
            subsequent_indent=start or "  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        console.print(Text("\n".join(parts) or line), soft_wrap=True, highlight=False)
