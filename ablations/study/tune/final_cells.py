"""The study's own cells at the values that the tuning cells on disk choose.

The choice is read anew from the results each time, and never kept in a file of its own. A final
cell lies in the folder of its variant, LSH-4/seed=1. One of a tuning seed is the tuning cell of the
chosen value itself, LSH-4_lr=0.001/seed=0: it is not run twice.
"""

import math
from dataclasses import replace

from ablations.study.axes.variant_axes import axis_values
from ablations.study.cell import Cell
from ablations.study.changed import changed_config, composed
from ablations.study.study import Study
from ablations.study.tune.choice import Choice, Option, choose, ends_of
from ablations.study.tune.tuning import Tuning
from experiments.run_dir.files import has_begun
from experiments.run_dir.outcome import UNREADABLE, is_ok, result_row
from reformer_pl.config import ConfigError
from reformer_pl.metrics import Metric, task_metrics


def with_choices(study: Study) -> Study:
    """The study as its tuning cells stand on disk now; itself where it tunes nothing."""
    tuning = study.tuning
    if tuning is None:
        return study
    n_axes = len(tuning.grid.axes) - len(tuning.axes)
    edges = [
        ends_of(axis_values(tuning.grid, n_axes + i)) if tuning.grid.cells else frozenset[str]()
        for i in range(len(tuning.axes))
    ]
    tuned = tuning_study(study)
    choices = {
        variant: _choose(tuned, cells_of, edges) for variant, cells_of in tuning.options.items()
    }
    tuning = replace(tuning, choices=choices)
    return _with_cells(
        replace(study, tuning=tuning), tuple(_final(cell, tuning) for cell in tuning.untuned)
    )


def stages(study: Study) -> list[Study]:
    """What runs in turn: of a study that tunes its tuning cells, and then its own."""
    return [study] if study.tuning is None else [tuning_study(study), study]


def known(study: Study) -> Study:
    """The study without the cells that wait for the choice of their variant."""
    if study.tuning is None:
        return study
    return replace(study, cells=tuple(cell for cell in study.cells if not study.is_open(cell)))


def tuning_study(study: Study) -> Study:
    """The tuning cells of a study as one of their own. Their evaluations are none, for they would
    be made of every value.
    """
    assert study.tuning is not None
    grid = study.tuning.grid
    return Study(
        name=f"{study.name}, tuning",
        description=f"{study.tuning.keys} of {study.name}, for each variant",
        timed=False,
        cells=grid.cells,
        evaluations={},
        paper={},
        report=(),
        notes=(),
        directory=study.directory,
        grids=(grid,),
    )


def _with_cells(study: Study, cells: tuple[Cell, ...]) -> Study:
    (grid,) = study.grids
    return replace(study, cells=cells, grids=(replace(grid, cells=cells),))


def _choose(
    tuned: Study, cells_of: dict[tuple[str, ...], tuple[Cell, ...]], edges: list[frozenset[str]]
) -> Choice:
    cells = [cell for some in cells_of.values() for cell in some]
    untried = tuple(map(Option, cells_of))
    if not cells:
        return Choice(untried, untried[0])
    try:
        metric = score_of(cells[0])
    except ConfigError:  # compose_cells names the cell
        return Choice(untried)
    options = [
        Option(labels, tuple(_score(tuned, cell, metric) for cell in some))
        for labels, some in cells_of.items()
    ]
    return choose(options, metric, edges)


def score_of(cell: Cell) -> Metric:
    """By what a value is chosen: the score that judges the task, on its held-out part."""
    return task_metrics(composed(cell.overrides).task.name)[0]


def _score(tuned: Study, cell: Cell, metric: Metric) -> float | None:
    """None while the cell has not ended, as far as one can read; NaN where it failed or diverged.

    A run of another config says nothing about this one.
    """
    result = result_row(cell.directory)
    if result is None or result["status"] == UNREADABLE:
        return None
    try:
        if has_begun(cell.directory) and changed_config(tuned, cell, composed(cell.overrides)):
            return None
    except ConfigError:
        return None
    score = result.get(metric.name)
    return float(score) if is_ok(result) and score is not None else math.nan


def unlike_any_choice(study: Study) -> dict[Cell, str]:
    """The cells that wait for a choice, and whose directory holds a run that none of the values
    explains; each with what differs from the last one. Raises ConfigError for what is unreadable.
    """
    tuning, unlike = study.tuning, {}
    for cell in study.cells if tuning is not None else ():
        if tuning is None or not study.is_open(cell) or not has_begun(cell.directory):
            continue
        at_values = [
            replace(cell, overrides=(*cell.overrides, *tuning.overrides_of(labels)))
            for labels in tuning.options[cell.train]
        ]
        reasons = [changed_config(study, one, composed(one.overrides)) for one in at_values]
        if all(reasons):
            unlike[cell] = reasons[-1]
    return unlike


def _final(cell: Cell, tuning: Tuning) -> Cell:
    """The cell at its variant's value; as it is while that is open."""
    chosen = tuning.choices[cell.train].chosen
    if chosen is None:
        return cell
    tried = tuning.options[cell.train][chosen.labels]
    same = next((other for other in tried if other.seed == cell.seed), None)
    placed = cell if same is None else cell.at(same.directory)
    overrides = (*placed.overrides, *tuning.overrides_of(chosen.labels))
    return replace(placed, overrides=overrides)
