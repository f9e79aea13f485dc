"""Which axis of a study is the colour, the marker and the panels of a figure.

A study says so in `figures:`, or the figure chooses: numbers are the colour, a second axis with few
choices is the marker, and what is left are panels.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ablations.study import Study
from ablations.study.axes.dimensions import Dimension, grid_dimensions, key_dimension, variants_in
from ablations.study.axes.figure_keys import NONE, FigureKeys

Kind = Literal["curves", "points", "lines"]  # lines: of a benchmark, never in panels
MOST_COLOURS = 7  # words that a colour tells apart
MOST_MARKERS = {"curves": 3, "points": 8, "lines": 8}  # choices that markers and dashes tell apart
MOST_LINES = {True: 20, False: 8}  # of a panel, where its colours are a scale, and where not


@dataclass(frozen=True)
class Roles:
    """The dimension of each look; None where a figure does without."""

    colour: Dimension | None = None
    marker: Dimension | None = None
    facet: Dimension | None = None


def choose_roles(study: Study, keys: FigureKeys, kind: Kind) -> Roles:
    """Of a study with one grid, or of a folder of runs."""
    axes = grid_dimensions(study)
    chosen = {
        name: next((axis for axis in axes if axis.key == key), None) or key_dimension(study, key)
        for name, key in keys.of_axes().items()
        if key != NONE
    }
    unused = {name for name, key in keys.of_axes().items() if key == NONE}
    if kind == "lines":
        unused.add("facet")

    def left() -> list[Dimension]:
        return [axis for axis in axes if not _follows(axis, chosen.values())]

    if "colour" not in chosen and "colour" not in unused and left():
        chosen["colour"] = max(left(), key=_fit_for_colour)
    if "marker" not in chosen and "marker" not in unused and left():
        marker = _marker(left(), chosen, "facet" in chosen or "facet" in unused, kind)
        chosen |= {"marker": marker} if marker else {}
    asked = "facet" in chosen and unused & {"colour", "marker"}  # variants are to look alike
    if "facet" not in unused and not asked and left():
        own = [chosen["facet"]] if "facet" in chosen else []
        chosen["facet"] = joined([*own, *left()])
    return Roles(**chosen)


def _fit_for_colour(axis: Dimension) -> tuple[bool, bool, bool, int]:
    """Scales first, then names with numbers, then words that colours tell apart."""
    few = len(axis.order) <= MOST_COLOURS
    return axis.is_scale, bool(axis.numbers), few, len(axis.order) * (1 if few else -1)


def _marker(
    left: list[Dimension], chosen: dict[str, Dimension], no_panels: bool, kind: Kind
) -> Dimension | None:
    """What is left, as one marker, where no panels may show it; else the axis that suits best."""
    if no_panels:
        return joined(left)
    fits = [axis for axis in left if len(axis.order) <= MOST_MARKERS[kind]]
    if kind == "points":
        return max(fits, key=lambda axis: len(axis.order), default=None)
    colour = chosen.get("colour")
    room = MOST_LINES[colour.is_scale] / len(colour.order) if colour else MOST_LINES[False]
    fits = [axis for axis in fits if len(axis.order) <= room]
    return min(fits, key=lambda axis: len(axis.order), default=None)


def _follows(axis: Dimension, chosen: Iterable[Dimension]) -> bool:
    """Whether the dimensions chosen say which choice of an axis a variant has."""
    dimensions, seen = list(chosen), dict[tuple[str, ...], str]()
    for variant, choice in axis.choices.items():
        at = tuple(dimension.of(variant) for dimension in dimensions)
        if seen.setdefault(at, choice) != choice:
            return False
    return True


def joined(dimensions: list[Dimension]) -> Dimension:
    """Several dimensions as one, whose choices are theirs in a row."""
    if len(dimensions) == 1:
        return dimensions[0]
    choices = {
        v: " / ".join(d.label(d.choices[v]) for d in dimensions if v in d.choices)
        for v in variants_in(dimensions)
    }
    return Dimension(" and ".join(dimension.title for dimension in dimensions), choices)
