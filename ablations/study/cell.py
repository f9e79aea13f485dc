"""One run of a grid."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.hydra_options import hydra_value
from experiments.run_dir.outcome import BENCHMARK_NUMBERS, RESULT_NUMBERS


@dataclass(frozen=True)
class Cell:
    """One run of the grid. `overrides` is complete: seed, out_dir and evaluations are in it."""

    name: str
    train: str
    seed: int
    overrides: tuple[str, ...]
    directory: Path
    labels: tuple[str, ...]  # its choice on each axis; empty where it has none
    program: str  # the module that runs it
    evaluations: tuple[str, ...] = ()  # the names of those that score it

    def command(self) -> list[str]:
        return [sys.executable, "-m", self.program, *self.overrides]

    @property
    def trains(self) -> bool:
        """Else it measures, and has neither steps nor a loss."""
        return self.program == "experiments.train"

    def at(self, directory: Path) -> "Cell":
        """The cell with its run in another directory."""
        if directory == self.directory:
            return self
        place = f"out_dir={hydra_value(str(directory))}"
        overrides = (place if text.startswith("out_dir=") else text for text in self.overrides)
        return replace(self, overrides=tuple(overrides), directory=directory)

    def __str__(self) -> str:
        return f"{self.name} seed={self.seed}"


def numbers_of(cell: Cell) -> tuple[str, ...]:
    """The numbers of its result."""
    return RESULT_NUMBERS if cell.trains else BENCHMARK_NUMBERS
