"""The page's filter: a box for each value of each axis of the study, and words of a variant's name.

It is hidden until the script, without which it would do nothing, shows it.
"""

import json
from collections.abc import Iterable
from html import escape

from ablations.report.writers.page.cells import variant_of
from ablations.study import Study
from ablations.study.axes.variant_axes import AxisValue, variant_axes
from ablations.study.grid import Grid
from reformer_pl.config.plain_values import last_word

ABSENT = "\N{EN DASH}"  # the value of a variant whose grid lacks the axis
FORM = """<form class="filter" id="filter" autocomplete="off" aria-label="Filter" hidden
 data-names="{names}" data-values="{values}">
<details><summary>Filter</summary><div class="choices">{fields}</div></details>
<input type="search" name="words" placeholder="words of a name" aria-label="Words of a name">
<button type="reset">Show all</button> <output></output>
</form>
"""


def filter_html(study: Study) -> str:
    """Empty where there is nothing to choose. Variants are numbered as in `cells.targets`."""
    values = axis_values(study)
    if len(values) < 2:
        return ""
    axes = list(dict.fromkeys(axis for by_axis in values.values() for axis in by_axis))
    choices = {axis: _choices(axis, values.values()) for axis in axes}
    axes = [axis for axis in axes if len(choices[axis]) > 1]
    names = short_names(axes)
    fields = "".join(
        f"<fieldset><legend>{escape(name)}</legend>{_boxes(number, choices[axis])}</fieldset>"
        for number, (axis, name) in enumerate(zip(axes, names, strict=True))
    )
    numbers = [
        [choices[axis].index(by_axis.get(axis, ABSENT)) for axis in axes]
        for by_axis in values.values()
    ]
    return FORM.format(
        names=escape(
            json.dumps([[name, *map(str, choices[a])] for a, name in zip(axes, names, strict=True)])
        ),
        values=escape(json.dumps(numbers, separators=(",", ":"))),
        fields=fields,
    )


def axis_values(study: Study) -> dict[str, dict[str, AxisValue]]:
    """What each variant of the page is on each axis, without what grows along a benchmark's grid.

    A folder of runs has no axes: there a variant is the value of the one axis "variant".
    """
    variants, values = variant_of(study), {}
    for label, by_axis in variant_axes(study).items():
        values.setdefault(variants[label], by_axis)
    if not values:
        return {variant: {"variant": variant} for variant in variants.values()}
    grown = {axis for grid in study.grids if grid.measure for axis in _grown(grid)}
    return {
        variant: {axis: value for axis, value in by_axis.items() if axis not in grown}
        for variant, by_axis in values.items()
    }


def _grown(grid: Grid) -> list[str]:
    return [axis for axis in grid.axes if last_word(axis) == grid.grown]


def short_names(axes: list[str]) -> list[str]:
    """The last word of each axis, or all of it where two end alike."""
    last = [last_word(axis) for axis in axes]
    return [name if last.count(name) == 1 else axis for axis, name in zip(axes, last, strict=True)]


def _choices(axis: str, values: Iterable[dict[str, AxisValue]]) -> list[AxisValue]:
    """Numbers in their order, words in the study's."""
    choices = list(dict.fromkeys(by_axis.get(axis, ABSENT) for by_axis in values))
    numbers = not any(isinstance(choice, str) for choice in choices)
    return sorted(choices) if numbers else choices


def _boxes(axis: int, choices: list[AxisValue]) -> str:
    return "".join(
        f'<label><input type="checkbox" name="axis-{axis}" value="{i}" checked> '
        f"{escape(str(choice))}</label>"
        for i, choice in enumerate(choices)
    )
