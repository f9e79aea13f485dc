"""--until-quiet MINUTES: a timed study waits until nobody else uses the cores."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ablations.launch.local.stop import Stop
from reformer_pl.config import ConfigError

STAT = Path("/proc/stat")
LOOK_SECONDS = 2.0
MOST_BUSY_SHARE = 0.05  # of the time of all cores


@dataclass
class QuietWait:
    """`minutes` are those of all waits of a study together; 0 waits never."""

    minutes: float
    stat: Path = STAT
    seconds_waited: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        if self.minutes and not self.stat.exists():
            raise ConfigError(f"--until-quiet reads {self.stat}, which this system has not")

    def wait(self, stop: Stop, print_line: Callable[[str], None]) -> None:
        """Return when the machine is quiet, when the minutes are over, or on a signal."""
        announced = False
        while not stop.signals and self.seconds_waited < 60 * self.minutes:
            before = self.stat.read_text()
            time.sleep(LOOK_SECONDS)
            busy = busy_share(before, self.stat.read_text())
            if busy <= MOST_BUSY_SHARE:
                return
            self.seconds_waited += LOOK_SECONDS
            if not announced:
                print_line(f"  waiting for a quiet machine: its cores are {100 * busy:.0f} % busy")
                announced = True
        if announced and not stop.signals:
            print_line(f"  the machine was not quiet within {self.minutes:g} minutes: going on")


def busy_share(before: str, after: str) -> float:
    """The share of all cores' time that was used between two texts of /proc/stat, 0 to 1."""
    spent = [late - early for early, late in zip(_ticks(before), _ticks(after), strict=True)]
    total = sum(spent)
    return 1 - (spent[3] + spent[4]) / total if total else 0.0


def _ticks(text: str) -> list[int]:
    """user, nice, system, idle, iowait, irq, softirq, steal; guests are within user."""
    return [int(word) for word in text.splitlines()[0].split()[1:9]]
