"""A figure's SVG made fit for an HTML page: no address, ids of its own, text that can be found, and
every point a link to the cells it was drawn from.

An artist's gid tells whose cells it shows: `ablations.report.drawing.belongs`. The groups of
artists and panels say what the page's script needs (`panels`): data-panel, data-moves, data-at.
"""

import json
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np

from ablations.report.drawing.figure import Drawing
from ablations.report.writers.page.panels import Drawn, numbered_svg

# Typographic points around a marker's centre that can be clicked, if no other marker is near: it is
# small for a finger.
HIT_RADIUS = 6
# Corners of all the lines of a figure: more make a page slow, and no screen shows them.
MOST_CORNERS = 12_000
FEWEST = 40  # of one line, however many there are
FAR = 1e5  # typographic points: beyond every page, and still a number that browsers draw
HREF = "{http://www.w3.org/1999/xlink}href"


class Target(NamedTuple):
    """Where a label's cells stand on the page: the id of their entry, and the number of their
    variant.
    """

    id: str
    variant: int


class InlineSvg(NamedTuple):
    text: str
    most: int | None  # points of a line that are drawn, where that is not all of them


def inline_svg(drawing: Drawing, reader_label: str, target: Callable[[str], Target]) -> InlineSvg:
    """The figure for a page in which no other one has its name; a screen reader reads
    `reader_label`.

    Points become `<a class="point" href="#id">` with their label and values as the title, and what
    belongs to variants has their numbers in data-variants. Of several points with one target the
    first alone is a stop of the Tab key.
    """
    svg, artists, panels = numbered_svg(drawing)
    root = ElementTree.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    _plain_names(root)
    n_lines = sum(a.points is not None and len(a.points) > FEWEST for a in artists.values())
    most = max(FEWEST, MOST_CORNERS // max(1, n_lines))
    thinned = False
    reached: set[str] = set()
    for group in list(root.iter("g")):
        gid = group.get("id", "")
        if gid in artists:
            drawn = artists[gid]
            thinned |= _place(group, drawn, panels[drawn.panel], most)
            if drawn.labels:
                values = _values(drawn, panels[drawn.panel])
                _mark(group, target, reached, drawn.labels, drawn.linked, values)
        elif gid.startswith("{"):
            _mark(group, target, reached, **json.loads(gid), values=[])
        else:
            _mark_part(group, gid)
    _keep_apart(
        [
            (link, hit)
            for link in root.iter("a")
            if link.get("class") == "point"
            for hit in link.iter("circle")
        ]
    )
    _tidy(root, drawing.name)
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    facts = json.dumps(panels, separators=(",", ":"))
    root.attrib |= {"class": "plot", "role": "group", "aria-label": reader_label}
    root.set("data-panels", facts)
    return InlineSvg(ElementTree.tostring(root, encoding="unicode"), most if thinned else None)


def _plain_names(root: Element) -> None:
    """Tags and links without namespaces."""
    for element in root.iter():
        element.tag = element.tag.rsplit("}", 1)[-1]
        if HREF in element.attrib:
            element.set("href", element.attrib.pop(HREF))


def _mark_part(group: Element, gid: str) -> None:
    """The parts of a panel and the legend, which the script changes."""
    if match := re.fullmatch(r"panel-(\d+)", gid):
        group.set("data-panel", match[1])
    elif match := re.fullmatch(r"([xy])tick_\d+", gid):
        group.set("class", f"tick {match[1]}")
    elif gid == "offset":
        group.set("class", "offset")
    elif gid.startswith("legend"):
        group.set("class", "legend")


def _place(group: Element, drawn: Drawn, panel: dict[str, Any], most: int) -> bool:
    """Say how the artist follows the axes, and draw its line through all its points or, where they
    are more than `most`, through those. Returns whether some are left out.
    """
    if drawn.moves and panel["moves"]:
        group.set("data-moves", drawn.moves)
        if drawn.at is not None:
            group.set("data-at", ",".join(f"{value:.9g}" for value in drawn.at))
    if drawn.is_area:
        _outlines(group)
    thinned = False
    if drawn.points is not None and len(drawn.points) > 2 and panel["moves"]:
        path = group.find("path")
        if path is not None:
            corners = _thin(_to_page(drawn.points, panel), most)
            thinned = len(corners) < len(drawn.points)
            path.set("d", _line(corners))
    elif drawn.is_area and drawn.moves == "xy":
        for path in group.iter("path"):
            thinned |= _thin_outline(path, most)
    return thinned


def _outlines(group: Element) -> None:
    """matplotlib draws an area once below <defs> and uses it where it stands: draw it there."""
    shapes = {path.get("id"): path for defs in group.iter("defs") for path in defs}
    for parent in list(group.iter()):
        for i, use in enumerate(list(parent)):
            shape = shapes.get(use.get("href", "")[1:]) if use.tag == "use" else None
            if shape is None:
                continue
            by = np.array([float(use.get("x", 0)), float(use.get("y", 0))])
            style = "; ".join(filter(None, (shape.get("style"), use.get("style"))))
            parent[i] = Element("path", {"d": _moved(shape.get("d", ""), by), "style": style})
    for defs in group.findall("defs"):
        group.remove(defs)


def _moved(d: str, by: np.ndarray) -> str:
    """The outline, moved; all its commands are absolute."""
    numbers = iter(range(10**9))
    return re.sub(
        r"-?\d+(\.\d+)?(e-?\d+)?", lambda m: f"{float(m[0]) + by[next(numbers) % 2]:.3f}", d
    )


def _thin_outline(path: Element, most: int) -> bool:
    """An area between two lines keeps the corners that `_thin` keeps of the lines."""
    d = path.get("d", "")
    if re.search("[CQ]", d):
        return False
    corners = np.array(re.findall(r"(-?[\d.]+(?:e-?\d+)?)\s+(-?[\d.]+(?:e-?\d+)?)", d), dtype=float)
    kept = _thin(corners, most)
    if len(kept) == len(corners):
        return False
    path.set("d", _line(kept) + " z")
    return True


def _thin(corners: np.ndarray, most: int) -> np.ndarray:
    """At most so many different x, evenly chosen, the first and last among them."""
    places = np.unique(corners[:, 0][~np.isnan(corners[:, 0])])
    if len(places) <= most:
        return corners
    kept = places[np.unique(np.linspace(0, len(places) - 1, most).round().astype(int))]
    return corners[np.isin(corners[:, 0], kept) | np.isnan(corners).any(axis=1)]


def _to_page(points: np.ndarray, panel: dict[str, Any]) -> np.ndarray:
    """From the units of the axes to the SVG's points; NaN where a logarithm has no value."""
    left, top, right, bottom = panel["box"]
    ends = ((left, right), (bottom, top))
    columns = []
    for values, axis, (first, last) in zip(points.T, (panel["x"], panel["y"]), ends, strict=True):
        limits = np.array([axis["from"], axis["to"]])
        values = np.asarray(values, dtype=float)
        if axis["scale"] == "log":
            with np.errstate(divide="ignore", invalid="ignore"):
                values, limits = np.log10(values), np.log10(limits)
        share = (values - limits[0]) / (limits[1] - limits[0])
        columns.append(first + share * (last - first))
    page = np.column_stack(columns)
    page[~np.isfinite(page).all(axis=1)] = np.nan
    return np.round(np.clip(page, -FAR, FAR), 3)


def _line(corners: np.ndarray) -> str:
    """A path through the corners, with a gap where one is NaN."""
    words, pen = [], "M"
    for x, y in corners:
        if math.isnan(x):
            pen = "M"
            continue
        words.append(f"{pen} {x:.3f} {y:.3f}")
        pen = "L"
    return " ".join(words)


def _values(drawn: Drawn, panel: dict[str, Any]) -> list[str]:
    """A line for each point: what its axes say of it; none for a curve, which is one link."""
    points = drawn.points
    if points is None or len(points) != len(drawn.labels):
        return []
    return ["\n".join(_says(panel[a], v) for a, v in zip("xy", p, strict=True)) for p in points]


def _says(axis: dict[str, Any], value: float) -> str:
    named = dict(axis.get("ticks", []))
    return f"{axis['label'] or 'value'}: {named.get(float(value)) or f'{value:.5g}'}"


def _mark(
    group: Element,
    target: Callable[[str], Target],
    reached: set[str],
    labels: tuple[str, ...],
    linked: bool,
    values: list[str],
) -> None:
    targets = [target(label) for label in labels]
    group.set("class", "of")
    group.set("data-variants", " ".join(map(str, dict.fromkeys(t.variant for t in targets))))
    if not linked:
        return
    blank = [""] * len(labels)
    titles = ["\n".join(filter(None, pair)) for pair in zip(labels, values or blank, strict=True)]
    if len(labels) == 1:
        link = _link(labels[0], titles[0], targets[0], reached)
        link.extend(group)
        group[:] = [link]
        for parent in list(link.iter()):
            for use in parent.findall("use"):
                parent.append(_hit(use))
        for path in link.findall("path"):
            if "stroke" not in path.get(
                "style", ""
            ):  # drawn as nothing, for its inside to be clicked
                path.set("class", "hit")
        return
    markers = next(g for g in group.iter() if g.find("use") is not None)
    points = []
    for label, title, place, use in zip(
        labels, titles, targets, markers.findall("use"), strict=True
    ):
        link = _link(label, title, place, reached)
        link.extend([use, _hit(use)])
        points.append(Element("g", {"class": "of", "data-variants": str(place.variant)}))
        points[-1].append(link)
    markers[:] = points


def _link(label: str, title: str, target: Target, reached: set[str]) -> Element:
    attributes = {"class": "point", "href": f"#{target.id}", "data-label": label}
    link = Element("a", attributes | ({"tabindex": "-1"} if target.id in reached else {}))
    reached.add(target.id)
    ElementTree.SubElement(link, "title").text = title
    return link


def _hit(use: Element) -> Element:
    return Element("circle", {"class": "hit", "cx": use.get("x", ""), "cy": use.get("y", "")})


def _keep_apart(hits: list[tuple[Element, Element]]) -> None:
    """Each point's circle ends half way to the nearest point that leads elsewhere."""
    if not hits:
        return
    places = np.array([[float(hit.get("cx", 0)), float(hit.get("cy", 0))] for _, hit in hits])
    ids = [link.get("href") for link, _ in hits]
    numbers = np.array([ids.index(one) for one in ids])
    for i, (_, hit) in enumerate(hits):
        others = places[numbers != numbers[i]]
        nearest = np.hypot(*(others - places[i]).T).min() if len(others) else math.inf
        hit.set("r", f"{min(HIT_RADIUS, nearest / 2):.2f}")


def _tidy(root: Element, name: str) -> None:
    """The ids that something refers to after the figure, all others gone; coordinates to 0.001
    points, of markers too; the page's own font where matplotlib's default stood.
    """
    own = {element.get("id") for element in root.iter()}
    values = [value for element in root.iter() for value in element.attrib.values()]
    used = own & {id for value in values for id in re.findall(r"(?:^|url\()#([^)]+)", value)}
    for element in root.iter():
        if (i := element.attrib.pop("id", None)) in used:
            element.set("id", f"{name}-{i}")
        for key, value in element.items():
            if key in ("d", "x", "y", "cx", "cy"):
                short = re.sub(r"(\.\d\d\d)\d+", r"\1", value)
                element.set(key, " ".join(short.split()))
            elif key == "href" and value[1:] in used:
                element.set(key, f"#{name}-{value[1:]}")
            elif key == "transform":
                element.set(key, value)
                if value.startswith("rotate(-0 "):
                    del element.attrib[key]
            elif not key.startswith("data-"):
                element.set(key, re.sub(r"url\(#(.+?)\)", rf"url(#{name}-\1)", value))
        if element.tag in ("text", "tspan") and "DejaVu Sans'" in element.get("style", ""):
            style = re.sub(r"font-family: 'DejaVu Sans'[^;]*(; |;|$)", "", element.get("style", ""))
            element.set("style", style)
        element.tail = None if not (element.tail or "").strip() else element.tail
        element.text = None if not (element.text or "").strip() else element.text
