"""How wide a text is in LaTeX, in its typographic points, without running LaTeX.

The widths are those of Computer Modern. Times, which most venues ask for, is narrower.
"""

from itertools import chain

SMALL, SCRIPT = 9.3, 8.0  # what 1000 units of the table are at \small and \scriptsize, in points
BOLD = 1.16
_BY_WIDTH = {
    278: "ijl.,:;!|'`[]/",
    333: "r()- ",
    392: "tsf°",
    444: "cezI*",
    528: "abdghknopquvxy0123456789J",
    681: 'EFPSTLBRZ#$&?"',
    778: "wACDGHKNOQUVXY+<=>~\N{MULTIPLICATION SIGN}\N{MINUS SIGN}±{}_\\",
    1028: "mMW@%…—",
}
WIDTHS = dict(chain.from_iterable(((c, width) for c in text) for width, text in _BY_WIDTH.items()))
UNKNOWN = 1000  # Chinese, say


def text_points(text: str, points: float = SMALL, bold: bool = False) -> float:
    """The width of one line, at least."""
    units = sum(WIDTHS.get(c, UNKNOWN) for c in text)
    return units / 1000 * points * (BOLD if bold else 1)
