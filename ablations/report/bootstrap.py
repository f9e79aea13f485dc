"""Bootstrap intervals: what a mean over a few seeds says about the mean over all seeds.

Percentile bootstrap with a fixed seed, so that the same numbers always give the same interval. For
2 or 3 values it is their range, which holds the true mean in some 50 and 75 of 100 cases, not 95:
seeds are what makes an interval trustworthy, not the method.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd

RESAMPLES = 10_000
CONFIDENCE = 0.95


class Difference(NamedTuple):
    """`mean` (after minus before) over n pairs, its interval, and the two means over the same
    pairs.
    """

    mean: float
    low: float
    high: float
    n: int
    before: float
    after: float


def mean_interval(values: Iterable[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """(low, high) of the mean of the values that are not NaN; (NaN, NaN) for fewer than two."""
    present = np.array([value for value in values if not pd.isna(value)], dtype=float)
    if len(present) < 2:
        return math.nan, math.nan
    drawn = np.random.default_rng(0).integers(len(present), size=(RESAMPLES, len(present)))
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.quantile(present[drawn].mean(axis=1), ends)
    return float(low), float(high)


def paired_difference(before: pd.Series, after: pd.Series) -> Difference:
    """Of two series by seed, over the seeds where both have a number: the interval is of the mean
    of the differences seed by seed.
    """
    both = (
        pd.concat([before, after], axis=1, keys=["before", "after"], join="inner")
        .astype(float)
        .dropna()
    )
    differences = both["after"] - both["before"]
    return Difference(
        differences.mean(),
        *mean_interval(differences),
        len(both),
        both["before"].mean(),
        both["after"].mean(),
    )
