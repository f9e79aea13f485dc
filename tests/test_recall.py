"""The recall task: what a sequence is, which tokens are scored, and the accuracy by distance."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from reformer_pl.config import ConfigError
from reformer_pl.config.rules import recall_counts
from reformer_pl.loss import token_loss
from reformer_pl.metrics import RECALL_SLICES
from reformer_pl.tasks import build_task
from reformer_pl.tasks.batches import SequenceData
from tiny import tiny

SHAPES = [  # length, pairs, noise, and the queries and fillers that follow
    (64, 16, 0.0, 16, 0),
    (12, 2, 0.34, 2, 4),
    (63, 8, 0.0, 23, 1),
    (40, 5, 0.2, 11, 8),
    (200, 64, 0.1, 26, 20),
    (4, 1, 0.0, 1, 0),
]


def recall(length: int, pairs: int, noise: float, **values: object) -> SequenceData:
    words = {"name": "recall", "length": length, "pairs": pairs, "noise": noise, **values}
    return build_task(tiny(*(f"task.{key}={value}" for key, value in words.items())))


def units(row: list[int], scored: list[int]) -> Iterator[tuple[int, int, int, int]]:
    """(position, key, value, scored) of the pairs and queries, by a slow reading from the left."""
    at = 0
    while at < len(row):
        if row[at] >= 128:
            assert not scored[at]
            at += 1
            continue
        assert row[at] < 64 <= row[at + 1] < 128 and not scored[at]
        yield at, row[at], row[at + 1], scored[at + 1]
        at += 2


@pytest.mark.parametrize(("length", "pairs", "noise", "queries", "fillers"), SHAPES)
def test_a_sequence_is_pairs_and_then_queries_that_they_answer(
    length: int, pairs: int, noise: float, queries: int, fillers: int
) -> None:
    assert recall_counts(length, pairs, noise) == (queries, fillers)
    data = recall(length, pairs, noise, batch_size=4)
    tokens, scored = data.train_batch(0)
    assert tokens.shape == scored.shape == (4, length) and (scored > 0).sum() == 4 * queries
    orders = set()
    for row, marks in zip(tokens.tolist(), scored.tolist(), strict=True):
        found = list(units(row, marks))
        assert len(found) == pairs + queries and sum(x >= 128 for x in row) == fillers
        value_of = {key: value for _, key, value, _ in found[:pairs]}
        last = {key: at for at, key, _, _ in found[:pairs]}
        assert len(value_of) == pairs and not any(mark for *_, mark in found[:pairs])
        for at, key, value, mark in found[pairs:]:
            assert value == value_of[key]
            assert mark == math.ceil(4 * (at - last[key]) / length)
            last[key] = at
        for first in range(pairs, pairs + queries, pairs):  # no key twice in one order
            asked = [key for _, key, *_ in found[first : first + pairs]]
            assert len(set(asked)) == len(asked)
        orders.add(tuple(key for _, key, *_ in found[pairs:]))
    assert len(orders) == 4 or pairs == 1


def test_position_alone_does_not_solve_it() -> None:
    """The most frequent answer at each position, over many sequences, is right by chance alone."""
    data = recall(16, 4, 0.0, batch_size=2000)
    fitted, tested = data.train_batch(0), data.train_batch(1)
    guess = torch.nn.functional.one_hot(fitted.tokens, 144).sum(0).argmax(-1)
    back = [
        ((tested.tokens == tested.tokens.roll(lag, 1)) & (tested.scored > 0)).sum()
        for lag in range(1, 16)
    ]
    n_scored = (tested.scored > 0).sum()
    right = ((tested.tokens == guess) & (tested.scored > 0)).sum()
    assert right / n_scored < 0.03 and max(back) / n_scored < 0.3


@pytest.mark.parametrize("chunks", [1, 5])
def test_the_accuracy_by_distance_adds_up_in_chunks_as_in_whole(chunks: int) -> None:
    data = recall(40, 5, 0.2, batch_size=3)
    tokens, scored = data.train_batch(0)
    generator = torch.Generator().manual_seed(0)
    wrong = torch.rand(tokens.shape, generator=generator) < 0.3
    logits = 20 * torch.nn.functional.one_hot((tokens + wrong) % 144, 144).double()

    def identity(x: Tensor) -> Tensor:
        return x

    loss = token_loss(logits, identity, tokens, scored, chunks, data.loss)
    values = loss.values()
    expected = -logits.log_softmax(-1).gather(2, tokens[..., None])[..., 0][scored > 0].mean()
    assert torch.isclose(loss.mean(), expected)
    assert values["accuracy"][0] == (~wrong)[scored > 0].double().mean().float()
    for number, metric in enumerate(RECALL_SLICES, 1):
        value, weight = values[metric.name]
        assert weight == (scored == number).sum()
        if weight:
            assert value == (~wrong)[scored == number].double().mean().float()
    assert sum(int(values[metric.name][1]) for metric in RECALL_SLICES) == (scored > 0).sum()


@pytest.mark.parametrize(
    ("values", "fix"),
    [
        ({"pairs": 0}, "task.pairs 0 must be 1 to 64"),
        ({"pairs": 65, "length": 400}, "task.pairs 65 must be 1 to 64"),
        ({"noise": 1.0}, "at least 0 and below 1"),
        ({"noise": -0.1}, "at least 0 and below 1"),
        ({"pairs": 9, "length": 18}, "no room for a query"),
        ({"pairs": 2, "length": 12, "noise": 0.6}, "no room for a query"),
    ],
)
def test_what_does_not_fit_is_refused(values: dict[str, float], fix: str) -> None:
    with pytest.raises(ConfigError, match=fix):
        recall(**({"length": 18, "pairs": 4, "noise": 0.0} | values))
