"""The CUDA road of LSH attention without a GPU: stand-ins with the kernels' own rules hold every
mode and dtype to the definition.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import definition
import reformer_pl.lsh as lsh
from cuda_ops import cuda_ops_on_cpu, heads_inside
from reformer_pl.lsh import budget as lsh_budget
from reformer_pl.lsh import kernels as lsh_kernels
from reformer_pl.lsh import lsh_attention
from reformer_pl.lsh.budget import sizes_alone
from reformer_pl.lsh.roads import refusal
from test_lsh import LEGAL, name

CHUNK, LENGTH, HEADS, HEAD_SIZE = 32, 200, 3, 16
DTYPES = [(torch.float32, 1e-5), (torch.bfloat16, 1.5e-2), (torch.float16, 2e-3)]
aten = torch.ops.aten


@pytest.fixture
def calls() -> Iterator[dict[str, int]]:
    with cuda_ops_on_cpu() as calls:
        yield calls


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return ((actual.double() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("chunks", [1, 3, 1000], ids="{} chunks a tile".format)
@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES, ids=str)
@pytest.mark.parametrize("m", LEGAL, ids=name)
def test_the_cuda_road_is_the_definition(
    m: dict[str, Any],
    dtype: torch.dtype,
    tolerance: float,
    chunks: int,
    calls: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Output and both gradients, whether a tile is one chunk, some chunks of a sequence or several
    sequences.
    """
    monkeypatch.setattr(lsh, "choose_road", lambda *_: "efficient")
    monkeypatch.setitem(lsh_budget.TILE_BYTES, "cpu", chunks * 2 * CHUNK * CHUNK * dtype.itemsize)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 2, LENGTH, HEADS, HEAD_SIZE, generator=generator, dtype=torch.float64)
    qk, v, weights = x.to(dtype).transpose(2, 3)
    qk, v = qk.requires_grad_(), v.requires_grad_()
    padded = torch.arange(LENGTH) >= torch.tensor([[LENGTH], [70]])
    out, buckets = lsh_attention(
        qk, v, n_hashes=3, chunk_len=CHUNK, key_padding_mask=padded, generator=generator, **m
    )
    gradients = torch.autograd.grad((out * weights).sum(), (qk, v))
    q64, v64 = (t.detach().double().requires_grad_() for t in (qk, v))
    expected = definition.lsh_attention(
        q64, v64, buckets, chunk_len=CHUNK, key_padding_mask=padded, **m
    )
    wanted = torch.autograd.grad((expected * weights.double()).sum(), (q64, v64))
    assert calls["forward"] == calls["backward"] > 0
    for actual, want in zip((out.detach(), *gradients), (expected.detach(), *wanted), strict=True):
        assert relative_error(actual, want) <= tolerance


def tile(m: int, head_size: int, dtype: torch.dtype = torch.float16) -> list[Tensor]:
    """q, k, v and a bias of two rows with two chunks each."""
    shapes = (m, head_size), (2 * m, head_size), (2 * m, head_size), (m, 2 * m)
    return [torch.randn(2, 2, *shape).to(dtype) for shape in shapes]


@pytest.mark.parametrize(
    ("m", "head_size", "reason"),
    [(36, 64, "bias of shape"), (38, 64, "strides"), (32, 20, "strides")],
)
def test_what_the_kernels_would_not_take_goes_by_the_plain_road(
    m: int, head_size: int, reason: str, calls: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RuntimeError, match=reason):
        aten._scaled_dot_product_efficient_attention(*tile(m, head_size), True, scale=1.0)
    q = torch.empty(1, head_size, dtype=torch.float16, device="meta")
    with sizes_alone():  # so that the device is not asked
        assert "in steps of" in refusal("efficient", q, m)


@pytest.mark.parametrize("m", [32, 64, 96])
def test_the_log_sum_exp_of_the_chunks_that_take_the_road_has_no_padding(
    m: int, calls: dict[str, int]
) -> None:
    """Tiles cut and join it by position; in a chunk of another length its rows would be of another
    length than the chunk.
    """
    _, lse = lsh_kernels.tile_forward("efficient", *tile(m, 16))
    assert lse.shape == (2, 2, m)
    _, padded, _, _ = aten._scaled_dot_product_efficient_attention(*tile(40, 16), True, scale=1.0)
    assert padded.shape == (2, 2, 64) and (padded[..., 40:] == torch.inf).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_the_stand_in_sees_an_output_that_lies_otherwise(
    dtype: torch.dtype, calls: dict[str, int]
) -> None:
    """With one chunk a row it makes no difference, which is how it escapes a small test; with two
    it does.
    """
    inputs = tile(32, 16, dtype)
    out, lse = lsh_kernels.tile_forward("efficient", *inputs)
    q, k, v, bias = inputs

    def dq(out: Tensor, n: int) -> Tensor:
        q_, k_, v_, bias_, out_, lse_ = (x[:, :n] for x in (q, k, v, bias, out, lse))
        grad = heads_inside(torch.ones_like(q_))
        road = "efficient"
        return lsh_kernels.tile_backward(road, grad, q_, k_, v_, out_, lse_, bias_)[0]

    assert torch.equal(dq(out, 2), dq(heads_inside(out), 2))
    assert not torch.allclose(dq(out, 2), dq(out.contiguous(), 2))
    assert torch.equal(dq(out[:, :1].contiguous(), 1), dq(heads_inside(out[:, :1]), 1))
