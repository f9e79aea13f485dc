"""A number with its unit, as every sentence and every table of the terminal spells it.

Memory is MiB below one GiB, and GiB from there on. The time of a step of training is s/step, of a
benchmark ms; longer times are clocks (h:mm:ss).
"""

import math

from reformer_pl.metrics import STEP_SECONDS, Metric, memory_metric

MIB_PER_GIB = 1024


def memory(gib: float) -> str:
    """ "64.7 MiB", "1.25 GiB"."""
    metric = memory_unit(gib)
    return f"{three_digits(metric.scale * gib)} {metric.suffix}"


def memory_unit(most_gib: float) -> Metric:
    """The metric of memory for the largest of some numbers: what rounds to one GiB is GiB."""
    return memory_metric(round(MIB_PER_GIB * most_gib) / MIB_PER_GIB)


def per_step(seconds: float) -> str:
    """ "0.253 s/step"."""
    return f"{three_digits(seconds)} {STEP_SECONDS.header}"


def milliseconds(seconds: float) -> str:
    """ "12.5 ms"."""
    return f"{three_digits(1e3 * seconds)} ms"


def duration(seconds: float) -> str:
    """ "1:05" minutes, or "2:01:05" hours."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def three_digits(value: float) -> str:
    """Three digits that count, from 0.000001 on: "0.0633", "64.7", "1024"."""
    if not value:
        return "0"
    power = math.floor(math.log10(float(f"{abs(value):.2e}")))  # 0.9999 is 1.00
    return f"{value:.{min(6, max(0, 2 - power))}f}"
