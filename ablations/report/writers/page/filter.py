"""The page's filter: a box for each value of each axis of the study, and words of a variant's name.

It is hidden until the script, without which it would do nothing, shows it.
"""

import json
from html import escape

from ablations.report.writers.page.cells import variant_of
from ablations.study import Study

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
    choices = {
        axis: list(dict.fromkeys(by_axis.get(axis, ABSENT) for by_axis in values.values()))
        for axis in axes
    }
    axes = [axis for axis in axes if len(choices[axis]) > 1]
    names = short_names(axes)
    fields = "".join(
        f"<fieldset><legend>{escape(name)}</legend>{_boxes(number, name, choices[axis])}</fieldset>"
        for number, (axis, name) in enumerate(zip(axes, names, strict=True))
    )
    numbers = [
        [choices[axis].index(by_axis.get(axis, ABSENT)) for axis in axes]
        for by_axis in values.values()
    ]
    return FORM.format(
        names=escape(json.dumps([[name, *choices[axis]] for axis, name in zip(axes, names)])),
        values=escape(json.dumps(numbers, separators=(",", ":"))),
        fields=fields,
    )


def axis_values(study: Study) -> dict[str, dict[str, str]]:
    """The label of each variant on each axis of its grid, without what grows along the grid.

    A folder of runs has no axes: there a variant is the value of the one axis "variant".
    """
    if not study.grids:
        return {variant: {"variant": variant} for variant in variant_of(study).values()}
    values: dict[str, dict[str, str]] = {}
    variants = variant_of(study)
    for grid in study.grids:
        for cell in grid.cells:
            labels = {
                axis: label
                for axis, label in zip(grid.axes, cell.labels, strict=True)
                if not (grid.measure and axis.rsplit(".", 1)[-1] == grid.grown)
            }
            values.setdefault(variants[cell.train], labels)
    return values


def short_names(axes: list[str]) -> list[str]:
    """The last word of each axis, or all of it where two end alike."""
    last = [axis.rsplit(".", 1)[-1] for axis in axes]
    return [
        name if last.count(name) == 1 else axis for axis, name in zip(axes, last, strict=True)
    ]


def _boxes(axis: int, name: str, labels: list[str]) -> str:
    return "".join(
        f'<label><input type="checkbox" name="axis-{axis}" value="{i}" checked> '
        f"{escape(label.removeprefix(f'{name}='))}</label>"
        for i, label in enumerate(labels)
    )
