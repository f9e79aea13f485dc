"""A table of a report as LaTeX for booktabs, in ASCII: one column of a paper, or both where it
needs them, never wider than either.
"""

import re
import textwrap
import unicodedata
from pathlib import Path

from ablations.report.numbers import MISSING
from ablations.report.report import Report
from ablations.report.table import Entry, Formula, Table, is_best, number_and_interval
from experiments.run_dir.durable import replace_text

PACKAGES = "booktabs, graphicx"
SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''",
    "\N{LEFT SINGLE QUOTATION MARK}": "`", "\N{RIGHT SINGLE QUOTATION MARK}": "'", "“": "``",
    "”": "''", "…": r"\ldots{}",
    "\N{EN DASH}": "--", "—": "---", "\N{NO-BREAK SPACE}": "~", "\N{MINUS SIGN}": "$-$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "±": r"$\pm$", "·": r"$\cdot$", "°": r"$^\circ$", "²": "$^2$", "³": "$^3$", "µ": r"$\mu$",
    "≤": r"$\le$", "≥": r"$\ge$", "≠": r"$\ne$",
    "≈": r"$\approx$", "∞": r"$\infty$", "√": r"$\surd$", "∈": r"$\in$", "←": r"$\leftarrow$",
    "→": r"$\to$", "↑": r"$\uparrow$",
    "↓": r"$\downarrow$", "†": r"$^\dagger$",
    "ß": r"{\ss}", "æ": r"{\ae}", "ø": r"{\o}", "ł": r"{\l}",
}  # fmt: skip
ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0308": '"',
    "\u0327": "c",
    "\u030a": "r",
    "\u030c": "v",
}
GREEK = (
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa",
    "lamda", "mu", "nu", "xi", "pi", "rho", "sigma",
    "tau", "upsilon", "phi", "chi", "psi", "omega",
)  # fmt: skip
SYMBOL = re.compile(r"(?<![\w.])([nd])_(h|k|r|c|l|ff|model)(?![\w.=])")  # of the paper
COLUMN_POINTS = 230  # of a two-column article
LETTER_POINTS, GAP_POINTS = 4.5, 8  # of \small type, and between two columns of the table


def write_latex(report: Report, directory: Path) -> None:
    """<table>.tex."""
    for table in report.tables:
        text = latex(table, report.study.name)
        replace_text(directory / f"{table.name}.tex", text)


def latex(table: Table, study: str) -> str:
    """A table environment with booktabs rules, every text escaped; `table*` where it is too wide
    for one of two columns of text.

    It shrinks to the width it has. A text with letters that LaTeX may not know (Chinese, emoji)
    keeps them, and the first line says so. `study` is the study's name, for the label.
    """
    rows = [
        " & ".join([latex_label(row.label), *map(latex_entry, row.entries)]) + r" \\"
        for row in table.rows
    ]
    widths = _letters_in_columns(table)
    header = [
        latex_header(name, width, j)
        for j, (name, width) in enumerate(zip(table.header, widths, strict=True))
    ]
    label = "".join(c if c.isascii() and c.isalnum() else "-" for c in f"{study}-{table.name}")
    environment = "table*" if width_points(table) > COLUMN_POINTS else "table"
    lines = [
        rf"\begin{{{environment}}}[t]",
        r"  \centering",
        r"  \small",
        r"  \setlength{\tabcolsep}{4pt}",
        rf"  \caption{{{escape(table.caption)}}}",
        rf"  \label{{tab:{label}}}",
        r"  \smallskip",
        r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"  \begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}",
        r"    \toprule",
        "    " + " & ".join(header) + r" \\",
        r"    \midrule",
        *(f"    {row}" for row in rows),
        r"    \bottomrule",
        r"  \end{tabular}}",
        rf"\end{{{environment}}}",
        "",
    ]
    strange = sorted({c for line in lines for c in line if not c.isascii()})
    font = f"; for XeLaTeX or LuaLaTeX with a font that has {' '.join(strange)}" if strange else ""
    return "\n".join([rf"% \usepackage{{{PACKAGES}}}{font}", *lines])


def latex_label(text: str) -> str:
    """The first cell of a row, which must not look like an argument of the line's end before it."""
    return ("{}" if text.startswith(("[", "*")) else "") + escape(text)


def latex_entry(entry: Entry) -> str:
    """A number, bold where it is the best, its minus a minus; its interval in small print below it,
    for a column of a paper is narrow.
    """
    value, interval = number_and_interval(entry)
    if value == MISSING:
        return "--"
    if isinstance(entry, Formula):
        return latex_formula(entry.text)
    value = rf"\textbf{{{_signs(value)}}}" if is_best(entry) else _signs(value)
    if not interval:
        return value
    below = rf"{{\scriptsize {_signs(interval)}}}"
    return rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{value}\\{below}\end{{tabular}}"


def latex_formula(text: str) -> str:
    """ "max(b l d_k, b n_h l^2)" as mathematics; what is no formula, as text."""
    plain = text.replace("²", "^2")
    if not re.fullmatch(r"[a-z\d_ ()+/,.^-]+", plain):
        return _signs(text)
    indexed = re.sub(r"_([a-z]+)", r"_{\\mathrm{\1}}", plain).replace("max(", r"\max(")
    return "$" + re.sub(r"(?<=[^+, ]) (?=[^+ ])", r"\\,", indexed) + "$"


def latex_header(name: str, widest_value: int, column: int) -> str:
    """A column's name, in as many lines as keep it as narrow as its values, whose letters are
    counted.
    """
    widest = max(map(len, name.split()), default=0)
    lines = [name]
    if column:
        lines = textwrap.wrap(name, max(widest, widest_value), break_on_hyphens=False)
    text = r"\\".join(map(escape, lines))
    return rf"\begin{{tabular}}[b]{{@{{}}r@{{}}}}{text}\end{{tabular}}" if len(lines) > 1 else text


def width_points(table: Table) -> float:
    """About how wide the table would be by nature, in typographic points."""
    widths = []
    for j, (name, width) in enumerate(zip(table.header, _letters_in_columns(table), strict=True)):
        words = [name] if j == 0 else name.split()
        widths.append(max([*map(len, words), width]))
    return LETTER_POINTS * sum(widths) + GAP_POINTS * len(widths)


def _letters_in_columns(table: Table) -> list[int]:
    """Letters in the widest line of each column's cells, without its header."""
    columns = zip(*(row.entries for row in table.rows), strict=True)
    labels = max((len(row.label) for row in table.rows), default=0)
    numbers = [max(map(_letters_in_line, column)) for column in columns]
    return [labels, *(numbers or [0] * (len(table.header) - 1))]


def escape(text: str) -> str:
    """Text as LaTeX prints it, in ASCII but for letters that it may not know."""
    first, *rest = SYMBOL.split(text)
    symbols = zip(rest[::3], rest[1::3], rest[2::3], strict=True)
    return _letters(first) + "".join(
        rf"${letter}_{{\mathrm{{{index}}}}}$" + _letters(after) for letter, index, after in symbols
    )


def _letters(text: str) -> str:
    return "".join(map(_letter, text))


def _letter(c: str) -> str:
    if c in SPECIAL or c.isascii():
        return SPECIAL.get(c, c)
    *kind, last = unicodedata.name(c, "unknown").lower().split()
    if kind == ["greek", "small", "letter"] and last in GREEK:
        return rf"$\{last.replace('lamda', 'lambda')}$"
    base, *marks = unicodedata.normalize("NFD", c)
    if len(marks) == 1 and base.isascii() and marks[0] in ACCENTS:
        return rf"\{ACCENTS[marks[0]]}{{{base}}}"
    return c


def _signs(text: str) -> str:
    """Escaped, with a minus before a negative number and a dash between two numbers."""
    return re.sub(r"(?<=\d)-(?=\d)", "--", re.sub(r"(?<![\w.)-])-(?=[\d.])", "$-$", escape(text)))


def _letters_in_line(entry: Entry) -> int:
    """Letters in the widest line of a cell; the interval below the number is in smaller type."""
    value, interval = number_and_interval(entry)
    return max(len(value), round(0.75 * len(interval)))
