"""How `python -m ablations run` runs a study: how many cells at a time, where, how long, and which.

Checked at once.
"""

import math
from dataclasses import dataclass

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
    gpus: tuple[str, ...] = ()  # empty: cells see whatever GPUs the driver sees
    gpus_per_cell: int | None = None  # None: one
    cells_per_gpu: int | None = None  # at a time; None: one
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
        shares = {
            "--gpus-per-cell": self.gpus_per_cell,
            "--cells-per-gpu": self.cells_per_gpu,
        }
        for option, number in shares.items():
            if number is not None and number < 1:
                raise ConfigError(f"{option} must be at least 1, not {number}")
            if number is not None and not self.gpus:
                raise ConfigError(
                    f"{option} {number} needs --gpus: name them, such as --gpus 0-7 or --gpus all"
                )
        if not self.gpus:
            return
        if self.share > 1 and self.places > 1:
            raise ConfigError(
                f"--gpus-per-cell {self.share} and --cells-per-gpu {self.places} contradict each "
                "other: a cell of several GPUs has them for itself"
            )
        fits = self._fits
        if not fits:
            raise ConfigError(
                f"--gpus names {len(self.gpus)} GPUs, fewer than --gpus-per-cell {self.share}"
            )
        if self.parallel is not None and self.parallel > fits:
            raise ConfigError(
                f"--parallel {self.parallel} cells do not fit on {len(self.gpus)} GPUs, "
                f"{self.share} each: at most {fits}; --cells-per-gpu N lets N share one"
            )

    @property
    def minutes_of_rounds(self) -> float:
        return ROUND_MINUTES if self.round_minutes is None else self.round_minutes

    @property
    def share(self) -> int:
        """GPUs of one cell, where GPUs are named."""
        return self.gpus_per_cell or 1

    @property
    def places(self) -> int:
        """Cells at a time on one GPU, where GPUs are named."""
        return self.cells_per_gpu or 1

    @property
    def _fits(self) -> int:
        return len(self.gpus) // self.share * self.places

    def at_once(self, study: Study) -> int:
        """Cells at a time. Those of a study that reports time run one at a time."""
        return self.parallel or (1 if study.timed or not self.gpus else self._fits)
