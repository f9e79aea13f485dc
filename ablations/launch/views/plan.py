"""The end of `python -m ablations plan`: how many cells, how large, how long, and the free disk."""

import os
import shutil
from collections import Counter
from pathlib import Path
from statistics import mean

from ablations.launch.pace import pace, state, whole_seconds
from ablations.launch.predicted_memory import Predictions
from ablations.study import Study
from ablations.study.cell import Cell
from experiments.run_dir.outcome import OK, UNEVALUATED
from experiments.terminal.units import duration, memory
from reformer_pl.config import RunConfig


def plan_end(study: Study, configs: list[RunConfig], predictions: Predictions) -> list[str]:
    """One line each. The predictions are those that the cells' own lines show."""
    states = {cell: state(study, cell) for cell in study.cells}
    counts = ", ".join(f"{number} {word}" for word, number in Counter(states.values()).items())
    return [
        f"{study.name}: {len(study.cells)} cells: {counts}",
        _peak(study, configs, predictions),
        _time(study, configs, states),
        free_disk(study.directory),
    ]


def _peak(study: Study, configs: list[RunConfig], predictions: Predictions) -> str:
    """The largest prediction, and whose it is: of the cells that run, where some do."""
    cells = dict(zip(study.cells, configs, strict=True))
    run = {cell: config for cell, config in cells.items() if not config.benchmark.predict_only}
    peaks = {
        cell: predicted["total"]
        for cell, config in (run or cells).items()
        if (predicted := predictions.of(config)) is not None
    }
    if not peaks:
        return "memory: no prediction for a public Reformer"
    largest = max(peaks, key=peaks.__getitem__)
    return f"memory: {memory(peaks[largest])} predicted at most, by {largest}"


def _time(study: Study, configs: list[RunConfig], states: dict[Cell, str]) -> str:
    """What the cells that are not ok will take, one at a time, at the pace of those that are.

    A variant that has no finished cell is taken to be like the others.
    """
    seconds = {
        cell: taken
        for cell, word in states.items()
        if word in (OK, UNEVALUATED) and (taken := whole_seconds(cell)) is not None
    }
    rest = {
        cell: config
        for cell, config in zip(study.cells, configs, strict=True)
        if states[cell] not in (OK, UNEVALUATED)
    }
    if not rest:
        return f"time: every cell is done{_in_all(seconds)}"
    if not seconds:
        return "time: not known, for no cell has finished yet"
    everywhere = mean(seconds.values())
    left = 0.0
    for cell, config in rest.items():
        alike = [taken for other, taken in seconds.items() if other.train == cell.train]
        left += (mean(alike) if alike else everywhere) * _share_left(cell, config)
    return (
        f"time: about {duration(left)} (h:mm:ss) for what is not ok yet ({_cells(len(rest))}), "
        f"one cell at a time, at the pace of {_cells(len(seconds))} that ended well"
    )


def _cells(number: int) -> str:
    return f"{number} cell" if number == 1 else f"{number} cells"


def _in_all(seconds: dict[Cell, float]) -> str:
    return f", in {duration(sum(seconds.values()))} (h:mm:ss) one at a time" if seconds else ""


def _share_left(cell: Cell, config: RunConfig) -> float:
    """Of the steps of a cell that goes on where it is; a cell that ended badly begins anew."""
    at = pace(cell, config)
    return 1.0 if at.step is None else max(0.0, 1 - at.step / at.max_steps)


def free_disk(folder: Path) -> str:
    """What is free where a folder is, or will be made."""
    place = folder.resolve()
    while not os.path.lexists(place):
        place = place.parent
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        return f"disk: {place} cannot be read ({error.strerror})"
    return f"disk: {memory(free / 2**30)} free at {place}"
