"""A table of a report as LaTeX for booktabs, in ASCII: in one column of a paper or on the page.

The type keeps its size. A table too wide for the page is broken into several, one below the other,
each with the labels of its rows.
"""

from itertools import pairwise
from pathlib import Path

from ablations.report.numbers import MISSING
from ablations.report.report import Report
from ablations.report.styles.style import current_style
from ablations.report.table import Entry, Formula, Row, Table, is_best, number_and_interval
from ablations.report.writers.latex_text import escape, latex_formula, signs
from ablations.report.writers.latex_widths import SCRIPT, text_points
from experiments.run_dir.durable import replace_text

INCH = 72.27  # typographic points of TeX
ONE_COLUMN = 345  # points of an article's one column: without a venue a table fits there, too
GAP = 8  # points between two columns of a table
WIDEST_LABEL = 0.4  # of the text's width: longer labels have several lines
LINE, INTERVAL_LINE, ROW_GAP = 11, 9, 4  # points: an interval stands nearer to its own row
PAGE_HEIGHT = 430  # points of tables in one float, which leaves room for the caption


def write_latex(report: Report, directory: Path) -> None:
    """<table>.tex."""
    for table in report.tables:
        text = latex(table, report.study.name)
        replace_text(directory / f"{table.name}.tex", text)


def latex(table: Table, study: str) -> str:
    """A table environment with booktabs rules, every text escaped; `table*` where it is too wide
    for one of two columns of text. What is too long for a page goes on in a second float.

    A text with letters that LaTeX may not know (Chinese, emoji) keeps them, and the first line says
    so. `study` is the study's name, for the label.
    """
    column, page = text_widths()
    widths = column_widths(table, WIDEST_LABEL * page)
    star = "*" if column < total_width(widths) and column < page else ""
    limit = page if column < total_width(widths) else column
    pieces = [
        (rows, columns)
        for columns in column_blocks(widths, limit)
        for rows in row_blocks(table, widths[0])
    ]
    label = "".join(c if c.isascii() and c.isalnum() else "-" for c in f"{study}-{table.name}")
    lines = []
    for i, group in enumerate(floats(table, pieces, widths[0])):
        lines += [
            rf"\begin{{table{star}}}[t]",
            r"  \centering",
            r"  \small",
            r"  \setlength{\tabcolsep}{4pt}",
        ]
        if i == 0:
            lines += [rf"  \caption{{{escape(table.caption)}}}", rf"  \label{{tab:{label}}}"]
        else:
            lines += [r"  \addtocounter{table}{-1}", r"  \caption{(continued)}"]
        lines.append(r"  \smallskip")
        for j, (rows, columns) in enumerate(group):
            lines += [r"", r"  \medskip"] if j else []
            lines += _tabular(table, rows, columns, widths)
        lines += [rf"\end{{table{star}}}", ""]
    strange = sorted({c for line in lines for c in line if not c.isascii()})
    font = f"; for XeLaTeX or LuaLaTeX with a font that has {' '.join(strange)}" if strange else ""
    return "\n".join([rf"% \usepackage{{booktabs}}{font}", *lines])


def text_widths() -> tuple[float, float]:
    """Points of one column of text and of the page, which are equal where there is one column."""
    style = current_style()
    page = INCH * style.page_inches if style.is_venue else ONE_COLUMN
    return INCH * style.column_inches, page


def column_widths(table: Table, widest_label: float) -> list[float]:
    """Points of each column, the labels first, which are broken into lines where they are wider."""
    labels = [table.header[0], *(row.label for row in table.rows)]
    widths = [min(widest_label, max(map(text_points, labels)))]
    for j, name in enumerate(table.header[1:]):
        entries = [row.entries[j] for row in table.rows]
        widest = max(map(entry_points, entries), default=0)
        words = max((text_points(word) for word in name.split()), default=0)
        widths.append(max(widest, words))
    return widths


def entry_points(entry: Entry) -> float:
    """Points of a cell, whose interval stands below the number in smaller type."""
    value, interval = number_and_interval(entry)
    return max(text_points(value, bold=is_best(entry)), text_points(interval, SCRIPT))


def total_width(widths: list[float]) -> float:
    """Points of a table with columns of these widths."""
    return sum(widths) + GAP * len(widths)


def column_blocks(widths: list[float], limit: float) -> list[list[int]]:
    """The columns without the labels, in as few blocks as fit below each other, of even widths."""
    columns = list(range(1, len(widths)))
    for n_blocks in range(1, len(columns) + 1):
        ends = [round(i * len(columns) / n_blocks) for i in range(n_blocks + 1)]
        blocks = [columns[start:end] for start, end in pairwise(ends)]
        if all(total_width([widths[0], *(widths[j] for j in b)]) <= limit for b in blocks):
            return blocks
    return [[j] for j in columns]


def row_blocks(table: Table, label_points: float) -> list[list[Row]]:
    """The rows in as many blocks as pages that they need."""
    blocks: list[list[Row]] = [[]]
    for row in table.rows:
        if blocks[-1] and rows_height([*blocks[-1], row], label_points) > PAGE_HEIGHT:
            blocks.append([])
        blocks[-1].append(row)
    return blocks


def floats(
    table: Table, pieces: list[tuple[list[Row], list[int]]], label_points: float
) -> list[list[tuple[list[Row], list[int]]]]:
    """The pieces of a table that stand below each other in one float."""
    groups: list[list[tuple[list[Row], list[int]]]] = [[]]
    height = 0.0
    for rows, columns in pieces:
        needed = rows_height(rows, label_points) + 4 * LINE
        if groups[-1] and height + needed > PAGE_HEIGHT:
            groups.append([])
            height = 0
        groups[-1].append((rows, columns))
        height += needed
    return groups


def rows_height(rows: list[Row], label_points: float) -> float:
    """Points of some rows below each other."""
    return sum(
        LINE * max(1, -(-text_points(row.label) // label_points))
        + ((INTERVAL_LINE + ROW_GAP) if has_interval(row) else 0)
        for row in rows
    )


def has_interval(row: Row) -> bool:
    """Whether any number of the row has an interval."""
    return any(number_and_interval(entry)[1] for entry in row.entries)


def _tabular(table: Table, rows: list[Row], columns: list[int], widths: list[float]) -> list[str]:
    """The rows with the labels and these columns."""
    labels = [table.header[0], *(row.label for row in table.rows)]
    is_broken = max(map(text_points, labels)) > widths[0]
    left = rf"p{{{widths[0]:.0f}pt}}" if is_broken else "l"
    header = [latex_header(table.header[0], widths[0], 0)]
    header += [latex_header(table.header[j], widths[j], j) for j in columns]
    lines = [
        rf"  \begin{{tabular}}{{{left}{'r' * len(columns)}}}",
        r"    \toprule",
        "    " + " & ".join(header) + r" \\",
        r"    \midrule",
    ]
    for i, row in enumerate(rows):
        label = broken_label(row.label, widths[0]) if is_broken else latex_label(row.label)
        texts = [label, *(latex_entry(row.entries[j - 1]) for j in columns)]
        lines.append("    " + " & ".join(texts) + r" \\")
        if has_interval(row) and i + 1 < len(rows):
            lines.append(rf"    \addlinespace[{ROW_GAP}pt]")
    return [*lines, r"    \bottomrule", r"  \end{tabular}"]


def latex_label(text: str) -> str:
    """The first cell of a row, which must not look like an argument of the line's end before it."""
    return ("{}" if text.startswith(("[", "*")) else "") + escape(text)


def broken_label(text: str, points: float) -> str:
    """A label in several lines, in which a word that is wider than a line is broken at any letter.

    The points are those of a line.
    """
    words = [
        escape(word)
        if text_points(word) <= points
        else r"\allowbreak{}".join(escape(letter) for letter in word)
        for word in text.split(" ")
    ]
    return r"\raggedright{}" + " ".join(words)


def latex_entry(entry: Entry) -> str:
    """A number, bold where it is the best, its minus a minus; its interval in small print right
    below it, for a column of a paper is narrow.
    """
    value, interval = number_and_interval(entry)
    if value == MISSING:
        return "--"
    if isinstance(entry, Formula):
        return latex_formula(entry.text)
    value = rf"\textbf{{{signs(value)}}}" if is_best(entry) else signs(value)
    if not interval:
        return value
    below = rf"{{\scriptsize {signs(interval)}}}"
    return rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{value}\\[-2pt]{below}\end{{tabular}}"


def latex_header(name: str, points: float, column: int) -> str:
    """A column's name in lines of at most so many points; of the labels in one line."""
    lines: list[str] = []
    for word in name.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and (column == 0 or text_points(joined) <= points):
            lines[-1] = joined
        else:
            lines.append(word)
    text = r"\\".join(map(escape, lines))
    return rf"\begin{{tabular}}[b]{{@{{}}r@{{}}}}{text}\end{{tabular}}" if len(lines) > 1 else text
