"""Whether a measurement was disturbed: the two limits, and the mark that its numbers then carry.

It takes what result.json has, or a row of results.csv. A disturbed number is never bold, and a
ratio that stands on one carries the mark, too.
"""

import math
from collections.abc import Mapping
from typing import Any

MOST_WAITED_SHARE = 0.02  # of the seconds in which its threads waited for a core or ran
MOST_SPREAD = 0.10  # from the first to the third quartile, as a share of the median
MARK = "†"
MARK_MEANS = (
    f"{MARK} disturbed: the process waited for a core for more than "
    f"{100 * MOST_WAITED_SHARE:.0f} % of its time, or the quartiles of its steps are more than "
    f"{100 * MOST_SPREAD:.0f} % of the median apart, or another process was on its GPU."
)


def is_disturbed(numbers: Mapping[str, Any]) -> bool:
    """What is not known disturbs nothing: a result without any of these numbers is not marked."""
    return bool(disturbance(numbers))


def disturbance(numbers: Mapping[str, Any]) -> str:
    """ "disturbed: it waited for a core for 34 % of its time"; empty where nothing disturbed."""
    waited = _number(numbers, "waited_share")
    if waited > MOST_WAITED_SHARE:
        return f"disturbed: it waited for a core for {100 * waited:.0f} % of its time"
    typical = _number(numbers, "step_seconds")
    apart = _number(numbers, "step_seconds_q3") - _number(numbers, "step_seconds_q1")
    if math.isnan(apart):  # of a benchmark of version 0.1.0
        apart = _number(numbers, "step_seconds_iqr")
    if typical > 0 and apart / typical > MOST_SPREAD:
        return f"disturbed: its quartiles are {100 * apart / typical:.0f} % of the median apart"
    shared = _number(numbers, "device_is_shared")
    return "disturbed: another process was on its GPU" if shared == 1 else ""


def marked(text: str, disturbed: bool) -> str:
    return f"{text}{MARK}" if disturbed else text


def _number(numbers: Mapping[str, Any], name: str) -> float:
    value = numbers.get(name)
    return float(value) if isinstance(value, int | float) else math.nan
