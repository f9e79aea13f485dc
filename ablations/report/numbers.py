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


def digits(values: Iterable[float]) -> int:
    """Decimals that leave the smallest number of a column three digits."""
    smallest = min((abs(value) for value in values if not pd.isna(value) and value), default=1.0)
    return min(6, max(0, 2 - math.floor(math.log10(smallest))))


def best_of(values: Iterable[float], better: Callable[[list[float]], float]) -> list[int]:
    """The places of the best number, ties included; none where there is nothing to compare."""
    values = list(values)
    present = [value for value in values if not pd.isna(value)]
    if len(present) < 2:
        return []
    return [i for i, value in enumerate(values) if value == better(present)]
