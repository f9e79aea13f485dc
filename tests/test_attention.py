"""full, shared_full and local equal dense definitions written here.

lsh in a model is `lsh_attention` with replayable buckets.
"""

import itertools
import math

import pytest
import torch
from torch import Tensor

from reformer_pl import attention
from reformer_pl.attention import Memo, MultiHeadAttention, build_attention, local, shared_full
from reformer_pl.config.rules import ATTENTIONS, SHARED_QK
from reformer_pl.lsh import draw_rotations, lsh_attention
from tiny import assert_close, tiny

CHUNK = 4
WINDOW, SINKS = 5, 2
TOP_BLOCKS, TOP_KEYS = 2, 3
LENGTHS = [1, 2, 3, 4, 5, 7, 8, 9, 12, 21]
PROJECTED = [
    k for k in ATTENTIONS if isinstance(build_attention(tiny().model, k), MultiHeadAttention)
]
KINDS = [kind for kind in PROJECTED if kind != "lsh"]  # which has tests of its own


def reach(kind: str, length: int) -> Tensor:
    """(L, L) bool: which key j (column) the query i (row) may see."""
    seen = torch.zeros(length, length, dtype=torch.bool)
    for i in range(length):
        for j in range(i + 1):
            match kind:
                case "full":
                    seen[i, j] = True
                case "shared_full":
                    seen[i, j] = j < i or i == 0  # itself only when there is nothing else
                case "local":
                    seen[i, j] = i // CHUNK - j // CHUNK <= 1
                case "sinks":
                    seen[i, j] = i - j < WINDOW or j < SINKS
                case _:
                    raise ValueError(f"say here who sees whom in {kind}")
    return seen


def dense(kind: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax over a masked (L, L) table.

    Logits are q.k/|k| for shared queries and keys, q.k/sqrt(D) for the others.
    """
    scale = q.shape[-1] ** -0.5
    match kind:  # these choose by what q and k are
        case "blocks":
            return masked(q, k, v, block_reach(q, k, CHUNK, TOP_BLOCKS))
        case "topk":
            return masked(q, k, v, topk_reach(q, k, TOP_KEYS))
    if kind in SHARED_QK:
        k, scale = k / k.norm(dim=-1, keepdim=True), 1.0
    scores = (q @ k.transpose(-1, -2) * scale).masked_fill(~reach(kind, q.shape[2]), -math.inf)
    return scores.softmax(-1) @ v


def masked(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    return scores.masked_fill(~seen, -math.inf).softmax(-1) @ v


@torch.no_grad()
def block_reach(q: Tensor, k: Tensor, chunk_len: int, top_k: int) -> Tensor:
    """(B, H, L, L) bool of `blocks`: the own block, and the earlier ones with the best mean key."""
    seen = torch.zeros(*q.shape[:3], q.shape[2], dtype=torch.bool)
    for b, h, i in itertools.product(*(range(n) for n in q.shape[:3])):
        own = i // chunk_len
        means = [k[b, h, j * chunk_len : (j + 1) * chunk_len].mean(0) for j in range(own)]
        best = sorted(range(own), key=lambda j: -float(q[b, h, i] @ means[j]))[:top_k]
        for j in range(i + 1):
            seen[b, h, i, j] = j // chunk_len == own or j // chunk_len in best
    return seen


@torch.no_grad()
def topk_reach(q: Tensor, k: Tensor, n_keys: int) -> Tensor:
    """(B, H, L, L) bool of `topk`: the keys up to the own with the highest scores."""
    seen = torch.zeros(*q.shape[:3], q.shape[2], dtype=torch.bool)
    for b, h, i in itertools.product(*(range(n) for n in q.shape[:3])):
        best = sorted(range(i + 1), key=lambda j: -float(q[b, h, i] @ k[b, h, j]))[:n_keys]
        seen[b, h, i, best] = True
    return seen


def heads(x: Tensor, n_heads: int) -> Tensor:
    """(B, L, d_model) -> (B, H, L, D): head h owns the columns h * D to (h + 1) * D."""
    return torch.stack(x.chunk(n_heads, dim=-1), 1)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(
        *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    ).requires_grad_()


def assert_same(
    out: Tensor, expected: Tensor, inputs: list[Tensor], tolerance: float = 1e-10
) -> None:
    """Outputs, and the gradients of a weighted sum."""
    assert_close(out, expected, tolerance, "out")
    weights = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(9))
    got, want = (torch.autograd.grad((weights * y).sum(), inputs) for y in (out, expected))
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        assert_close(a, b, tolerance, f"gradient {i}")


def assert_same_kernel(out: Tensor, expected: Tensor, inputs: list[Tensor]) -> None:
    """Of (q, k, v). A lone token is its own value, whatever it asks: q and k have no gradient."""
    q, k, _ = inputs
    out, expected = (y + 0 * (q.sum() + k.sum()) for y in (out, expected))
    assert_same(out, expected, inputs)


@pytest.mark.parametrize("length", LENGTHS)
def test_shared_full_is_its_definition(length: int) -> None:
    qk, v = draw(2, 3, length, 5), draw(2, 3, length, 5, seed=1)
    assert_same(shared_full(qk, v) + 0 * qk, dense("shared_full", qk, qk, v) + 0 * qk, [qk, v])


@pytest.mark.parametrize("length", LENGTHS)
def test_local_is_its_definition(length: int) -> None:
    q, k, v = (draw(2, 3, length, 5, seed=i) for i in range(3))
    assert_same(local(q, k, v, CHUNK), dense("local", q, k, v), [q, k, v])


def test_local_sees_its_own_chunk_and_the_one_before_and_no_other() -> None:
    v = draw(1, 1, 16, 4)
    for i in (0, 3, 4, 11, 12, 15):
        (g,) = torch.autograd.grad(local(v, v.detach(), v, CHUNK)[0, 0, i].sum(), [v])
        seen = (g[0, 0] != 0).any(-1).nonzero().flatten().tolist()
        assert seen == list(range(max(0, i // CHUNK - 1) * CHUNK, i + 1))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_is_its_projections_around_the_definition(kind: str, length: int) -> None:
    """Forward and every gradient, from the weights by hand."""
    torch.manual_seed(3)
    layer = build_attention(tiny("model.n_heads=2").model, kind).double()
    x = draw(3, length, 8)
    weight = {name.removesuffix(".weight"): p for name, p in layer.named_parameters()}
    q, k = (weight[name] for name in ("q", "k")) if "q" in weight else (weight["qk"], weight["qk"])
    y = dense(kind, heads(x @ q.T, 2), heads(x @ k.T, 2), heads(x @ weight["v"].T, 2))
    expected = torch.cat(list(y.unbind(1)), -1) @ weight["out"].T
    out, memo = layer(x, Memo(7))
    assert memo == Memo(7)  # nothing to replay
    if (
        length == 1
    ):  # a lone token is its own value whatever it asks: queries and keys have gradient 0
        out, expected = (y + 0 * sum(w.sum() for w in weight.values()) for y in (out, expected))
    assert_same(out, expected, [x, *layer.parameters()])


def test_names_and_shapes_of_the_parameters() -> None:
    for kind in PROJECTED:
        names = [name for name, _ in build_attention(tiny().model, kind).named_parameters()]
        assert names == [
            f"{name}.weight"
            for name in (("qk", "v", "out") if kind in SHARED_QK else ("q", "k", "v", "out"))
        ]


@pytest.mark.parametrize("window", ["chunk", "causal"])
@pytest.mark.parametrize("n_buckets", ["null", "6", "[2,4]"])
@pytest.mark.parametrize("length", [1, 4, 18, 21])
def test_an_lsh_layer_is_lsh_attention_with_rotations_of_the_hash_seed(
    length: int, n_buckets: str, window: str
) -> None:
    config = tiny(
        f"model.lsh.n_buckets={n_buckets}", f"model.lsh.window={window}", "model.lsh.n_hashes=3"
    ).model
    torch.manual_seed(3)
    layer = build_attention(config, "lsh").double()
    x = draw(2, length, 8)
    qk, v = (heads(x @ p.weight.T, 2) for p in (layer.qk, layer.v))
    n = config.lsh.n_buckets
    factors = (2 * max(1, length // 4),) if n is None else (n,) if isinstance(n, int) else tuple(n)
    rotations = draw_rotations(2, 4, 3, factors, torch.Generator().manual_seed(11))
    y, buckets = lsh_attention(
        qk, v, n_hashes=3, chunk_len=4, n_buckets=n, window=window, rotations=rotations
    )
    expected = torch.cat(list(y.unbind(1)), -1) @ layer.out.weight.T
    rng = torch.get_rng_state()
    out, memo = layer(x, Memo(11))
    assert torch.equal(
        torch.get_rng_state(), rng
    )  # hashing has its own generator, or dropout would replay wrongly
    in_order = buckets.flatten(0, 1).gather(
        2, memo.plan.order[..., :length].long()
    )  # padding comes last
    assert (in_order.diff() >= 0).all() and memo.hash_seed == 11
    assert_same(out, expected, [x, *layer.parameters()])


def test_a_memo_handed_back_replays_without_hashing_or_sorting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer = build_attention(tiny().model, "lsh").double()
    x = draw(2, 18, 8)
    out, memo = layer(x, Memo(11))
    again, other_memo = layer(x, Memo(12))
    assert not torch.equal(other_memo.plan.order, memo.plan.order) and not torch.allclose(
        again, out
    )
    monkeypatch.setattr(attention, "plan_attention", None)
    again, same = layer(x, memo._replace(hash_seed=12))
    assert torch.equal(again, out) and same.plan is memo.plan


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_bfloat16_stays_near_and_keeps_its_dtype(kind: str) -> None:
    torch.manual_seed(3)
    layer = build_attention(tiny().model, kind)
    x = draw(2, 21, 8).detach().float()
    expected, memo = layer(x, Memo(1))
    layer, x = layer.bfloat16(), x.bfloat16()
    out, _ = layer(x, memo)
    assert out.dtype == torch.bfloat16
    if kind in ("blocks", "topk"):  # rounded projections choose other keys: these are the same
        inputs = layer._project(x)
        out = layer.kernel(*inputs)
        assert out.dtype == torch.bfloat16
        expected = layer.kernel(*(y.float() for y in inputs))
    assert_close(out.float(), expected, 2e-2)
