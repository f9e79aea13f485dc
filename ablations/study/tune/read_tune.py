"""`tune:` of a study: keys whose value is chosen for each variant, and the cells that try them.

tune: {optim.lr: [0.001, 0.002, 0.004]}   # or a name with labelled lists of overrides, as an axis
tune_seeds: [0]                           # default: the first of the study's seeds

The tuning cells are the study's grid with the tuned keys as further axes: LSH-4_lr=0.001/seed=0.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ablations.study.axes.choices import read_axes
from ablations.study.cell import Cell
from ablations.study.distinct import check_names, folded
from ablations.study.grid import Grid, make_grids
from ablations.study.names import check_paths
from ablations.study.runs.shared import share_runs
from ablations.study.tune.tuning import Tuning
from ablations.study.written.yaml_values import FIRST_SEED, read_list, read_mapping
from reformer_pl.config import ConfigError

TUNE, TUNE_SEEDS = "tune", "tune_seeds"


def _split_labels(cell: Cell, n_keys: int) -> tuple[str, tuple[str, ...]]:
    """(variant, labels on the tuned keys) of a tuning cell."""
    return " / ".join(label for label in cell.labels[:-n_keys] if label), cell.labels[-n_keys:]


def without_tuned(values: dict[str, Any]) -> dict[str, Any]:
    """A study's YAML for its own grid: without the conditions of the tuned keys."""
    tuned = read_mapping(values, TUNE)
    if not tuned:
        return values
    when = {axis: rest for axis, rest in read_mapping(values, "when").items() if axis not in tuned}
    return {key: value for key, value in values.items() if key != "when"} | {"when": when}


def read_tuning(
    values: dict[str, Any], grids: tuple[Grid, ...], directory: Path, max_cells: int
) -> Tuning | None:
    """None where the study tunes nothing. Raises ConfigError."""
    tuned = read_mapping(values, TUNE)
    if not tuned:
        if TUNE_SEEDS in values:
            raise ConfigError(f"{TUNE_SEEDS} are of {TUNE}, and there is none: leave them out")
        return None
    if len(grids) > 1 or grids[0].name or grids[0].measure:
        raise ConfigError(f"{TUNE} chooses by a score, and these cells measure: leave it out")
    both = [key for key in tuned if key in grids[0].axes]
    if both:
        raise ConfigError(
            f"{TUNE}: {both[0]} is an axis of the grid as well: leave one of them out"
        )
    try:
        return _tuning(values, tuned, grids[0], directory, max_cells)
    except ConfigError as error:
        raise ConfigError(f"{TUNE}: {error}") from error


def _tuning(
    values: dict[str, Any], tuned: dict[str, Any], own: Grid, directory: Path, max_cells: int
) -> Tuning:
    seeds = values.get(TUNE_SEEDS, read_list(values, "seeds", [FIRST_SEED])[:1])
    whole = {key: value for key, value in values.items() if key != "report"}
    scores = read_mapping(values, "evaluations")  # of the study's own cells alone
    when = read_mapping(values, "when")
    whole["when"] = {axis: rest for axis, rest in when.items() if axis not in scores}
    whole |= {"axes": read_mapping(values, "axes") | tuned, "seeds": seeds}
    (grid,) = make_grids(whole, {}, directory, max_cells)
    check_names([grid])
    options: dict[str, dict[tuple[str, ...], tuple[Cell, ...]]] = {}
    shared = share_runs(grid.cells)
    for cell in shared:
        variant, labels = _split_labels(cell, len(tuned))
        cells = options.setdefault(variant, {})
        cells[labels] = (*cells.get(labels, ()), cell)
    options = {
        variant: cells if len(cells) > 1 else dict.fromkeys(cells, ())
        for variant, cells in options.items()
    }
    trying = {cell for cells in options.values() for some in cells.values() for cell in some}
    tried = tuple(cell for cell in shared if cell in trying)
    check_paths(tried)
    folders = {folded(cell.name): cell.name for cell in own.cells}
    for cell in tried:
        if folded(cell.name) in folders:
            raise ConfigError(
                f"the variant {folders[folded(cell.name)]} and a tuning cell would share the "
                f"folder {cell.name}: give the variant another label"
            )
    return Tuning(
        axes=read_axes(tuned),
        grid=replace(grid, cells=tried, report=()),
        options=options,
        untuned=own.cells,
    )
