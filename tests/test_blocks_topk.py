"""`blocks` and `topk`: equal to dense definitions that choose with Python's own sort."""

import math

import pytest
import torch

from reformer_pl.config import ConfigError
from reformer_pl.lsh import budget
from reformer_pl.sparse.blocks import blocks
from reformer_pl.sparse.topk import topk
from test_attention import assert_same, assert_same_kernel, block_reach, draw, masked, topk_reach
from tiny import assert_close, tiny


@pytest.mark.parametrize("chunk_len, top_k", [(1, 1), (3, 1), (4, 2), (4, 3), (5, 1), (64, 2)])
@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 12, 16, 17, 29, 65])
def test_blocks_are_their_definition(length: int, chunk_len: int, top_k: int) -> None:
    q, k, v = (draw(2, 3, length, 5, seed=i) for i in range(3))
    expected = masked(q, k, v, block_reach(q, k, chunk_len, top_k))
    assert_same_kernel(blocks(q, k, v, chunk_len, top_k), expected, [q, k, v])


def test_blocks_in_several_slabs_and_slices_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = (draw(2, 3, 37, 5, seed=i) for i in range(3))
    whole = blocks(q, k, v, 4, 2)
    monkeypatch.setitem(budget.TILE_BYTES, "cpu", 1000)
    assert_same(blocks(q, k, v, 4, 2), whole, [q, k, v], 1e-12)


def test_equal_keys_and_queries_that_choose_nothing_earlier_are_no_special_case() -> None:
    """All gates are equal, and the queries of the first block have no earlier one."""
    q, k, v = (torch.ones(1, 1, 13, 4, dtype=torch.float64) for _ in range(3))
    v = v * torch.arange(13)[:, None]
    out = blocks(q, k, v, 2, 1)[0, 0, :, 0]
    assert_close(out[:2], torch.tensor([0.0, 0.5]), 1e-12)
    choices = {(sum(range(4, 5)) + 2 * b + 2 * b + 1) / 3 for b in (0, 1)}
    assert any(math.isclose(out[4].item(), choice) for choice in choices)


@pytest.mark.parametrize("n_keys", [1, 2, 5, 64])
@pytest.mark.parametrize("length", [1, 2, 5, 6, 17])
def test_topk_is_its_definition(length: int, n_keys: int) -> None:
    q, k, v = (draw(2, 3, length, 5, seed=i) for i in range(3))
    expected = masked(q, k, v, topk_reach(q, k, n_keys))
    assert_same_kernel(topk(q, k, v, n_keys), expected, [q, k, v])


@pytest.mark.parametrize(
    "override, words",
    [
        ("model.blocks.chunk_len=0", "model.blocks.chunk_len must be at least 1, not 0"),
        ("model.blocks.top_k=0", "model.blocks.top_k must be at least 1, not 0"),
        ("model.topk.n_keys=-1", "model.topk.n_keys must be at least 1, not -1"),
    ],
)
def test_no_illegal_number_of_keys(override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        tiny(override)
