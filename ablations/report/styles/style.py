"""What figures are drawn with: the widths of a paper's columns, its fonts and their sizes.

A style is chosen once around a whole report, and each function that draws asks for it:

    with drawn_in(venue_style("icml2024")):
        report = load_report(study)
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any
from warnings import catch_warnings, filterwarnings

import matplotlib as mpl

# The columns of LaTeX's article with two columns: no figure at them is overfull.
COLUMN_INCHES, PAGE_INCHES = 3.17, 6.48
LEAST_POINTS = 6  # of any text
STYLE = {
    "font.family": ["DejaVu Sans"],
    "font.size": 8, "axes.labelsize": 8, "axes.titlesize": 8, "legend.fontsize": 7,
    "xtick.labelsize": 7.5, "ytick.labelsize": 7.5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7,
    "axes.grid": True, "grid.color": "#e6e6e6",
    "grid.linewidth": 0.5, "axes.axisbelow": True, "lines.linewidth": 1.3, "lines.markersize": 4,
    "legend.frameon": False,
    "pdf.fonttype": 42, "figure.dpi": 200, "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
    "text.parse_math": False,  # a label with a $ is drawn as it is typed
}  # fmt: skip


@dataclass(frozen=True)
class Style:
    """Widths in inches, equal where a page has one column; `rc` are settings of matplotlib.

    Without a venue, tables are also to fit the one column of LaTeX's article.
    """

    is_venue: bool = field(default=False, kw_only=True)
    column_inches: float = COLUMN_INCHES
    page_inches: float = PAGE_INCHES
    rc: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType(STYLE))


OWN = Style()
_current: ContextVar[Style] = ContextVar("style", default=OWN)


@contextmanager
def drawn_in(style: Style) -> Iterator[None]:
    """What is drawn within has this style."""
    token = _current.set(style)
    try:
        yield
    finally:
        _current.reset(token)


def current_style() -> Style:
    """The style of `drawn_in`, or our own."""
    return _current.get()


@contextmanager
def styled(changes: Mapping[str, Any] = MappingProxyType({})) -> Iterator[None]:
    """Matplotlib's settings of the current style, for a function that draws: `@styled()`.

    Letters that no font has are reported once, by `letters.py`, and not by each of the figures.
    """
    with mpl.rc_context({**current_style().rc, **changes}), catch_warnings():
        filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def with_families(style: Style, families: Sequence[str]) -> Style:
    """The style, with fonts for the letters that its own fonts lack."""
    if not families:
        return style
    rc = {**style.rc, "font.family": [*style.rc["font.family"], *families]}
    return replace(style, rc=rc)


def column_inches() -> float:
    """The width of a figure in one column."""
    return current_style().column_inches


def page_inches() -> float:
    """The width of a figure across the page."""
    return current_style().page_inches
