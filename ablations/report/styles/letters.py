"""Fonts for the letters of a study's labels: any letter that an installed font has is drawn."""

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain

from matplotlib.font_manager import FontEntry, fontManager, get_font

from ablations.report.styles.style import Style, with_families
from ablations.study import Study

# Debian's packages of fonts, by the first and the last letter of a script.
PACKAGES = {
    ("\u1100", "\u11ff"): "fonts-noto-cjk",
    ("\u2e80", "\u9fff"): "fonts-noto-cjk",
    ("\uac00", "\ud7ff"): "fonts-noto-cjk",
    ("\uf900", "\uffef"): "fonts-noto-cjk",
    ("\U0001f000", "\U0001ffff"): "fonts-symbola",
    ("\U00020000", "\U0003ffff"): "fonts-noto-cjk",
}
OTHERS = "fonts-noto-core"


def with_letters(style: Style, study: Study) -> tuple[Style, tuple[str, ...]]:
    """The style with a font for each letter of the study's labels that its own fonts lack.

    Letters that no font has are a line of warning, which names the package to install.
    """
    labels = chain(
        chain.from_iterable((cell.train, *cell.labels) for cell in study.cells),
        study.evaluations,
        (grid.name for grid in study.grids),
    )
    added, missing = fallback_families(labels, style.rc["font.family"])
    warnings = ()
    if missing:
        packages = sorted({package_of(letter) for letter in missing})
        warnings = (
            f"no installed font has the letters {''.join(missing)}, which figures show as boxes: "
            f"install {' and '.join(packages)} (on Debian, as root: apt-get install "
            f"{' '.join(packages)})",
        )
    return with_families(style, added), warnings


def fallback_families(
    texts: Iterable[str], families: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(the families that add what the first ones lack, the letters that no installed font has)."""
    missing = {letter for text in texts for letter in text if letter.isprintable()} - {" "}
    missing = {letter for letter in missing if not letter.isascii()}
    fonts = plain_fonts() if missing else {}
    for family in families:
        if family in fonts:
            missing -= letters_of(fonts[family].fname, missing)
    added: list[str] = []
    while missing:
        has = {name: letters_of(font.fname, missing) for name, font in fonts.items()}
        best = max(has, key=lambda name: len(has[name]))
        if not has[best]:
            break
        added.append(best)
        missing -= has[best]
    return tuple(added), tuple(sorted(missing))


def plain_fonts() -> dict[str, FontEntry]:
    """The upright font of each installed family; not Matplotlib's last resort, which has boxes."""
    entries = sorted(fontManager.ttflist, key=lambda font: (font.name, abs(_weight(font) - 400)))
    fonts: dict[str, FontEntry] = {}
    for font in entries:
        if font.style == "normal" and "Last Resort" not in font.name:
            fonts.setdefault(font.name, font)
    return fonts


def letters_of(path: str, letters: set[str]) -> set[str]:
    """Those of the letters that a font has."""
    covered = _codes(path)
    return {letter for letter in letters if ord(letter) in covered}


def package_of(letter: str) -> str:
    """The package of Debian whose font has the letter."""
    for (first, last), package in PACKAGES.items():
        if first <= letter <= last:
            return package
    return OTHERS


@cache
def _codes(path: str) -> frozenset[int]:
    return frozenset(get_font(path).get_charmap())


def _weight(font: FontEntry) -> int:
    return font.weight if isinstance(font.weight, int) else 400
