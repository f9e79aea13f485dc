"""What the page's script needs to draw a matplotlib figure again: of each panel its box, scales and
limits, and of each artist how it follows the axes.

matplotlib writes an artist's `gid` as the id of its group. While the SVG is written, each artist
carries its number there.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import Collection, PathCollection, QuadMesh
from matplotlib.lines import Line2D
from matplotlib.text import Annotation, Text
from matplotlib.ticker import FixedLocator

from ablations.report.drawing.figure import Drawing

SCALES = ("linear", "log")


@dataclass(frozen=True)
class Drawn:
    """One artist: whose cells it shows (`drawing.belongs`), and how it follows its panel's axes."""

    panel: int
    labels: tuple[str, ...]
    linked: bool
    moves: str  # the axes that it follows: "xy", "x", "y" or none
    at: tuple[float, float] | None = None  # of a text: the point that it is written beside
    points: np.ndarray | None = None  # (n, 2) of a line, in the units of the axes
    is_area: bool = False  # its outlines are drawn where they stand, not as markers


def numbered_svg(drawing: Drawing) -> tuple[str, dict[str, Drawn], list[dict[str, Any]]]:
    """(the figure's SVG; its artists by the id of their group; its panels).

    The group of the n-th panel has the id "panel-n".
    """
    panels = _panels(drawing)
    drawn: dict[str, Drawn] = {}
    with _restored_gids() as rename:
        for number, axes in enumerate(panels):
            rename(axes, f"panel-{number}")
            for axis in (axes.xaxis, axes.yaxis):
                rename(axis.offsetText, "offset")
            for artist in _artists(axes):
                labels, linked = _owner(artist)
                name = f"artist-{len(drawn)}"
                drawn[name] = _drawn(artist, axes, number, labels, linked)
                rename(artist, name)
                if isinstance(artist, Annotation) and artist.arrow_patch is not None:
                    name = f"artist-{len(drawn)}"
                    labels, linked = _owner(artist.arrow_patch)
                    drawn[name] = _drawn(artist, axes, number, labels, linked)
                    rename(artist.arrow_patch, name)
        svg = drawing.svg()
    return svg, drawn, [_facts(axes, panels, drawn) for axes in panels]


@contextmanager
def _restored_gids() -> Iterator[Any]:
    before: list[tuple[Artist, str | None]] = []

    def rename(artist: Artist, gid: str) -> None:
        before.append((artist, artist.get_gid()))
        artist.set_gid(gid)

    try:
        yield rename
    finally:
        for artist, gid in before:
            artist.set_gid(gid)


def _panels(drawing: Drawing) -> list[Axes]:
    """Every axes of the figure, those within another too."""
    panels: list[Axes] = []
    for axes in drawing.figure.axes:
        panels += [axes, *(child for child in axes.child_axes if child not in panels)]
    return panels


def _artists(axes: Axes) -> list[Artist]:
    return [*axes.lines, *axes.collections, *axes.patches, *axes.texts]


def _owner(artist: Artist) -> tuple[tuple[str, ...], bool]:
    gid = artist.get_gid()
    if not gid or not gid.startswith("{"):
        return (), False
    values = json.loads(gid)
    return tuple(values["labels"]), values["linked"]


def _drawn(artist: Artist, axes: Axes, panel: int, labels: tuple[str, ...], linked: bool) -> Drawn:
    moves, at, points = _moves(artist, axes), None, None
    if isinstance(artist, Text):
        at = _anchor(artist, axes) if moves else None
    elif isinstance(artist, Line2D) and moves == "xy":
        points = np.column_stack([artist.get_xdata(orig=False), artist.get_ydata(orig=False)])
    elif isinstance(artist, PathCollection) and moves == "xy":
        points = np.asarray(artist.get_offsets(), dtype=float)
    is_area = isinstance(artist, Collection) and not isinstance(artist, PathCollection)
    return Drawn(panel, labels, linked, moves, at, points, is_area)


def _moves(artist: Artist, axes: Axes) -> str:
    if isinstance(artist, Annotation):
        return "xy" if artist.xycoords == "data" else ""
    transform = artist.get_transform()
    if isinstance(artist, PathCollection):
        transform = artist.get_offset_transform()
    follows = transform.contains_branch_seperately(axes.transData)
    moves = "".join(name for name, yes in zip("xy", follows, strict=True) if yes)
    return moves if moves == "xy" or not isinstance(artist, Text) else ""


def _anchor(text: Text, axes: Axes) -> tuple[float, float]:
    x, y = text.xy if isinstance(text, Annotation) else text.get_position()
    return float(axes.convert_xunits(x)), float(axes.convert_yunits(y))


def _facts(axes: Axes, panels: list[Axes], drawn: dict[str, Drawn]) -> dict[str, Any]:
    """`box` is left, top, right, bottom in the SVG's points; `moves` is whether the script may
    change the limits: not those of a heat map or a colour bar.
    """
    number = panels.index(axes)
    width, height = 72 * axes.figure.get_size_inches()
    place = axes.get_position()
    box = [place.x0 * width, (1 - place.y1) * height, place.x1 * width, (1 - place.y0) * height]
    shared = {
        name: min(panels.index(other) for other in group.get_siblings(axes) if other in panels)
        for name, group in (
            ("x", axes.get_shared_x_axes()),
            ("y", axes.get_shared_y_axes()),
        )
    }
    still = bool(axes.images) or any(isinstance(c, QuadMesh) for c in axes.collections)
    still = still or hasattr(axes, "_colorbar")
    scaled = axes.get_xscale() in SCALES and axes.get_yscale() in SCALES
    moving = any(one.panel == number and one.moves == "xy" for one in drawn.values())
    return {
        "box": [round(value, 3) for value in box],
        "moves": scaled and moving and not still,
        "x": _axis(axes.xaxis, axes.get_xscale(), axes.get_xlim()) | {"shared": shared["x"]},
        "y": _axis(axes.yaxis, axes.get_yscale(), axes.get_ylim()) | {"shared": shared["y"]},
    }


def _axis(axis: Axis, scale: str, limits: tuple[float, float]) -> dict[str, Any]:
    """Ticks that the figure fixes keep their labels; others the script may choose anew."""
    low, high = map(float, limits)
    facts = {"scale": scale, "from": low, "to": high, "label": axis.get_label_text()}
    if isinstance(axis.get_major_locator(), FixedLocator):
        texts = (tick.get_text() for tick in axis.get_ticklabels())
        facts["ticks"] = [
            [float(place), text]
            for place, text in zip(axis.get_majorticklocs(), texts, strict=False)
        ]
    return facts
