"""LSH attention traced on tensors without data: a graph for real tensors, or only sizes where
memory is predicted.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from reformer_pl.lsh import attend, draw_rotations, hash_buckets, lsh_attention, plan_attention
from reformer_pl.lsh import budget as lsh_budget
from reformer_pl.lsh.budget import sizes_alone

LENGTH, HEADS, HEAD_SIZE, CHUNK = 37, 1, 8, 8
WINDOWS = [
    {"window": "chunk"},
    {"window": "causal"},
    {"window": "wrap", "bucket_mask": False, "dedupe": False},
]
windows = pytest.mark.parametrize("m", WINDOWS, ids=lambda m: m["window"])


def draw(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    qk, v = torch.randn(2, 1, HEADS, LENGTH, HEAD_SIZE, generator=generator)
    return qk, v


class Attention(nn.Module):
    """Rounds of fixed rotations, as a graph has them."""

    def __init__(self, m: dict[str, Any]) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.rotations = draw_rotations(HEADS, HEAD_SIZE, 2, (12,), generator)
        self.options = {"n_hashes": 2, "chunk_len": CHUNK, "n_buckets": 12, **m}

    def forward(self, qk: Tensor, v: Tensor) -> Tensor:
        return lsh_attention(qk, v, rotations=self.rotations, **self.options)[0]


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two chunks a tile, so that a loop that stops early leaves most of the result unfilled."""
    monkeypatch.setitem(lsh_budget.TILE_BYTES, "cpu", 2 * 2 * CHUNK * CHUNK * 4)


@windows
def test_a_graph_traced_on_fake_tensors_is_the_attention(m: dict[str, Any]) -> None:
    """Output and gradients, on other inputs than the traced ones."""
    attention = Attention(m)

    def forward_backward(qk: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        qk, v = qk.detach().requires_grad_(), v.detach().requires_grad_()
        out = attention(qk, v)
        return out, *torch.autograd.grad(out.square().sum(), (qk, v))

    # Rotations are no input of the graph: fake tensors beside a real one need the mode's consent.
    graph = make_fx(forward_backward, tracing_mode="fake", _allow_non_fake_inputs=True)(*draw(0))
    for traced, eager in zip(graph(*draw(1)), forward_backward(*draw(1)), strict=True):
        assert torch.equal(traced, eager)


@pytest.mark.parametrize("strict", [False, True], ids=["traced", "strict"])
def test_an_exported_attention_is_the_attention(strict: bool) -> None:
    attention = Attention({})
    exported = torch.export.export(attention, draw(0), strict=strict).module()
    assert torch.equal(exported(*draw(1)), attention(*draw(1)))


def test_sizes_alone_takes_fewer_tiles_of_the_same_shapes_and_ends() -> None:
    """Where memory is predicted, and nowhere else: with real tensors too, the rest is left as it
    was.
    """
    qk, v = draw(0)

    def calls() -> int:
        with torch.profiler.profile() as profiler:
            plan, _ = plan_attention(qk, n_hashes=4, chunk_len=CHUNK)
            assert attend(qk, v, plan).shape == v.shape
        return sum(event.count for event in profiler.key_averages() if "flash" in event.key)

    every = calls()
    with sizes_alone():
        some = calls()
    assert 0 < some < every == calls()


def test_nothing_but_the_prediction_says_that_only_sizes_count() -> None:
    """A fake tensor does not: hashing under any other fake mode takes every slice."""
    rotations = draw_rotations(HEADS, HEAD_SIZE, 2, (12,), None)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        graph = make_fx(lambda x: hash_buckets(x, rotations, (12,)), _allow_non_fake_inputs=True)
        fake = graph(mode.from_tensor(draw(0)[0]))
    qk = draw(1)[0]
    assert torch.equal(fake(qk), hash_buckets(qk, rotations, (12,)))
