"""Direct labels for the points of a scatter plot: each beside its point, over no other label,
point, line or border.
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ablations.report.drawing.belongs import belongs

Point = tuple[float, float]
INK = "#222222"
DISTANCES = (5, 7, 9, 12, 16, 20, 25, 31, 38, 47, 58)  # typographic points from the point's centre
ANGLES = np.arange(0, 360, 15)
LEADER_FROM = 12  # a label this far away (typographic points) gets a line to its point
SWEEPS = 6  # times each label may move again, once all the others have a place


def label_points(
    figure: Figure,
    axes: Axes,
    points: dict[str, Point],
    segments: Iterable[tuple[Point, Point]] = (),
    size: float = 7.5,
    labels: Mapping[str, str] | None = None,
) -> None:
    """Write each key of `points` beside its point: of the places tried, the one that covers least,
    then the nearest.

    With `labels`, the texts of some of the points are written, and the others are kept clear.
    `segments` are lines from one corner to the other, kept clear too. All coordinates are data.
    """
    labels = {name: name for name in points} if labels is None else labels
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    figure.set_layout_engine(
        "none"
    )  # the layout is settled: what is measured now is what will be drawn
    renderer, pixel = canvas.get_renderer(), figure.dpi / 72
    border = axes.get_window_extent(renderer).padded(-2 * pixel).extents
    centres = {name: axes.transData.transform(point) for name, point in points.items()}
    taken = [np.r_[centre - 4 * pixel, centre + 4 * pixel] for centre in centres.values()]
    for ends in segments:
        corners = axes.transData.transform(ends)
        taken.append(np.r_[corners.min(axis=0) - pixel, corners.max(axis=0) + pixel])

    style = {
        "textcoords": "offset points",
        "ha": "left",
        "va": "bottom",
        "fontsize": size,
        "color": INK,
        "zorder": 30,
    }
    gids = {name: belongs(name, linked=False) for name in labels}
    texts = {
        name: axes.annotate(label, points[name], xytext=(0, 0), gid=gids[name], **style)
        for name, label in labels.items()
    }
    drawn = {name: text.get_window_extent(renderer) for name, text in texts.items()}
    places = {
        name: _places(centres[name], np.array([box.width, box.height]), pixel)
        for name, box in drawn.items()
    }
    chosen: dict[str, int] = {}
    for _ in range(SWEEPS):
        for name in texts:
            others = [places[other][place] for other, place in chosen.items() if other != name]
            chosen[name] = int(
                np.argmin(
                    5 * _covered(places[name], taken + others, border) / pixel**2 + _distances()
                )
            )
    for name, text in texts.items():
        box, distance, angle = (
            places[name][chosen[name]],
            _distances()[chosen[name]],
            math.radians(ANGLES[chosen[name] % len(ANGLES)]),
        )
        text.set_position((box[:2] - centres[name]) / pixel)
        if distance > LEADER_FROM:
            end = (distance * math.cos(angle), distance * math.sin(angle))
            line = {"arrowstyle": "-", "color": INK, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
            axes.annotate(
                "",
                points[name],
                xytext=end,
                textcoords="offset points",
                arrowprops={**line, "gid": gids[name]},
                zorder=2,
            )


def _distances() -> np.ndarray:
    """The distance of each place, in typographic points, in the order of `_places`."""
    return np.repeat(DISTANCES, len(ANGLES))


def _places(centre: np.ndarray, extent: np.ndarray, pixel: float) -> np.ndarray:
    """(places, 4): the boxes x0, y0, x1, y1, in pixels, whose near side touches a circle around the
    point, for every circle and angle.
    """
    turn = np.radians(np.tile(ANGLES, len(DISTANCES)))
    direction = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    corner = centre + direction * _distances()[:, None] * pixel - extent * (1 - direction) / 2
    return np.hstack([corner, corner + extent])


def _covered(boxes: np.ndarray, taken: list[np.ndarray], border: np.ndarray) -> np.ndarray:
    """Square pixels of each box that lie over what is taken or beyond the border."""
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return area - _overlap(boxes, border) + sum(_overlap(boxes, other) for other in taken)


def _overlap(boxes: np.ndarray, other: np.ndarray) -> np.ndarray:
    sides = np.minimum(boxes[:, 2:], other[2:]) - np.maximum(boxes[:, :2], other[:2])
    return np.prod(np.clip(sides, 0, None), axis=1)
