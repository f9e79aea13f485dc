"""The look of each variant in a figure, from the axes of its study: colour, marker, dashes, panel.

Numbers take the colours of one map in their order, words those of Okabe and Ito.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import matplotlib as mpl
import pandas as pd
from matplotlib.colors import to_hex

from ablations.report.drawing.roles import Kind, Roles, choose_roles
from ablations.study import Study
from ablations.study.axes.dimensions import Dimension, grid_dimensions, variants_in
from ablations.study.axes.figure_keys import FigureKeys
from experiments.run_dir.outcome import OK
from reformer_pl.metrics import Metric

# Okabe and Ito's palette without its yellow: distinct with every common colour blindness. In grey
# print, marker and dashes tell the lines apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# Those of them that are far from every colour of the map: of names without a number.
BESIDE_NUMBERS = ("#000000", "#D55E00", "#CC79A7", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
GREY = "#666666"
NOT_SHOWN = "#b8b8b8"
# viridis without its yellow end, which white paper swallows. It is an order in grey print, too.
NUMBER_MAP, MAP_END = "viridis", 0.8
MOST_NAMES = 12  # in a legend; of more, the best alone have a colour
BEST_SHOWN = 6


@dataclass(frozen=True)
class Entry:
    """A row of a legend: a choice, its look, and the variants that have it."""

    label: str
    style: dict[str, object]
    variants: tuple[str, ...]


@dataclass(frozen=True)
class ColourBar:
    """The numbers of an axis and their colours, in order."""

    title: str
    texts: tuple[str, ...]
    colours: tuple[str, ...]


@dataclass(frozen=True)
class Looks:
    """`styles` are matplotlib's words for a line of each variant, and `panel` has its panel's
    title.

    `names` are the labels within a panel, without what all variants share. `entries` are a legend
    of choices; None where each variant is an entry of its own.
    """

    styles: dict[str, dict[str, object]]
    names: dict[str, str]
    panel: dict[str, str]
    panels: tuple[str, ...]
    entries: tuple[Entry, ...] | None = None
    bar: ColourBar | None = None
    words: str = ""  # for a caption, what the looks mean

    def of_panel(self, panel: str) -> list[str]:
        """The variants of a panel, in the order of the study."""
        return [variant for variant in self.styles if self.panel[variant] == panel]


def variant_looks(
    study: Study, word: str, kind: Kind = "curves", best: Iterable[str] = ()
) -> Looks:
    """Of a part of the report: `word` is its name. `best` are its variants, the best first, which
    have a colour where there are too many for all.
    """
    roles = choose_roles(study, study.figures.get(word, FigureKeys()), kind)
    return _looks(roles, grid_dimensions(study), list(best))


def _looks(roles: Roles, dimensions: list[Dimension], best: list[str]) -> Looks:
    variants = variants_in(dimensions)
    names = {v: _name(v, dimensions) or v for v in variants}
    colour, facet = roles.colour, roles.facet
    alone = roles.marker is None and facet is None
    if colour and alone and not colour.is_scale and len(colour.order) > MOST_NAMES:
        return _of_the_best(variants, names, best[:BEST_SHOWN], colour)
    colours = _colours(colour) if colour else {"": COLOURS[0]}
    styles = {
        variant: {
            "color": colours[colour.of(variant) if colour else ""],
            **_shape(roles, variant),
            "markeredgecolor": "white", "markeredgewidth": 0.4, "zorder": 3 + i,
        }
        for i, variant in enumerate(variants)
    }  # fmt: skip
    panel = dict.fromkeys(variants, "")
    panels: tuple[str, ...] = ("",)
    if facet:
        panel = {v: facet.label(facet.of(v)) for v in variants}
        order = [facet.label(choice) for choice in facet.order]
        panels = tuple(
            title for title in dict.fromkeys([*order, facet.label("")]) if title in panel.values()
        )
        kept = [d for d in dimensions if d.title not in facet.title.split(" and ")]
        names = {v: _name(v, kept) or names[v] for v in variants}
    bar, entries = None, None
    if colour and colour.is_scale:
        texts = tuple(colour.text(choice) for choice in colour.order)
        bar = ColourBar(colour.title, texts, tuple(colours[c] for c in colour.order))
    if not alone or bar:
        entries = _entries(roles, colours, styles)
    return Looks(styles, names, panel, panels, entries, bar, _words(roles))


def _name(variant: str, dimensions: Iterable[Dimension]) -> str:
    """Its choices in a row."""
    return " / ".join(filter(None, (dimension.of(variant) for dimension in dimensions)))


def best_variants(cells: pd.DataFrame, score: Metric) -> list[str]:
    """The variants that have a mean score, the best first."""
    means = cells[cells["status"] == OK].groupby("train")[score.name].mean().dropna()
    return list(means.sort_values(ascending=not score.higher_is_better, kind="stable").index)


def plain_looks(names: Iterable[str]) -> Looks:
    """Colour, marker and dashes of each name, by its place."""
    names = list(names)
    dimension = Dimension("variant", {name: name for name in names})
    return _looks(Roles(dimension), [dimension], names)


def _colours(colour: Dimension) -> dict[str, str]:
    """choice -> colour, and "" for a variant without one."""
    numbers = sorted({colour.numbers[c] for c in colour.order if c in colour.numbers})
    others = [choice for choice in colour.order if choice not in colour.numbers]
    if len(numbers) < 2 or len(others) > len(BESIDE_NUMBERS):
        return {"": GREY} | {c: COLOURS[i % len(COLOURS)] for i, c in enumerate(colour.order)}
    of_number = dict(zip(numbers, numbers_colours(len(numbers)), strict=True))
    return (
        {"": BESIDE_NUMBERS[0]}
        | {c: of_number[n] for c, n in colour.numbers.items() if c in colour.order}
        | {choice: BESIDE_NUMBERS[i] for i, choice in enumerate(others)}
    )


def numbers_colours(count: int) -> list[str]:
    """Of some numbers in their order, from dark to light."""
    in_order = mpl.colormaps[NUMBER_MAP]
    return [to_hex(in_order(MAP_END * i / max(count - 1, 1))) for i in range(count)]


def _shape(roles: Roles, variant: str) -> dict[str, object]:
    """The marker and dashes of a variant: of its choice on the axis of markers, or of colours."""
    if roles.marker:
        choice = roles.marker.of(variant)
        at = roles.marker.order.index(choice) if choice else len(roles.marker.order)
        return {"marker": MARKERS[at % len(MARKERS)], "linestyle": DASHES[at % len(DASHES)]}
    if roles.colour is None:
        return {"marker": MARKERS[0], "linestyle": DASHES[0]}
    colour, choice = roles.colour, roles.colour.of(variant)
    at = colour.order.index(choice) if choice else len(colour.order)
    dashes = DASHES[at % len(DASHES)]
    if len(set(colour.numbers.values())) > 1:  # a scale is solid, and the words beside it are not
        others = [name for name in [*colour.order, ""] if name not in colour.numbers]
        dashes = "-" if choice in colour.numbers else DASHES[1 + others.index(choice) % 3]
    return {"marker": MARKERS[at % len(MARKERS)], "linestyle": dashes}


def _entries(
    roles: Roles, colours: dict[str, str], styles: dict[str, dict[str, object]]
) -> tuple[Entry, ...]:
    """A legend of the choices: those of the colour, unless a bar shows them, then the markers."""
    entries = []
    for dimension, is_colour in ((roles.colour, True), (roles.marker, False)):
        if dimension is None:
            continue
        for choice in [*dimension.order, ""]:
            variants = tuple(v for v in styles if dimension.of(v) == choice)
            if not variants or (is_colour and dimension.is_scale and choice):
                continue
            style = styles[variants[0]]
            if is_colour and roles.marker:
                style = {"color": style["color"], "linewidth": 2.5}
            elif not is_colour:
                style = {**style, "color": GREY}
            entries.append(Entry(dimension.label(choice), style, variants))
    return tuple(entries)


def _of_the_best(
    variants: list[str], names: dict[str, str], best: list[str], colour: Dimension
) -> Looks:
    """Too many names for a legend: the best have a colour, all others are grey."""
    places = {variant: i for i, variant in enumerate(best)}
    styles = {
        v: {
            "color": COLOURS[places[v]] if v in places else NOT_SHOWN,
            "marker": MARKERS[places[v]] if v in places else "",
            "linestyle": DASHES[places[v] % len(DASHES)] if v in places else "-",
            "markeredgecolor": "white", "markeredgewidth": 0.4,
            "zorder": 3 + (len(variants) + places[v] if v in places else 0),
        }
        for v in variants
    }  # fmt: skip
    others = tuple(v for v in variants if v not in places)
    entries = [Entry(names[v], styles[v], (v,)) for v in best]
    entries.append(Entry(f"{len(others)} others", styles[others[0]], others))
    words = f" In colour: the {len(best)} best of {len(variants)}." if best else ""
    return Looks(styles, names, dict.fromkeys(variants, ""), ("",), tuple(entries), None, words)


def _words(roles: Roles) -> str:
    """A sentence for the caption, where a look is more than the name of a variant."""
    looks = (("colour", roles.colour), ("marker and dashes", roles.marker), ("panels", roles.facet))
    used = [f"{look}: {dimension.title}" for look, dimension in looks if dimension]
    if len(used) < 2 and not (roles.colour and roles.colour.is_scale):
        return ""
    text = "; ".join(used)
    return f" {text[:1].upper()}{text[1:]}."
