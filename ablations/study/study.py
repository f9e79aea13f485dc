"""A study: its cells and what its report shows; and the configs of its cells."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablations.study.axes.figure_keys import FigureKeys
from ablations.study.cell import Cell
from ablations.study.grid import Grid
from ablations.study.report_words import REPORT_WORDS
from ablations.study.tune.tuning import Tuning
from experiments.compose import Bases, compose
from reformer_pl.config import ConfigError, RunConfig, flat, to_dict
from reformer_pl.config.evaluations import load_named_evaluation


@dataclass(frozen=True)
class Sample:
    """`--sample n --sample-seed seed`."""

    n: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ConfigError(f"--sample must be at least 1, not {self.n}")


@dataclass(frozen=True)
class Study:
    name: str
    description: str
    timed: bool  # the report shows time: cells run alone, with all threads
    cells: tuple[Cell, ...]
    evaluations: dict[str, list[str]]
    paper: dict[str, dict[str, dict[str, Any]]]  # the paper's numbers, report part -> row -> column
    report: tuple[str, ...]
    notes: tuple[str, ...]
    directory: Path
    grids: tuple[Grid, ...] = ()
    baseline: str = ""  # the label that the others are compared with, seed by seed
    unread: tuple[str, ...] = ()  # of a folder of runs: what below it cannot be read
    figures: dict[str, FigureKeys] = field(default_factory=dict)  # by the word of the report
    tuning: Tuning | None = None  # what is chosen for each variant before its own cells run
    samples: tuple[Sample, ...] = ()  # its cells are those that these draw; empty: all
    n_whole: int = 0  # how many cells the samples were drawn from

    @property
    def is_benchmark(self) -> bool:
        """Its cells measure (experiments.benchmark) and train nothing."""
        return any(grid.measure for grid in self.grids)

    def evaluations_of(self, cell: Cell) -> dict[str, list[str]]:
        """The overrides of each evaluation that the cell has: all, where `when:` names none."""
        return {name: self.evaluations[name] for name in cell.evaluations}

    @property
    def all_cells(self) -> tuple[Cell, ...]:
        """Its tuning cells and its own."""
        return (*(self.tuning.grid.cells if self.tuning else ()), *self.cells)

    def is_open(self, cell: Cell) -> bool:
        """Whether one of its own cells waits for the tuning cells of its variant."""
        return self.tuning is not None and self.tuning.choices[cell.train].chosen is None


def compose_cells(study: Study) -> list[RunConfig]:
    """Compose and check every cell and each of its evaluations. Raises ConfigError.

    In the order of study.cells.
    """
    configs, bases = [], Bases()
    for cell in study.cells:
        place = str(cell)
        try:
            config = compose(cell.overrides, bases)
            if config.evaluations != study.evaluations_of(cell) or config.out_dir != str(
                cell.directory
            ):
                raise ConfigError(
                    f"Hydra reads the directory {cell.directory} or an evaluation's name "
                    "as something else: rename it"
                )
            same_but_seed = (
                cell.seed != study.cells[0].seed
            )  # its evaluations were checked with the first seed
            for label in () if same_but_seed else cell.evaluations:
                place = f"{cell}, evaluation {label}"
                load_named_evaluation(config, label)
        except ConfigError as error:
            raise ConfigError(f"study {study.name}, {place}: {error}") from error
        configs.append(config)
    for word in study.report:
        needs = REPORT_WORDS[word]
        if needs.key and not any(flat(to_dict(config))[needs.key] for config in configs):
            reason = f"report: {word} needs {needs.key}, which no cell has"
            raise ConfigError(
                f"study {study.name}: {reason}: add {needs.example} to base, or leave {word} out"
            )
        if needs.task and needs.task not in (config.task.name for config in configs):
            raise ConfigError(
                f"study {study.name}: report: {word} is of task.name={needs.task}, which no cell "
                f"has: leave {word} out"
            )
    return configs


def compose_variants(study: Study) -> dict[str, RunConfig]:
    """The config of each train label, with its first seed. Raises ConfigError."""
    first, bases = {cell.train: cell for cell in reversed(study.cells)}, Bases()
    return {
        label: compose(first[label].overrides, bases)
        for label in dict.fromkeys(cell.train for cell in study.cells)
    }
