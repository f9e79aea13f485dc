"""Cells of equal config are one run: one directory, and a row of each in the tables.

A variant may stand in two groups under two labels, such as a baseline in each. Nothing of it is run
twice.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ablations.study.cell import Cell
from ablations.study.changed import composed
from ablations.study.study import Study
from reformer_pl.config import ConfigError


def share_runs(cells: tuple[Cell, ...]) -> tuple[Cell, ...]:
    """The cells, those of equal config and seed in one directory.

    That is the first which is there already, so that a label that a study gains later runs nothing
    anew; else that of the first cell.
    """
    first: dict[str, Cell] = {}
    for cell in cells:
        first.setdefault(cell.train, cell)
    if len(first) < 2:
        return cells
    configs = {variant: _config(cell) for variant, cell in first.items()}
    places: dict[tuple[str, int], list[Path]] = {}
    for cell in cells:
        places.setdefault((configs[cell.train], cell.seed), []).append(cell.directory)
    return tuple(cell.at(_place(places[configs[cell.train], cell.seed])) for cell in cells)


def _place(directories: list[Path]) -> Path:
    if len(directories) == 1:
        return directories[0]
    return next((path for path in directories if path.exists()), directories[0])


def _config(cell: Cell) -> str:
    """What the runs of a variant have in common, as text; of one that is refused a text of its own,
    for `compose_cells` says why.
    """
    try:
        config = composed(cell.overrides)
    except ConfigError:
        return cell.train
    alike = replace(config, seed=0, out_dir="", evaluations={})  # the study itself sets these
    return f"{cell.program} {alike}"


def one_cell_a_run(study: Study) -> Study:
    """The study with the first cell of each directory alone: what may be started."""
    return replace(study, cells=tuple(first_of_each_run(study.cells).values()))


def first_of_each_run(cells: Iterable[Cell]) -> dict[Path, Cell]:
    """Directory -> the first of the cells that share it, in their order."""
    first: dict[Path, Cell] = {}
    for cell in cells:
        first.setdefault(cell.directory, cell)
    return first


def shared_variants(study: Study) -> dict[str, str]:
    """Each variant that has no run of its own -> the one whose run it is."""
    first: dict[Path, str] = {}
    shared = {}
    for cell in study.cells:
        other = first.setdefault(cell.directory, cell.train)
        if other != cell.train:
            shared[cell.train] = other
    return shared
