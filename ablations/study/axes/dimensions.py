"""In what the variants of a grid differ: the axes of the grid, and the keys of their configs.

A figure gives each dimension a look of its own: a colour, a marker, a panel.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ablations.study.axes.variant_axes import axis_values
from ablations.study.cell import Cell
from ablations.study.changed import composed
from ablations.study.grid import Grid
from ablations.study.study import Study
from reformer_pl.config import RunConfig, flat, to_dict
from reformer_pl.config.plain_values import last_word
from reformer_pl.config.unread import unread_keys

NAMES = "variant"  # the key of the one dimension of a folder of runs


@dataclass(frozen=True)
class Dimension:
    """`choices` has the choice of each variant; a variant without one plays no part in it.

    `numbers` are those of the choices that are a number, or that differ from another choice in one
    number alone.
    """

    key: str
    choices: dict[str, str]
    numbers: dict[str, float] = field(default_factory=dict)
    is_scale: bool = False  # every choice is a number, and has no name of its own

    @property
    def title(self) -> str:
        """The last word of the key: n_hashes of model.lsh.n_hashes."""
        return last_word(self.key)

    @property
    def order(self) -> list[str]:
        """Its different choices: numbers from the least, words as in the study."""
        order = list(dict.fromkeys(self.choices.values()))
        return sorted(order, key=self.numbers.__getitem__) if self.is_scale else order

    def of(self, variant: str) -> str:
        """The choice of a variant; empty where it plays no part."""
        return self.choices.get(variant, "")

    def label(self, choice: str) -> str:
        """A choice beside those of other dimensions: a number has the name of its axis."""
        if not choice:
            return f"without {self.title}"
        return f"{self.title}={self.text(choice)}" if self.is_scale else choice

    def text(self, choice: str) -> str:
        """A choice without the name of its axis: 0.001 of lr=0.001."""
        return choice.removeprefix(f"{self.title}=")


def grid_dimensions(study: Study) -> list[Dimension]:
    """The axes of the study's one grid in which its variants differ, in their order there.

    A benchmark's variant is that of `Grid.place`, and the axis that grows is no dimension.
    """
    if not study.grids:
        return [Dimension(NAMES, {cell.train: cell.train for cell in study.cells})]
    (grid,) = study.grids
    grown = grid.grown if grid.measure else None
    places = [i for i, axis in enumerate(grid.axes) if last_word(axis) != grown]
    dimensions = [_axis(grid, i) for i in places]
    return [axis for axis in dimensions if len(axis.order) > 1] or dimensions[:1]


def key_dimension(study: Study, key: str) -> Dimension:
    """A key of the config as a dimension. A variant whose own choices leave it unread has none."""
    (grid,) = study.grids
    values = {
        variant: config[key]
        for variant, cell in grid.first_cells().items()
        if key in (config := read_values(composed(cell.overrides)))
    }
    choices = {variant: _text(value) for variant, value in values.items()}
    numbers = {_text(value): float(value) for value in values.values() if is_number(value)}
    return Dimension(key, choices, numbers, is_scale=set(choices.values()) == set(numbers))


def variants_in(dimensions: Iterable[Dimension]) -> list[str]:
    """The variants that play a part in any of the dimensions."""
    return list(dict.fromkeys(v for dimension in dimensions for v in dimension.choices))


def _axis(grid: Grid, i: int) -> Dimension:
    cells = [cell for cell in grid.cells if cell.labels[i]]
    choices = {v: c.labels[i] for v, c in grid.first_cells().items() if c.labels[i]}
    values = axis_values(grid, i)
    numbers = {label: float(value) for label, value in values.items() if is_number(value)}
    if numbers:
        return Dimension(grid.axes[i], choices, numbers, is_scale=True)
    first: dict[str, Cell] = {}
    for cell in cells:  # all other axes are at their first choice here
        first.setdefault(cell.labels[i], cell)
    configs = {label: read_values(composed(cell.overrides)) for label, cell in first.items()}
    return Dimension(grid.axes[i], choices, _numbers_of_names(configs))


def _numbers_of_names(configs: Mapping[str, dict[str, Any]]) -> dict[str, float]:
    """name -> number, of the names whose configs differ in one number alone: LSH-1 to LSH-16."""
    best: dict[str, float] = {}
    for key in sorted({key for config in configs.values() for key in config}):
        values = {n: c[key] for n, c in configs.items() if is_number(c.get(key))}
        if len(set(values.values())) < 2:
            continue
        groups: dict[str, list[str]] = {}
        for name in values:
            rest = {k: value for k, value in configs[name].items() if k != key}
            groups.setdefault(json.dumps(rest, sort_keys=True, default=str), []).append(name)
        numbers = {
            name: float(values[name])
            for names in groups.values()
            for name in names
            if len(names) > 1
        }
        best = max(best, numbers, key=len)
    return best


def read_values(config: RunConfig) -> dict[str, Any]:
    """The flat config without seed, folder, evaluations, and the keys that play no part in it."""
    values = flat(to_dict(config) | {"evaluations": {}})
    unread = unread_keys(values) | {"seed", "out_dir", "evaluations"}
    return {key: value for key, value in values.items() if key not in unread}


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    """A value as an override has it."""
    if is_number(value):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)
