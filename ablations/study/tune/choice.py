"""Which value of the tuned keys a variant gets: a pure function of the scores of its tuning cells.

A score is None while its cell has not ended, and NaN where the cell failed or diverged.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from reformer_pl.metrics import Metric


@dataclass(frozen=True)
class Option:
    """One value of each tuned key that a variant has, and its scores, one for each tuning seed."""

    labels: tuple[str, ...]  # one for each tuned key, lr=0.001; empty where the variant has it not
    scores: tuple[float | None, ...] = ()

    @property
    def has_ended(self) -> bool:
        return None not in self.scores

    @property
    def n_failed(self) -> int:
        """Of the seeds that have ended."""
        return sum(score is not None and not math.isfinite(score) for score in self.scores)

    @property
    def mean(self) -> float:
        """Over the seeds that ended well; NaN where none did."""
        finite = [score for score in self.scores if score is not None and math.isfinite(score)]
        return fmean(finite) if finite else math.nan

    def __str__(self) -> str:
        return " / ".join(label for label in self.labels if label)


@dataclass(frozen=True)
class Choice:
    """The options of a variant, in the order of the lists; `chosen` is None while one is open."""

    options: tuple[Option, ...]
    chosen: Option | None = None
    edges: tuple[str, ...] = ()  # the chosen labels that are the least or the greatest of a list


def choose(
    options: Sequence[Option], metric: Metric, edges: Sequence[frozenset[str]] = ()
) -> Choice:
    """The option of the best mean. One with fewer failed seeds goes before, and ties to the first.

    A variant with a single option needs no score. `edges` are the labels at the ends of the list of
    each tuned key.
    """
    options = tuple(options)
    if len(options) > 1 and not all(option.has_ended for option in options):
        return Choice(options)
    chosen = min(options, key=lambda option: _rank(option, metric))  # the first of equal ones
    at_edge = [label for label, ends in zip(chosen.labels, edges, strict=False) if label in ends]
    return Choice(options, chosen, tuple(at_edge) if len(options) > 1 else ())


def _rank(option: Option, metric: Metric) -> tuple[int, float]:
    """The least is the best."""
    mean = option.mean
    if math.isnan(mean):
        return option.n_failed, math.inf
    return option.n_failed, -mean if metric.higher_is_better else mean


def ends_of(values: Mapping[str, str | int | float]) -> frozenset[str]:
    """The labels at the ends of a list: of numbers the least and the greatest, else first and last.

    A list of one value has none.
    """
    labels = list(values)
    if len(labels) < 2:
        return frozenset()
    numbers = [value for value in values.values() if not isinstance(value, str)]
    if len(numbers) == len(labels):
        labels.sort(key=lambda label: float(values[label]))
    return frozenset((labels[0], labels[-1]))
