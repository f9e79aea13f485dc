"""Numbers as the text of a report: what is missing is a dash, never 0."""

import math
from collections.abc import Callable, Iterable

import pandas as pd

MISSING = "-"


def number(value: float, places: int) -> str:
    """ "1,234.5", or a dash."""
    return MISSING if pd.isna(value) else f"{value:,.{places}f}"


def signed(value: float, places: int) -> str:
    """A difference: "+0.012", "-3.4", and "0.00" where rounding leaves nothing."""
    if pd.isna(value) or not round(value, places):
        return number(value if pd.isna(value) else 0.0, places)
    return f"{value:+,.{places}f}"


def with_interval(
    mean: float, low: float, high: float, places: int, write: Callable[[float, int], str] = number
) -> str:
    """ "99.9 [99.7, 100.0]", or the number alone where there is no interval, or one that rounds to the number."""
    told, ends = write(mean, places), [write(low, places), write(high, places)]
    return (
        told
        if pd.isna(mean) or pd.isna(low) or ends == [told, told]
        else f"{told} [{', '.join(ends)}]"
    )


def digits(values: Iterable[float]) -> int:
    """Decimals that leave the smallest number of a column three digits."""
    smallest = min((abs(value) for value in values if not pd.isna(value) and value), default=1.0)
    return min(6, max(0, 2 - math.floor(math.log10(smallest))))
