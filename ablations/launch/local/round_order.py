"""Which cell of a timed study is measured next, decided from the rounds on disk alone.

The cells take turns, A B C A B C, so that all see the same machine. After three rounds only those
go on whose ratio to their base is not known well enough yet, with that base. So a disturbed round
is measured again, by another round. What is decided follows from the files: a driver that was
killed goes on where it stood, and one that has finished measures nothing again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ablations.study.cell import Cell
from experiments.run_dir.rounds import Round, measured, ratios
from experiments.times.disturbed import is_disturbed
from experiments.times.waited import spread

FEWEST_ROUNDS, MOST_ROUNDS = 3, 9
RATIO_SPREAD = 0.03  # of the ratios over the rounds: below it a cell is known well enough


@dataclass(frozen=True)
class Turn:
    cell: Cell
    number: int  # of the round


def next_turn(
    bases: Mapping[Cell, Cell],
    rounds: Mapping[Cell, Sequence[Round]],
    minutes: float,
) -> Turn | None:
    """None where all is measured, or a limit is reached. The first round ends in any case."""
    cells = [cell for cell in bases if not any("error" in row for row in rounds[cell])]
    for number in range(1, MOST_ROUNDS + 1):
        earlier = {cell: _before(rounds[cell], number) for cell in cells}
        members = cells if number <= FEWEST_ROUNDS else _not_settled(bases, earlier)
        missing = [cell for cell in members if not _has(rounds[cell], number)]
        if missing and number > 1 and seconds_spent(rounds) >= 60 * minutes:
            return None
        if missing:
            return Turn(missing[0], number)
    return None


def seconds_spent(rounds: Mapping[Cell, Sequence[Round]]) -> float:
    """By the processes that measured rounds."""
    return sum(row.get("wall_seconds") or 0.0 for rows in rounds.values() for row in rows)


def _not_settled(bases: Mapping[Cell, Cell], rounds: Mapping[Cell, Sequence[Round]]) -> list[Cell]:
    """In the study's order, with what they are compared with."""
    open_cells = {
        cell for cell in rounds if not is_settled(rounds[cell], _base(bases, rounds, cell))
    }
    wanted = open_cells | {bases[cell] for cell in open_cells}
    return [cell for cell in rounds if cell in wanted]


def _base(
    bases: Mapping[Cell, Cell], rounds: Mapping[Cell, Sequence[Round]], cell: Cell
) -> Sequence[Round]:
    """The rounds of a cell's base, or its own where the base could not be measured."""
    return rounds.get(bases[cell], rounds[cell])


def is_settled(rounds: Sequence[Round], base: Sequence[Round]) -> bool:
    """Whether enough rounds were quiet, and their ratios to the base's agree."""
    quiet = [row for row in measured(rounds) if not is_disturbed(row)]
    values, disturbed = ratios(rounds, base)
    enough = min(len(quiet), len(values)) >= FEWEST_ROUNDS
    return enough and not disturbed and spread(values) < RATIO_SPREAD


def _before(rounds: Sequence[Round], number: int) -> list[Round]:
    return [row for row in rounds if row["round"] < number]


def _has(rounds: Sequence[Round], number: int) -> bool:
    return any(row["round"] == number for row in rounds)
