"""`--sample N`: N cells of a large grid, drawn by a seed.

Whether a cell is drawn follows from its name and the seed alone. So the same command resumes the
same cells, and a larger N adds to those of a smaller one. `run` leaves in the study's folder what
it drew, and every reader shows the cells of it.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ablations.study.cell import Cell
from ablations.study.runs.shared import first_of_each_run
from ablations.study.study import Sample, Study
from experiments.run_dir.files import read_json, write_json
from reformer_pl.config import ConfigError

DRAWN = "sample.json"  # in a study's folder


def draw(study: Study, samples: Iterable[Sample]) -> Study:
    """The study with the cells of any of the samples, in its order; all cells without a sample.

    Cells that are one run are drawn together, and of a study that tunes the tuning cells of the
    variants that are drawn.
    """
    samples = tuple(dict.fromkeys(samples))
    if not samples:
        return study
    own = study.cells if study.tuning is None else study.tuning.untuned
    first = first_of_each_run(own)
    drawn: set[Path] = set()
    for sample in samples:
        ranked = sorted(first, key=lambda directory: _rank(first[directory], sample.seed))
        drawn |= set(ranked[: sample.n])
    names = {(cell.train, cell.seed) for cell in own if cell.directory in drawn}
    variants = {variant for variant, _ in names}
    grids = [
        replace(grid, cells=tuple(c for c in grid.cells if (c.train, c.seed) in names))
        for grid in study.grids
    ]
    cells = tuple(cell for cell in study.cells if (cell.train, cell.seed) in names)
    some = replace(
        study,
        cells=cells,
        grids=tuple(grid for grid in grids if grid.cells),
        baseline=study.baseline if study.baseline in variants else cells[0].train,
        tuning=study.tuning and study.tuning.of_variants(variants),
        samples=samples,
        n_whole=len(study.cells),
    )
    return replace(some, notes=(*study.notes, f"Shown are {sample_line(some)}."))


def _rank(cell: Cell, seed: int) -> str:
    return hashlib.sha256(f"{seed} {cell.train} {cell.seed}".encode()).hexdigest()


def sample_line(study: Study) -> str:
    """Which cells these are; empty where they are all."""
    options = " and of ".join(f"--sample {s.n} --sample-seed {s.seed}" for s in study.samples)
    return f"{len(study.cells)} of {study.n_whole} cells, those of {options}" if options else ""


def read_samples(directory: Path) -> tuple[Sample, ...]:
    """What `run` has drawn of the study in this folder. Raises ConfigError."""
    values = read_json(directory / DRAWN) or {}
    try:
        return tuple(Sample(int(one["n"]), int(one["seed"])) for one in values.get("samples", []))
    except (KeyError, TypeError, ValueError) as error:
        path = directory / DRAWN
        raise ConfigError(f"{path} holds no samples: move it away, or run again") from error


def record_samples(study: Study) -> None:
    """Add those of the study to what was drawn before; a whole study takes it back."""
    path = study.directory / DRAWN
    try:
        if not study.samples:
            path.unlink(missing_ok=True)
            return
        samples = dict.fromkeys((*read_samples(study.directory), *study.samples))
        write_json(path, {"samples": [{"n": one.n, "seed": one.seed} for one in samples]})
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
