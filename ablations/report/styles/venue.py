"""The styles of venues, from tueplots: `report --style icml2024`.

The widths are exact, and LaTeX takes no part: text stays text, and a label stays as it is typed.
"""

import re
from types import ModuleType
from typing import Any

from matplotlib.font_manager import fontManager

from ablations.report.styles.style import LEAST_POINTS, STYLE, Style
from reformer_pl.config import ConfigError

VENUE = re.compile(r"[a-z]+\d{4}")  # icml2024; other styles of tueplots are of slides and theses
SIZES = (
    "font.size",
    "axes.labelsize",
    "axes.titlesize",
    "legend.fontsize",
    "xtick.labelsize",
    "ytick.labelsize",
)
TIMES = ["Times New Roman", "Times", "TeX Gyre Termes", "Nimbus Roman"]
COMPUTER_MODERN = {
    "serif": ["CMU Serif", "Latin Modern Roman"],
    "sans-serif": ["CMU Sans Serif", "Latin Modern Sans"],
}
# Matplotlib brings both. STIX looks like Times.
ALWAYS_THERE = {"serif": ["STIXGeneral", "DejaVu Sans"], "sans-serif": ["DejaVu Sans"]}


def venue_names() -> list[str]:
    """The words of --style. Raises ConfigError where tueplots is not installed."""
    return [name for name in dir(_bundles()) if VENUE.fullmatch(name)]


def venue_style(name: str) -> Style:
    """A venue's style. Raises ConfigError for a name that is none."""
    names = venue_names()
    if name not in names:
        raise ConfigError(f"--style {name} is unknown: choose {', '.join(names)}")
    bundle = getattr(_bundles(), name)
    column = _settings(bundle)
    two_columns = "column" in bundle.__kwdefaults__
    page = _settings(bundle, column="full") if two_columns else column
    sizes = {key: max(LEAST_POINTS, column[key]) for key in SIZES}
    rc = {**STYLE, **sizes, "font.family": _families(column)}
    return Style(column["figure.figsize"][0], page["figure.figsize"][0], rc, is_venue=True)


def _bundles() -> ModuleType:
    try:
        from tueplots import bundles
    except ModuleNotFoundError as error:
        raise ConfigError("--style needs tueplots: pip install -e '.[style]'") from error
    return bundles


def _settings(bundle: Any, **column: str) -> dict[str, Any]:
    with_tex = {"usetex": False} if "usetex" in bundle.__kwdefaults__ else {}
    return bundle(**with_tex, **column)


def _families(settings: dict[str, Any]) -> list[str]:
    """Those installed of the fonts that look like the venue's, the best first."""
    kind = settings["font.family"]
    wanted = settings.get(f"font.{kind}", COMPUTER_MODERN[kind])
    if "times" in settings.get("text.latex.preamble", ""):
        wanted = TIMES
    installed = {font.name for font in fontManager.ttflist}
    return [name for name in (*wanted, *ALWAYS_THERE[kind]) if name in installed]
