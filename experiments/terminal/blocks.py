"""A table of texts in a terminal: whole words, in as many blocks of columns as the width asks for.

Each block begins with the columns that name a row. A long name is broken between its words, at
spaces, slashes, underscores and hyphens, and a number is never cut.
"""

import re
from collections import Counter
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

GAP = 3  # between two columns
SHORTEST_NAME = 12  # characters that a name keeps beside the numbers


def print_blocks(
    console: Console,
    header: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    names: int = 1,
    left: Sequence[int] = (0,),
) -> None:
    """The first `names` columns name a row, and stand first in each block.

    The columns in `left` are on the left, and all others, numbers, on the right.
    """
    widths = column_widths(header, rows)
    widths[0] = name_width([str(row[0]) for row in rows], widths, console.width, names)
    for columns in column_blocks(widths, console.width, names):
        block = Table(header_style="bold", box=SIMPLE_HEAD)
        for j in columns:
            justify = "left" if j in left else "right"
            block.add_column(Text(header[j]), justify=justify, width=widths[j])
        for row in rows:
            texts = [row[j] if isinstance(row[j], Text) else Text(row[j]) for j in columns]
            texts[0] = Text(_broken(texts[0].plain, widths[0]), style=texts[0].style)
            block.add_row(*texts)
        console.print(block)


def column_widths(header: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> list[int]:
    """Characters each column needs: its longest entry, or word of its header.

    The header of the names (column 0) stays on one line.
    """
    words = [[name] if j == 0 else name.split() for j, name in enumerate(header)]
    return [
        max(cell_len(str(text)) for text in (*words[j], *(row[j] for row in rows)))
        for j in range(len(words))
    ]


def name_width(
    names: Sequence[str], widths: Sequence[int], console_width: int, n_names: int = 1
) -> int:
    """The width of the names at which the table has the fewest lines; of equal ones the widest.

    A name that is broken takes more lines, and a wide one more blocks.
    """
    counts = Counter(names)

    def lines(width: int) -> int:
        blocks = column_blocks([width, *widths[1:]], console_width, n_names)
        height = sum(n * (1 + _broken(name, width).count("\n")) for name, n in counts.items())
        widest = max(1 + sum(GAP + [width, *widths[1:]][j] for j in block) for block in blocks)
        return len(blocks) * height if widest <= console_width else 10**9

    if 1 + sum(width + GAP for width in widths) <= console_width:
        return widths[0]
    return min(range(widths[0], min(widths[0], SHORTEST_NAME) - 1, -1), key=lines)


def column_blocks(widths: Sequence[int], console_width: int, names: int = 1) -> list[list[int]]:
    """The columns in as many blocks as the terminal needs, each with the names first.

    So no number is cut.
    """
    first = list(range(names))
    blocks = [[*first]]
    for j in range(names, len(widths)):
        wide = 1 + sum(widths[k] + GAP for k in (*blocks[-1], j)) > console_width
        if blocks[-1] != first and wide:
            blocks.append([*first])
        blocks[-1].append(j)
    return blocks


def _broken(name: str, width: int) -> str:
    """A name in lines of at most `width` characters, broken behind spaces, /, _ and -.

    A word longer than a line is broken where the line ends.
    """
    lines, line = [], ""
    for word in re.findall(r"[^ /_-]*[ /_-]+|[^ /_-]+", name):
        if line and cell_len((line + word).rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        line += word
    return "\n".join([*lines, line.rstrip()])
