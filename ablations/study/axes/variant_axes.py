"""What each variant of a study is on each axis of its grid: for colours, panels and filters.

Only labels are read, so that a page or a notebook may ask for it without composing a config.
"""

from ablations.study.axes.choices import number_of
from ablations.study.grid import Grid
from ablations.study.study import Study

AxisValue = str | int | float


def variant_axes(study: Study) -> dict[str, dict[str, AxisValue]]:
    """variant (`cell.train`) -> {axis: its value there}, in the order of the study.

    An axis is named as in the YAML. One with a single choice is left out, and one that a variant
    has not (`when:`). Its values are numbers where all its choices are numbers (0.001 of the label
    lr=0.001), and else the labels.
    Empty for a folder of runs, which has no grid.
    """
    values: dict[str, dict[str, AxisValue]] = {}
    for grid in study.grids:
        by_axis = {axis: axis_values(grid, i) for i, axis in enumerate(grid.axes)}
        for cell in grid.cells:
            values[cell.train] = {
                axis: by_axis[axis][label]
                for axis, label in zip(grid.axes, cell.labels, strict=True)
                if label and len(by_axis[axis]) > 1
            }
    return values


def short_labels(study: Study) -> dict[str, str]:
    """variant -> its label without the choices that all variants share.

    What is left names each variant alone. A label stays whole where nothing would be left.
    """
    labels: dict[str, str] = {}
    for grid in study.grids:
        names = [grid.name] if len(study.grids) > 1 else []
        several = [len(axis_values(grid, i)) > 1 for i in range(len(grid.axes))]
        for cell in grid.cells:
            kept = [
                label for label, keep in zip(cell.labels, several, strict=True) if label and keep
            ]
            labels[cell.train] = " / ".join(names + kept) or cell.train
    return labels or {cell.train: cell.train for cell in study.cells}


def axis_values(grid: Grid, i: int) -> dict[str, AxisValue]:
    """label -> value, of each choice on the i-th axis of the variants that have it."""
    labels = list(dict.fromkeys(cell.labels[i] for cell in grid.cells if cell.labels[i]))
    numbers = {label: number_of(label, grid.axes[i]) for label in labels}
    if all(number is not None for number in numbers.values()):
        return {label: number for label, number in numbers.items() if number is not None}
    return {label: label for label in labels}
