"""How `python -m ablations run` runs a study: how many cells at a time, where, how long, and which.

Checked at once.
"""

import math
from dataclasses import dataclass

from ablations.launch.machine import check_visible
from ablations.study import Study
from reformer_pl.config import ConfigError

ROUND_MINUTES = 2.5  # of all rounds of a timed study but the first


@dataclass
class Options:
    parallel: int | None = None  # cells at a time; None: one, or as many as fit on the GPUs
    timeout_seconds: float | None = None  # of one cell
    retry: bool = False  # run failed, oom, timeout and would_not_fit cells again
    memory_limit_gib: float | None = None  # of one process of a cell, as predicted
    force: bool = False  # start every cell over; what is there is renamed
    extend: bool = False  # go on with cells whose study has more steps now
    gpus: tuple[int, ...] = ()  # empty: cells see whatever GPUs the driver sees
    gpus_per_cell: int | None = None  # None: one
    round_minutes: float | None = None  # of the rounds of a timed study; None: ROUND_MINUTES
    until_quiet_minutes: float | None = None  # how long a timed study waits at most; None: never

    def __post_init__(self) -> None:
        if self.parallel is not None and self.parallel < 1:
            raise ConfigError(f"--parallel must be at least 1, not {self.parallel}")
        if self.timeout_seconds is not None and not self.timeout_seconds > 0:
            raise ConfigError(
                f"--timeout must be a positive number of seconds, not {self.timeout_seconds}"
            )
        if self.memory_limit_gib is not None and not 0 < self.memory_limit_gib < math.inf:
            raise ConfigError(
                f"--memory-limit must be a positive number of GiB, not {self.memory_limit_gib}"
            )
        for option, minutes in (
            ("--round-minutes", self.round_minutes),
            ("--until-quiet", self.until_quiet_minutes),
        ):
            if minutes is not None and not 0 <= minutes < math.inf:
                raise ConfigError(f"{option} must be a number of minutes, not {minutes}")
        if self.gpus_per_cell is not None and self.gpus_per_cell < 1:
            raise ConfigError(f"--gpus-per-cell must be at least 1, not {self.gpus_per_cell}")
        if not self.gpus:
            if self.gpus_per_cell is not None:
                raise ConfigError(
                    f"--gpus-per-cell {self.gpus_per_cell} needs --gpus: "
                    "name them, such as --gpus 0-7"
                )
            return
        fits = len(self.gpus) // self.share
        if not fits:
            raise ConfigError(
                f"--gpus names {len(self.gpus)} GPUs, fewer than --gpus-per-cell {self.share}"
            )
        if self.parallel is not None and self.parallel > fits:
            raise ConfigError(
                f"--parallel {self.parallel} cells do not fit on {len(self.gpus)} GPUs, "
                f"{self.share} each: at most {fits}"
            )
        check_visible(self.gpus)

    @property
    def minutes_of_rounds(self) -> float:
        return ROUND_MINUTES if self.round_minutes is None else self.round_minutes

    @property
    def share(self) -> int:
        """GPUs of one cell, where GPUs are named."""
        return self.gpus_per_cell or 1

    def at_once(self, study: Study) -> int:
        """Cells at a time. Those of a study that reports time run one at a time."""
        return self.parallel or (
            1 if study.timed or not self.gpus else len(self.gpus) // self.share
        )
