"""No two variants, folders or files of a study become one: they would be averaged as seeds.

Linux finds a folder by its bytes. Other systems do so without regard to case, or to how an accent
is composed. Names that differ in nothing else are refused, so that a study can be copied there.
"""

import unicodedata
from collections.abc import Iterable

from ablations.study.grid import Grid
from reformer_pl.config import ConfigError


def check_names(grids: Iterable[Grid]) -> None:
    """Raises ConfigError where two cells would share a folder, or two variants a row or a point."""
    grids = list(grids)
    check_folded("grids", [grid.name for grid in grids])
    labels: dict[tuple[str, ...], tuple[str, ...]] = {}
    for grid in grids:
        for cell in grid.cells:
            words = tuple(word for word in (grid.name, *cell.labels) if word)
            keys = {
                ("the same name", folded(cell.name)): cell.name,
                ("the same label", cell.train): cell.train,
                ("the same place", grid.name, *grid.place(cell)): " at ".join(grid.place(cell)),
            }
            for key, text in keys.items():
                others = labels.setdefault(key, words)
                if others != words:
                    what = "two cells have" if key[0] == "the same name" else "two variants have"
                    raise ConfigError(
                        f"{what} {key[0]}, {text}: {list(others)} and {list(words)}: "
                        "let labels and seeds differ in letters or digits"
                    )


def check_folded(what: str, names: Iterable[str]) -> None:
    """Raises ConfigError for names of files that differ in case or in composed accents alone."""
    before: dict[str, str] = {}
    for name in names:
        other = before.setdefault(folded(name), name)
        if other != name:
            raise ConfigError(
                f"the {what} {other} and {name} would share a file on many systems: "
                "let them differ in more than case"
            )


def folded(name: str) -> str:
    """As a file system sees a name that knows neither case nor composition."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
