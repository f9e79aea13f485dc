"""Who wins, by what was measured.

Bold are the variants that can be the best of a column. On the Pareto front are those that no other
one beats in both of two numbers.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import pandas as pd

from ablations.report.interval import paired_difference
from ablations.report.table import overlap
from ablations.report.variant_means import disturbed_variants, finished_by_variant, step_quartiles
from ablations.study import Study
from reformer_pl.metrics import STEP_SECONDS, Metric


def bold_words(study: Study) -> str:
    """For a caption: what bold means."""
    if len({cell.seed for cell in study.cells}) > 1:
        return (
            " Bold: the best mean, and those whose paired difference from it has an interval that "
            "holds 0; none of fewer seeds than another."
        )
    times = ", and a time whose quartiles overlap those of the best" if study.timed else ""
    return f" Bold: the best of one seed each{times}."


def bold_variants(study: Study, cells: pd.DataFrame, metric: Metric, places: int) -> set[str]:
    """The variants that are bold in a metric's column, from rows of `results.load_cells`.

    None of times where cells may have run side by side.
    """
    if metric.flag and not study.timed:
        return set()
    finished = finished_by_variant(study, cells)
    values = {
        variant: metric.scale * rows.set_index("seed")[metric.name]
        for variant, rows in finished.items()
    }
    disturbed = disturbed_variants(study, cells, metric.flag)
    bold = winners(values, metric.better, places, disturbed)
    if metric == STEP_SECONDS:
        ranges = {variant: step_quartiles(rows) for variant, rows in finished.items()}
        best = [ranges[variant] for variant in bold]
        bold |= {
            variant
            for variant, own in ranges.items()
            if variant not in disturbed and any(overlap(own, other) for other in best)
        }
    return bold


def winners(
    values: Mapping[str, pd.Series],
    better: Callable[[Iterable[float]], float],
    places: int,
    disturbed: Collection[str] = (),
) -> set[str]:
    """Of numbers by seed, one series a variant: the best mean, and every one that is not shown to
    be worse on the seeds that both have. None of fewer seeds than another, and none disturbed.

    Means are equal where they are when rounded. Empty where there is nothing to compare, and where
    the best was disturbed.
    """
    numbers = {name: series.astype(float).dropna() for name, series in values.items()}
    numbers = {name: series for name, series in numbers.items() if len(series)}
    if len(numbers) < 2:
        return set()
    means = {name: round(series.mean(), places) for name, series in numbers.items()}
    equal = [name for name in numbers if means[name] == better(means.values())]
    if all(name in disturbed for name in equal):
        return set()
    most, best = max(map(len, numbers.values())), numbers[equal[0]]
    return {
        name
        for name, series in numbers.items()
        if len(series) == most
        and name not in disturbed
        and (name in equal or paired_difference(best, series).holds_0)
    }


def pareto_front(
    costs: Sequence[float], scores: Sequence[float], higher_is_better: bool = False
) -> list[bool]:
    """For each point, whether no other has at most its cost and at least its score, and is better
    in one. NaN is never on the front.
    """
    points = [
        (cost, -score if higher_is_better else score)
        for cost, score in zip(costs, scores, strict=True)
    ]
    complete = [point for point in points if not any(pd.isna(value) for value in point)]
    return [
        point in complete
        and not any(
            other != point and other[0] <= point[0] and other[1] <= point[1] for other in complete
        )
        for point in points
    ]
