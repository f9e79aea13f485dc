"""Where LSH attention is exact whatever the precision: the hash, and the comparison of codes."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch

from reformer_pl.attention import Memo, build_attention
from reformer_pl.lsh import draw_rotations, hash_buckets, lsh_attention
from reformer_pl.lsh.masks import lookup, reach, tile_bias
from reformer_pl.lsh.plan import Plan, largest_code, make_plan
from tiny import tiny

FACTORS, HEADS, HEAD_SIZE = (16, 8), 2, 64


@pytest.mark.parametrize("autocast", [False, True], ids=["alone", "autocast"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_every_precision_hashes_as_its_float32_copy(dtype: torch.dtype, autocast: bool) -> None:
    qk = torch.randn(1, HEADS, 4096, HEAD_SIZE, generator=torch.Generator().manual_seed(0))
    qk = qk.to(dtype)
    rotations = draw_rotations(
        HEADS, HEAD_SIZE, 2, FACTORS, generator=torch.Generator().manual_seed(1)
    )
    expected = hash_buckets(qk.float(), rotations, FACTORS)
    with torch.autocast("cpu", dtype=torch.bfloat16) if autocast else nullcontext():
        buckets = hash_buckets(qk, rotations, FACTORS)
        assert torch.equal(buckets, expected)
        generator = torch.Generator().manual_seed(1)
        options = {"n_hashes": 2, "chunk_len": 64, "n_buckets": FACTORS}
        assert torch.equal(lsh_attention(qk, qk, generator=generator, **options)[1], expected)


def test_a_layer_under_autocast_hashes_its_own_projections_in_float32() -> None:
    torch.manual_seed(0)
    layer, x = build_attention(tiny().model, "lsh"), torch.randn(2, 512, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, memo = layer(x, Memo(11))
        qk, v = layer._project(x)
    _, expected = layer.bfloat16()(x.bfloat16(), Memo(11))
    assert qk.dtype == v.dtype == torch.bfloat16
    assert torch.equal(memo.plan.order, expected.plan.order)


def bias(plan: Plan) -> torch.Tensor:
    """Of all chunks in the last round."""
    n, rounds, p = plan.order.shape
    rows = lookup(plan.chunk_len, plan.order.device)
    return tile_bias(plan, rows, reach(plan, slice(0, n), rounds - 1), 0, p // plan.chunk_len)


@pytest.mark.parametrize("offset", [2**23 - 20, 2**23, 2**24 - 20, 2**24 + 1, 2**31 - 2000])
@pytest.mark.parametrize("chunk_len", [7, 8])
@pytest.mark.parametrize(
    "m",
    [
        {"window": "chunk", "causal": True, "bucket_mask": True},
        {"window": "chunk", "causal": False, "bucket_mask": False},
        {"window": "causal", "causal": True, "bucket_mask": True},
    ],
    ids=lambda m: "-".join(str(value) for value in m.values()),
)
def test_masks_are_those_of_small_codes(m: dict[str, Any], chunk_len: int, offset: int) -> None:
    """Only differences of codes count. So codes as large as those of millions of tokens give the
    same bias.
    """
    buckets = torch.randint(0, 6, (1, 2, 3, 90), generator=torch.Generator().manual_seed(0))
    plan = make_plan(buckets, 6, chunk_len, dedupe=True, **m)
    assert plan.code.max() <= plan.largest_code
    far = plan._replace(code=plan.code + offset, largest_code=plan.largest_code + offset)
    assert torch.equal(bias(far), bias(plan))
    assert (bias(plan) == 0).any() and (bias(plan) != bias(plan._replace(dedupe=False))).any()


@pytest.mark.parametrize(("window", "m"), [("chunk", 4), ("causal", 4), ("causal", 1)])
def test_no_code_is_above_its_bound(window: str, m: int) -> None:
    """Every token in a bucket of its own, and two of padding behind them, reach the bound."""
    buckets = torch.arange(22).flip(0).view(1, 1, 1, 22)
    plan = make_plan(buckets, 22, m, True, True, False, window)
    p = plan.order.shape[2]
    edges = 22 if p > 22 else 21
    assert plan.code.max() == plan.largest_code == largest_code(p, m, edges, window)


def test_codes_that_no_int32_holds_are_refused_in_words() -> None:
    buckets = torch.empty(1, 1, 1, 2**26, dtype=torch.int32, device="meta")
    with pytest.raises(ValueError, match=r"2\*\*31: choose fewer buckets"):
        make_plan(buckets, 2**26, 64, True, True, True, "causal")
    assert largest_code(2**26, 64, 2**21, "causal") < 2**31
