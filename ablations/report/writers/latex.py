"""A table of a report as LaTeX for booktabs, in ASCII: one column of a paper, or both where it needs them, never wider than either."""

import re
import textwrap
import unicodedata

from ablations.report.table import MISSING, Table
from ablations.study import Study

PACKAGES = "booktabs, graphicx"
SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''",
    "\N{LEFT SINGLE QUOTATION MARK}": "`", "\N{RIGHT SINGLE QUOTATION MARK}": "'", "“": "``", "”": "''", "…": r"\ldots{}",
    "\N{EN DASH}": "--", "—": "---", "\N{NO-BREAK SPACE}": "~", "\N{MINUS SIGN}": "$-$", "\N{MULTIPLICATION SIGN}": r"$\times$",
    "±": r"$\pm$", "·": r"$\cdot$", "°": r"$^\circ$", "²": "$^2$", "³": "$^3$", "µ": r"$\mu$", "≤": r"$\le$", "≥": r"$\ge$", "≠": r"$\ne$",
    "≈": r"$\approx$", "∞": r"$\infty$", "√": r"$\surd$", "∈": r"$\in$", "←": r"$\leftarrow$", "→": r"$\to$", "↑": r"$\uparrow$",
    "↓": r"$\downarrow$", "ß": r"{\ss}", "æ": r"{\ae}", "ø": r"{\o}", "ł": r"{\l}",
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
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lamda", "mu", "nu", "xi", "pi", "rho", "sigma",
    "tau", "upsilon", "phi", "chi", "psi", "omega",
)  # fmt: skip
SYMBOL = re.compile(r"(?<![\w.])([nd])_(h|k|r|c|l|ff|model)(?![\w.=])")  # of the paper
FORMULAE = ("memory, paper", "time, paper")
COLUMN_POINTS = 230  # of a two-column article
LETTER_POINTS, GAP_POINTS = 4.5, 8  # of \small type, and between two columns of the table


def latex(table: Table, study: Study) -> str:
    """A table environment with booktabs rules, every text escaped; `table*` where it is too wide for one of two columns of text.

    It shrinks to the width it has. A text with letters that LaTeX may not know (Chinese, emoji) keeps them, and the first line says so.
    """
    rows = [
        " & ".join(
            _cell(table.header[j], text, (i, j) in table.best) if j else latex_label(text)
            for j, text in enumerate(row)
        )
        + r" \\"
        for i, row in enumerate(table.rows)
    ]
    header = [
        latex_header(name, [row[j] for row in table.rows], j) for j, name in enumerate(table.header)
    ]
    label = "".join(c if c.isascii() and c.isalnum() else "-" for c in f"{study.name}-{table.name}")
    environment = "table*" if width_points(table) > COLUMN_POINTS else "table"
    lines = [
        rf"\begin{{{environment}}}[t]", r"  \centering", r"  \small", r"  \setlength{\tabcolsep}{4pt}",
        rf"  \caption{{{escape(table.caption)}}}", rf"  \label{{tab:{label}}}", r"  \smallskip",
        r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"  \begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}", r"    \toprule", "    " + " & ".join(header) + r" \\", r"    \midrule",
        *(f"    {row}" for row in rows), r"    \bottomrule", r"  \end{tabular}}", rf"\end{{{environment}}}", "",
    ]  # fmt: skip
    strange = sorted({c for line in lines for c in line if not c.isascii()})
    said = f"; for XeLaTeX or LuaLaTeX with a font that has {' '.join(strange)}" if strange else ""
    return "\n".join([rf"% \usepackage{{{PACKAGES}}}{said}", *lines])


def latex_label(text: str) -> str:
    """The first cell of a row, which must not look like an argument of the line's end before it."""
    return ("{}" if text.startswith(("[", "*")) else "") + escape(text)


def latex_cell(text: str, best: bool) -> str:
    """A number, bold where it is the best, its minus a minus; its interval in small print below it, for a column of a paper is narrow."""
    if text == MISSING:
        return "--"
    value, interval, rest = text.partition(" [")
    value = rf"\textbf{{{_signs(value)}}}" if best else _signs(value)
    return (
        rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{value}\\{{\scriptsize [{_signs(rest)}}}\end{{tabular}}"
        if interval
        else value
    )


def latex_formula(text: str) -> str:
    """ "max(b l d_k, b n_h l^2)" as mathematics; what is no formula, as text."""
    plain = text.replace("²", "^2")
    if not re.fullmatch(r"[a-z\d_ ()+/,.^-]+", plain) or text == MISSING:
        return latex_cell(text, best=False)
    indexed = re.sub(r"_([a-z]+)", r"_{\\mathrm{\1}}", plain).replace("max(", r"\max(")
    return "$" + re.sub(r"(?<=[^+, ]) (?=[^+ ])", r"\\,", indexed) + "$"


def latex_header(name: str, values: list[str], column: int) -> str:
    """A column's name, in as many lines as keep it as narrow as its values."""
    widest = max(map(_length, [*name.split(), *values]), default=0)
    lines = [name] if column == 0 else textwrap.wrap(name, widest, break_on_hyphens=False)
    said = r"\\".join(map(escape, lines))
    return rf"\begin{{tabular}}[b]{{@{{}}r@{{}}}}{said}\end{{tabular}}" if len(lines) > 1 else said


def width_points(table: Table) -> float:
    """About how wide the table would be by nature, in typographic points."""
    widths = []
    for j, name in enumerate(table.header):
        words = [name] if j == 0 else name.split()
        widths.append(max([*map(len, words), *(_length(row[j]) for row in table.rows)]))
    return LETTER_POINTS * sum(widths) + GAP_POINTS * len(widths)


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


def _cell(header: str, text: str, best: bool) -> str:
    return latex_formula(text) if header in FORMULAE else latex_cell(text, best)


def _signs(text: str) -> str:
    """Escaped, with a minus before a negative number and a dash between two numbers."""
    return re.sub(r"(?<=\d)-(?=\d)", "--", re.sub(r"(?<![\w.)-])-(?=[\d.])", "$-$", escape(text)))


def _length(text: str) -> int:
    """Letters in a line of a cell; the interval below it is in smaller type."""
    value, interval, rest = text.partition(" [")
    return max(len(value), round(0.75 * (len(rest) + 1)) if interval else 0)
