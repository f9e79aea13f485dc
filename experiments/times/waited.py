"""Times that know when they were disturbed: what else a process did while its steps were timed.

A process that is ready to run and has no core waits. Linux counts these seconds for each thread,
as the run delay in /proc/self/task/*/schedstat. The waited share of a measurement is the seconds in
which its threads waited, divided by the seconds in which they waited or ran. It is 0 for a process
that always had its cores, and one third for a single thread beside two others on two cores.

Where a system counts no run delay, it is None, never 0.
"""

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

TASKS = Path("/proc/self/task")


class Counters(NamedTuple):
    """What the system has counted for this process so far."""

    cpu_seconds: float
    run_delays: dict[str, int] | None  # nanoseconds of each living thread
    involuntary_switches: int


def read_counters(tasks: Path = TASKS) -> Counters:
    switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    return Counters(time.process_time(), run_delays(tasks), switches)


def run_delays(tasks: Path = TASKS) -> dict[str, int] | None:
    """Nanoseconds that each thread has waited for a core: the second field of its schedstat.

    None where the system counts none: such a kernel has no such file, or zeros in all fields.
    """
    delays: dict[str, int] = {}
    counts = 0
    for path in tasks.glob("*/schedstat"):
        try:
            running, waiting, slices = map(int, path.read_text().split())
        except (OSError, ValueError):  # the thread has ended meanwhile
            continue
        delays[path.parent.name] = waiting
        counts += running + waiting + slices
    return delays if counts else None


def waited_between(before: Counters, after: Counters) -> float | None:
    """Seconds, summed over the threads that live at the end."""
    if before.run_delays is None or after.run_delays is None:
        return None
    earlier = before.run_delays
    delays = (delay - earlier.get(thread, 0) for thread, delay in after.run_delays.items())
    return sum(max(0, delay) for delay in delays) / 1e9


@dataclass
class TimedSteps:
    """The seconds of each timed step, and what was counted during all of them together."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: float = 0.0
    waited_seconds: float | None = 0.0
    involuntary_switches: int = 0
    device_is_shared: bool | None = None  # whether another process is on the GPU

    def add(self, seconds: Sequence[float], before: Counters, after: Counters) -> None:
        """Add steps, timed one after the other, with the counters from before and after them."""
        waited = waited_between(before, after)
        self.seconds += seconds
        self.cpu_seconds += after.cpu_seconds - before.cpu_seconds
        self.waited_seconds = _sum(self.waited_seconds, waited)
        self.involuntary_switches += after.involuntary_switches - before.involuntary_switches

    @property
    def waited_share(self) -> float | None:
        return waited_share(self.waited_seconds, self.cpu_seconds)

    def numbers(self) -> dict[str, Any]:
        """As result.json has them."""
        return {
            **quartile_numbers(self.seconds),
            "n_timed_steps": len(self.seconds),
            "waited_share": self.waited_share,
            "involuntary_switches": self.involuntary_switches if self.seconds else None,
            "device_is_shared": self.device_is_shared,
        }

    def counts(self) -> dict[str, Any]:
        """Everything but the seconds, by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)[1:]}


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def waited_share(waited_seconds: float | None, cpu_seconds: float) -> float | None:
    """0 to 1; None where the system counts no run delay, and where nothing has run."""
    if waited_seconds is None or waited_seconds + cpu_seconds <= 0:
        return None
    return waited_seconds / (waited_seconds + cpu_seconds)


def quartile_numbers(seconds: Sequence[float]) -> dict[str, float | None]:
    """The median of the steps and its quartiles; None where no step was timed."""
    if not seconds:
        return dict.fromkeys(("step_seconds", "step_seconds_q1", "step_seconds_q3"))
    low, high = quartiles(seconds)
    return {
        "step_seconds": median(seconds),
        "step_seconds_q1": low,
        "step_seconds_q3": high,
    }


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Between the two nearest values, by straight lines."""
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, high


def spread(values: Sequence[float]) -> float:
    """From the first to the third quartile, as a share of the median."""
    low, high = quartiles(values)
    return (high - low) / median(values)
