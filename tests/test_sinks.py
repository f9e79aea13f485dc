"""`sinks`: the last keys and the first, equal to its dense definition for any length and window."""

import pytest
import torch
from torch import Tensor

from reformer_pl.config import ConfigError
from reformer_pl.sparse.sinks import sinks
from test_attention import assert_same_kernel, draw, masked
from tiny import tiny


def sink_reach(length: int, window: int, n_sinks: int) -> Tensor:
    return torch.tensor(
        [[j <= i and (i - j < window or j < n_sinks) for j in range(length)] for i in range(length)]
    )


@pytest.mark.parametrize(
    "window, n_sinks", [(1, 0), (1, 3), (3, 0), (4, 4), (5, 2), (2, 7), (64, 9)]
)
@pytest.mark.parametrize("length", [1, 2, 5, 6, 8, 11, 12, 14, 15, 16, 29, 65])
def test_sinks_are_their_definition(length: int, window: int, n_sinks: int) -> None:
    q, k, v = (draw(2, 3, length, 5, seed=i) for i in range(3))
    expected = masked(q, k, v, sink_reach(length, window, n_sinks))
    assert_same_kernel(sinks(q, k, v, window, n_sinks), expected, [q, k, v])


@pytest.mark.parametrize(
    "override, words",
    [
        ("model.sinks.window=0", "model.sinks.window must be at least 1"),
        ("model.sinks.window=-3", "model.sinks.window must be at least 1"),
        ("model.sinks.n_sinks=-1", "model.sinks.n_sinks -1 must not be negative"),
    ],
)
def test_no_illegal_window(override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        tiny(override)
