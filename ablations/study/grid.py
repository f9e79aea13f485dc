"""One product of axes becomes cells.

Each is one complete `experiments.train` or `experiments.benchmark` command.
"""

import itertools
import math
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ablations.study.axes.choices import (
    evaluations_of,
    number_of,
    product_of,
    read_axes,
    read_conditions,
)
from ablations.study.axes.predicted import is_predicted_alone, with_predicted
from ablations.study.cell import Cell
from ablations.study.names import cell_name
from ablations.study.report_entries import ReportEntries, read_entries
from ablations.study.report_words import REPORT_WORDS, words_for
from ablations.study.written.yaml_values import (
    read_list,
    read_mapping,
    read_overrides,
    read_seeds,
)
from experiments.hydra_options import hydra_value
from reformer_pl.config import ConfigError
from reformer_pl.config.plain_values import last_word

MAX_CELLS = 10_000  # of a grid: more are probably a mistake, and take minutes to check
GRID_KEYS = ("measure", "base", "axes", "when", "predict", "report")
OWN_KEYS = ("axes", "when", "predict", "report")  # of a grid alone: they stand in it, not beside it
GROWN = ("length", "n_layers")
MEMORY_AXES = "memory_axes"  # the word of `report:` under which any axis of numbers grows


@dataclass(frozen=True)
class Grid:
    """The cells of one product of axes, and the parts of the report that show them."""

    name: str  # empty where the study is one grid
    measure: str  # what its benchmarks measure: attention, layer or step; empty: its cells train
    axes: tuple[str, ...]
    cells: tuple[Cell, ...]
    report: tuple[str, ...]
    entries: ReportEntries = field(default_factory=lambda: ReportEntries(()))

    @property
    def grown(self) -> str | None:
        """What grows along the grid: length or n_layers.

        Its axis has that name, or is the config key that ends with it. For `memory_axes` it may
        also be the first axis of numbers.
        """
        names = [last_word(axis) for axis in self.axes]
        grown = [name for name in names if name in GROWN]
        if not grown and MEMORY_AXES in self.report:
            grown = [name for i, name in enumerate(names) if self._is_of_numbers(i)]
        return next(iter(grown), None)

    def _is_of_numbers(self, i: int) -> bool:
        labels = {cell.labels[i] for cell in self.cells if cell.labels[i]}
        return all(number_of(label, self.axes[i]) is not None for label in labels)

    def measured(self) -> "Grid":
        """The grid without the cells that are predicted alone."""
        cells = (cell for cell in self.cells if not is_predicted_alone(cell.overrides))
        return replace(self, cells=tuple(cells))

    def first_cells(self) -> dict[str, Cell]:
        """The first cell of each variant, as the figures of the grid name it."""
        first: dict[str, Cell] = {}
        for cell in self.cells:
            first.setdefault(self.place(cell)[0] if self.measure else cell.train, cell)
        return first

    def place(self, cell: Cell) -> tuple[str, str]:
        """(variant, label on the grown axis) of a cell: all other labels are the variant.

        The second is empty where nothing grows.
        """
        grows = [last_word(axis) == self.grown for axis in self.axes]
        variant = " / ".join(
            label for label, grown in zip(cell.labels, grows, strict=True) if label and not grown
        )
        at = "".join(label for label, grown in zip(cell.labels, grows, strict=True) if grown)
        return variant, at.removeprefix(f"{self.grown}=")


def make_grids(
    values: dict[str, Any],
    evaluations: dict[str, list[str]],
    directory: Path,
    max_cells: int = MAX_CELLS,
) -> tuple[Grid, ...]:
    """A study's YAML as one grid, or as each of its named ones. Raises ConfigError.

    The base of a named grid is added to the study's.
    """
    named = read_mapping(values, "grids")
    for key in OWN_KEYS if named else ():
        if key in values:
            raise ConfigError(f"{key} stands in each of the grids here, not beside them")
    grids = []
    for name, grid_values in (
        named or {"": {key: values[key] for key in OWN_KEYS if key in values}}
    ).items():
        if name and not re.fullmatch(r"[A-Za-z][\w-]*", str(name)):
            raise ConfigError(
                f"the grid name '{name}' must be a word of letters, digits, _ and - "
                "with a letter first"
            )
        if not isinstance(grid_values, dict) or not set(grid_values) <= set(GRID_KEYS):
            raise ConfigError(
                f"grids.{name} must be a mapping with the keys {', '.join(GRID_KEYS)}"
            )
        measure = str(grid_values.get("measure", values.get("measure", "none"))).removeprefix(
            "none"
        )
        if named and not measure:
            raise ConfigError(f"grids.{name} has no measure: a study that trains is one grid")
        cells = _cells(values, name, grid_values, measure, evaluations, directory, max_cells)
        default = ["cost" if measure else "learning_curves"]
        axes = tuple(map(str, grid_values["axes"]))
        entries = read_entries(
            read_list(grid_values, "report", default), axes, evaluations, measure
        )
        grid = Grid(name, measure, axes, cells, entries.words, entries)
        for part in grid.report:
            _check_part(part, grid)
        grids.append(grid)
    return tuple(grids)


def _check_part(part: str, grid: Grid) -> None:
    words = words_for("benchmarks" if grid.measure else "training")
    if part not in words:
        raise ConfigError(
            f"report: '{part}' is unknown{' in a study with a measure' if grid.measure else ''}: "
            f"choose {', '.join(words)}"
        )
    needs = REPORT_WORDS[part]
    if part == MEMORY_AXES and grid.grown is None:
        raise ConfigError(
            f"report: {part} needs an axis of numbers, such as task.length: [1024, 4096], and "
            f"{grid.name or 'the grid'} has {', '.join(grid.axes)}"
        )
    if part != MEMORY_AXES and not grid.measured().cells:
        raise ConfigError(
            f"report: {part} shows what was measured, and every cell is predicted alone: "
            f"choose {MEMORY_AXES}"
        )
    if len({cell.train for cell in grid.cells}) < needs.variants:
        raise ConfigError(
            f"report: {part} compares variants with a baseline, and there is only one variant: "
            "leave it out"
        )
    if needs.axis and grid.grown != needs.axis:
        raise ConfigError(
            f"report: {part} needs an axis named {needs.axis}, and {grid.name or 'the grid'} has "
            f"{', '.join(grid.axes)}"
        )


def _cells(
    values: dict[str, Any],
    grid_name: str,
    grid: dict[str, Any],
    measure: str,
    evaluations: dict[str, list[str]],
    directory: Path,
    max_cells: int,
) -> tuple[Cell, ...]:
    """The product of a grid's axes, the first seed's whole grid first.

    So an interrupted study has one complete table.
    """
    base = [
        *read_overrides("base", values.get("base", [])),
        *read_overrides(f"grids.{grid_name}.base", grid.get("base", [])),
    ]
    program = "experiments.train"
    if measure:
        program, base = "experiments.benchmark", [f"benchmark.measure={measure}", *base]
    axes = read_axes(read_mapping(grid, "axes"))
    axes = with_predicted(axes, read_axes(read_mapping(grid, "predict")), measure)
    conditions = read_conditions(read_mapping(grid, "when"), axes, evaluations)
    seeds = read_seeds(values)
    if not axes or not seeds:
        raise ConfigError(f"the grid is empty: {'axes' if not axes else 'seeds'} has no entry")
    twice = [seed for seed, count in Counter(seeds).items() if count > 1]
    if twice:
        raise ConfigError(
            f"seeds has {twice[0]} twice: a second run of it would be the first again"
        )
    n_cells = math.prod([len(seeds), *map(len, axes.values())])
    if n_cells > max_cells:
        raise ConfigError(
            f"the grid has {n_cells} cells, more than {max_cells}: "
            f"leave some out, or raise the limit with --max-cells {n_cells}"
        )
    named = {label: f"{label}:{hydra_value(words)}" for label, words in evaluations.items()}
    cells = []
    for seed, choice in itertools.product(seeds, product_of(axes, conditions)):
        labels = tuple(label for label, _ in choice)
        words = [word for word in (grid_name, *labels) if word]
        name = cell_name(words)
        out_dir = directory / name / f"seed={seed}"
        chosen = [override for _, overrides in choice for override in overrides]
        fixed = [f"seed={seed}", f"out_dir={hydra_value(str(out_dir))}"]
        scored = evaluations_of(choice, axes, evaluations, conditions)
        added = [f"+evaluations={{{','.join(named[label] for label in scored)}}}"] if scored else []
        cells.append(
            Cell(
                name,
                " / ".join(words),
                seed,
                (*base, *chosen, *fixed, *added),
                out_dir,
                labels,
                program,
                scored,
            )
        )
    return tuple(cells)
