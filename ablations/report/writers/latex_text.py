"""Text as LaTeX prints it: every letter as it is typed, in ASCII but for those that LaTeX may not
know.
"""

import re
import unicodedata

SPECIAL = {
    "\0": "{}",  # between two hyphens, which would be a dash
    "`": r"\`{}",
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"$\mathdollar$", "#": r"\#",
    "_": r"\_",
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


def escape(text: str) -> str:
    """Text as LaTeX prints it, in ASCII but for letters that it may not know."""
    first, *rest = SYMBOL.split(text)
    symbols = zip(rest[::3], rest[1::3], rest[2::3], strict=True)
    return _letters(first) + "".join(
        rf"${letter}_{{\mathrm{{{index}}}}}$" + _letters(after) for letter, index, after in symbols
    )


def _letters(text: str) -> str:
    return "".join(map(_letter, text.replace("--", "-\0-").replace("--", "-\0-")))


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


def signs(text: str) -> str:
    """Escaped, with a minus before a negative number and a dash between two numbers."""
    return re.sub(r"(?<=\d)-(?=\d)", "--", re.sub(r"(?<![\w.)-])-(?=[\d.])", "$-$", escape(text)))


def latex_formula(text: str) -> str:
    """ "max(b l d_k, b n_h l^2)" as mathematics; what is no formula, as text."""
    plain = text.replace("²", "^2")
    if not re.fullmatch(r"[a-z\d_ ()+/,.^-]+", plain):
        return signs(text)
    indexed = re.sub(r"_([a-z]+)", r"_{\\mathrm{\1}}", plain).replace("max(", r"\max(")
    return "$" + re.sub(r"(?<=[^+, ]) (?=[^+ ])", r"\\,", indexed) + "$"
