"""A figure's SVG made fit for an HTML page: no address, ids of its own, and every point a link to
the cells it was drawn from.

An artist's gid tells whose cells it shows: `ablations.report.drawing.belongs`.
"""

import json
import math
import re
from collections.abc import Callable
from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

# Typographic points around a marker's centre that can be clicked, if no other marker is near: it is
# small for a finger.
HIT_RADIUS = 6
HREF = "{http://www.w3.org/1999/xlink}href"


class Target(NamedTuple):
    """Where a label's cells stand on the page: the id of their entry, and the number of their
    variant.
    """

    id: str
    variant: int


def inline_svg(svg: str, name: str, reader_label: str, target: Callable[[str], Target]) -> str:
    """`svg` as matplotlib writes it, for a page in which no other figure is called `name`; a screen
    reader reads `reader_label`.

    Points become `<a class="point" href="#id">` with their label as the title, and what belongs to
    variants has their numbers in data-variants. Of several points with one target the first alone
    is a stop of the Tab key.
    """
    root = ElementTree.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    reached: set[str] = set()
    for group in list(root.iter()):
        gid = group.get("id", "")
        if gid.startswith("{"):
            del group.attrib["id"]
            _mark(group, target, reached, **json.loads(gid))
    _keep_apart(
        [
            (link, hit)
            for link in root.iter()
            if link.get("class") == "point"
            for hit in link.iter("circle")
        ]
    )
    _rename(root, name)
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib |= {"class": "plot", "role": "group", "aria-label": reader_label}
    return ElementTree.tostring(root, encoding="unicode")


def _mark(
    group: Element,
    target: Callable[[str], Target],
    reached: set[str],
    labels: list[str],
    linked: bool,
) -> None:
    targets = [target(label) for label in labels]
    group.set("class", "of")
    group.set("data-variants", " ".join(map(str, dict.fromkeys(t.variant for t in targets))))
    if not linked:
        return
    if len(labels) == 1:
        link = _link(labels[0], targets[0], reached)
        link.extend(group)
        group[:] = [link]
        for parent in list(link.iter()):
            for use in parent.findall("{*}use"):
                parent.append(_hit(use))
        for path in link.findall("{*}path"):
            if "stroke" not in path.get(
                "style", ""
            ):  # drawn as nothing, for its inside to be clicked
                path.set("class", "hit")
        return
    markers = next(g for g in group.iter() if g.find("{*}use") is not None)
    points = []
    for label, place, use in zip(labels, targets, markers.findall("{*}use"), strict=True):
        link = _link(label, place, reached)
        link.extend([use, _hit(use)])
        points.append(Element("g", {"class": "of", "data-variants": str(place.variant)}))
        points[-1].append(link)
    markers[:] = points


def _link(label: str, target: Target, reached: set[str]) -> Element:
    link = Element(
        "a",
        {"class": "point", HREF: f"#{target.id}"}
        | ({"tabindex": "-1"} if target.id in reached else {}),
    )
    reached.add(target.id)
    ElementTree.SubElement(link, "title").text = label
    return link


def _hit(use: Element) -> Element:
    return Element("circle", {"class": "hit", "cx": use.get("x", ""), "cy": use.get("y", "")})


def _keep_apart(hits: list[tuple[Element, Element]]) -> None:
    """Each point's circle ends half way to the nearest point that leads elsewhere."""
    places = [
        (float(hit.get("cx", 0)), float(hit.get("cy", 0)), link.get(HREF)) for link, hit in hits
    ]
    for (_, hit), (x, y, target) in zip(hits, places, strict=True):
        nearest = min(
            (math.dist((x, y), other) for *other, to in places if to != target), default=math.inf
        )
        hit.set("r", f"{min(HIT_RADIUS, nearest / 2):.2f}")


def _rename(root: Element, name: str) -> None:
    """Tags without namespaces; the ids that something refers to after the figure, all others gone;
    coordinates to 0.01 points.
    """
    own = {element.get("id") for element in root.iter()}
    values = [value for element in root.iter() for value in element.attrib.values()]
    used = own & {id for value in values for id in re.findall(r"(?:^|url\()#([^)]+)", value)}
    for element in root.iter():
        element.tag = element.tag.rsplit("}", 1)[-1]
        if HREF in element.attrib:
            element.set("href", element.attrib.pop(HREF))
        if (i := element.attrib.pop("id", None)) in used:
            element.set("id", f"{name}-{i}")
        for key, value in element.items():
            if key in ("d", "x", "y", "cx", "cy"):
                element.set(key, re.sub(r"(\.\d\d)\d+", r"\1", value))
            elif key == "href" and value[1:] in used:
                element.set(key, f"#{name}-{value[1:]}")
            else:
                element.set(key, re.sub(r"url\(#(.+?)\)", rf"url(#{name}-\1)", value))
        element.tail = None if not (element.tail or "").strip() else element.tail
        element.text = None if not (element.text or "").strip() else element.text
