"""The Pareto front: the variants that no other one beats in both of two numbers."""

from collections.abc import Sequence

import pandas as pd


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
