"""LSH attention held to its quadratic definition: identities in float64, for every legal mode, any
length and any padding.
"""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import definition
import reformer_pl.lsh as lsh
from reformer_pl.attention import shared_full
from reformer_pl.lsh import budget as lsh_budget
from reformer_pl.lsh import lsh_attention

CHUNK = 8
B, H, D = 3, 2, 6


def mode(window: str, causal: bool, bucket_mask: bool, dedupe: bool) -> dict[str, Any]:
    return {"window": window, "causal": causal, "bucket_mask": bucket_mask, "dedupe": dedupe}


FLAGS = list(product([True, False], repeat=3))
LEGAL = (
    [mode("chunk", *flags) for flags in FLAGS]
    + [mode("causal", True, True, dedupe) for dedupe in (True, False)]
    + [mode("wrap", causal, False, False) for causal in (True, False)]
)
ILLEGAL = [
    mode(window, *flags)
    for window in ("causal", "wrap")
    for flags in FLAGS
    if mode(window, *flags) not in LEGAL
]


def name(m: dict[str, Any]) -> str:
    return "-".join(
        [m["window"], *(flag for flag in ("causal", "bucket_mask", "dedupe") if m[flag])]
    )


every_mode = pytest.mark.parametrize("m", LEGAL, ids=name)


def draw(
    length: int, dtype: torch.dtype = torch.float64, batch: int = B, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """qk, v and the weights of a scalar loss; as a model hands them over: heads split off by a
    transpose, so not contiguous.
    """
    generator = torch.Generator().manual_seed(seed)
    x = (
        torch.randn(3, batch, length, H, D, generator=generator, dtype=torch.float64)
        .to(dtype)
        .transpose(2, 3)
    )
    return x[0].requires_grad_(), x[1].requires_grad_(), x[2]


def draw_padding(length: int) -> Tensor:
    """(B, L): a sequence without padding, one padded at its end, one with its first token and a
    third of the others padded.
    """
    padded = torch.rand(B, length, generator=torch.Generator().manual_seed(1)) < 0.3
    padded[0], padded[1], padded[2, 0] = False, torch.arange(length) >= length // 3, True
    return padded


def gradients(out: Tensor, weights: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad((out * weights).sum(), inputs)


def assert_near(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    assert actual.shape == expected.shape
    error = (actual.double() - expected.double()).abs().max().item()
    assert error <= tolerance * max(1.0, expected.abs().max().item()), f"off by {error:.2e}"


def assert_definition(
    m: dict[str, Any],
    length: int,
    n_hashes: int,
    padded: Tensor | None,
    dtype: torch.dtype,
    tolerance: float,
) -> None:
    qk, v, weights = draw(length, dtype)
    generator = torch.Generator().manual_seed(2)
    out, buckets = lsh_attention(
        qk, v, n_hashes=n_hashes, chunk_len=CHUNK, key_padding_mask=padded, generator=generator, **m
    )
    assert out.dtype == dtype and out.shape == v.shape and buckets.shape == (B, H, n_hashes, length)
    q64, v64 = qk.detach().double().requires_grad_(), v.detach().double().requires_grad_()
    expected = definition.lsh_attention(
        q64, v64, buckets, chunk_len=CHUNK, key_padding_mask=padded, **m
    )
    assert_near(out, expected, tolerance)
    for actual, want in zip(
        gradients(out, weights, qk, v), gradients(expected, weights.double(), q64, v64), strict=True
    ):
        assert_near(actual, want, tolerance)
    again, _ = lsh_attention(
        qk, v, n_hashes=n_hashes, chunk_len=CHUNK, key_padding_mask=padded, buckets=buckets, **m
    )
    assert torch.equal(again, out)  # buckets handed back replay the call
    if padded is not None:
        assert not out.masked_select(padded[:, None, :, None]).any()


def test_the_definition_reaches_what_one_counts_by_hand() -> None:
    """Two rounds, chunks of 2. Sorted, round 0 is [0 2 | 4 1 | 3 5], round 1 [1 2 | 3 4 | 5 0]."""
    buckets, none = (
        torch.tensor([[0, 1, 0, 1, 0, 1], [1, 0, 0, 0, 0, 0]]),
        torch.zeros(6, dtype=torch.bool),
    )

    def reached(
        i: int, window: str, causal: bool, bucket_mask: bool, padded: Tensor = none
    ) -> dict[int, int]:
        counts = definition.reach_counts(
            buckets, padded, chunk_len=2, window=window, causal=causal, bucket_mask=bucket_mask
        )
        return {j: count for j, count in enumerate(counts[i].tolist()) if count}

    assert reached(4, "chunk", False, False) == {0: 1, 1: 2, 2: 2, 3: 1}
    assert reached(4, "chunk", True, True) == {0: 1, 1: 1, 2: 2, 3: 1}
    assert reached(2, "chunk", False, True) == {0: 1, 1: 1}
    assert reached(5, "causal", True, True) == {1: 1, 3: 2, 4: 1}
    assert reached(5, "causal", True, True, torch.arange(6) == 3) == {1: 1, 2: 1, 4: 1}
    assert reached(1, "wrap", False, False) == {
        0: 1,
        2: 2,
        3: 1,
        4: 1,
        5: 1,
    }  # round 1 looks back at [3 5] of round 0
    assert reached(0, "wrap", True, False) == {}


@pytest.mark.parametrize("padding", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize(("length", "n_hashes"), [(1, 2), (5, 3), (37, 3), (48, 1)])
@every_mode
def test_lsh_is_its_definition(
    m: dict[str, Any], length: int, n_hashes: int, padding: bool
) -> None:
    assert_definition(
        m, length, n_hashes, draw_padding(length) if padding else None, torch.float64, 1e-10
    )


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-4), (torch.bfloat16, 2e-2), (torch.float16, 2e-2)],
    ids=str,
)
@every_mode
def test_lsh_is_its_definition_in_lower_precision(
    m: dict[str, Any], dtype: torch.dtype, tolerance: float
) -> None:
    assert_definition(m, 37, 3, draw_padding(37), dtype, tolerance)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-10), (torch.bfloat16, 2e-2)],
    ids=["float64", "bfloat16"],
)
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
@every_mode
def test_neither_tiles_nor_the_plain_road_change_the_result(
    m: dict[str, Any],
    fused: bool,
    dtype: torch.dtype,
    tolerance: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(
        lsh_budget.TILE_BYTES, "cpu", 2 * 2 * CHUNK * CHUNK * dtype.itemsize
    )  # two chunks a tile
    if not fused:
        monkeypatch.setattr(lsh, "choose_road", lambda *_: "plain")
    assert_definition(m, 37, 3, draw_padding(37), dtype, tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@every_mode
def test_the_cuda_ops_take_these_tiles_and_return_these_shapes(
    m: dict[str, Any], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their meta kernels run without a GPU; the numbers are for `make test-gpu`."""
    monkeypatch.setattr(lsh, "choose_road", lambda *_: "efficient")
    called: list[str] = []

    class Called(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            called.append(func.name())
            return func(*args, **(kwargs or {}))

    qk, v = (
        torch.randn(2, 100, 3, 16, dtype=dtype, device="meta").transpose(1, 2).requires_grad_()
        for _ in range(2)
    )
    with Called():
        out, _ = lsh_attention(
            qk,
            v,
            n_hashes=3,
            chunk_len=32,
            key_padding_mask=torch.zeros(2, 100, dtype=torch.bool, device="meta"),
            **m,
        )
        actual = torch.autograd.grad(out.sum(), (qk, v))
    assert all(
        x.shape == qk.shape and x.dtype == dtype and x.device.type == "meta" for x in (out, *actual)
    )
    for op in ("attention", "attention_backward"):
        assert f"aten::_scaled_dot_product_efficient_{op}" in called


@pytest.mark.parametrize("road", ["plain", "flash"])
def test_autocast_rounds_nothing_within_the_attention(
    road: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its float32 scores stay float32, in the forward pass and in a backward pass that happens to
    run under autocast, too.
    """
    monkeypatch.setattr(lsh, "choose_road", lambda *_: road)
    qk, v, weights = draw(40, torch.float32)

    _, buckets = lsh_attention(
        qk, v, n_hashes=2, chunk_len=CHUNK, generator=torch.Generator().manual_seed(2)
    )

    def run(enabled: bool) -> tuple[Tensor, ...]:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            out, _ = lsh_attention(qk, v, n_hashes=2, chunk_len=CHUNK, buckets=buckets)
            return out, *gradients(out, weights, qk, v)

    assert all(torch.equal(cast, own) for cast, own in zip(run(True), run(False), strict=True))


def test_illegal_modes_are_refused() -> None:
    qk, v, _ = draw(16)
    assert len(LEGAL) == 12 and len(ILLEGAL) == 12
    wrong = [(m, f"window={m['window']}") for m in ILLEGAL] + [
        ({"window": "ring"}, "chunk, causal, wrap"),
        ({"n_buckets": 7}, "n_buckets 7"),
        ({"n_buckets": (4, 3)}, "n_buckets"),
        ({"n_hashes": 0}, "n_hashes"),
        ({"chunk_len": 0}, "chunk_len"),
        ({"rotations": torch.randn(H, D, 2, 3)}, "rotations"),
        ({"rotations": torch.randn(H, D, 3, 2)}, "rotations"),
        ({"buckets": torch.zeros(B, H, 2, 15, dtype=torch.int32)}, "buckets"),
        ({"key_padding_mask": torch.zeros(B, 15, dtype=torch.bool)}, "key_padding_mask"),
    ]
    for change, sentence in wrong:
        with pytest.raises(ValueError, match=sentence):
            lsh_attention(qk, v, **{"n_hashes": 2, "chunk_len": CHUNK, **change})


@pytest.mark.parametrize(
    ("n_buckets", "length", "chunk_len", "factors"),
    [
        (None, 37, 8, (8,)),
        (None, 5, 8, (2,)),
        (None, 128, 2, (128,)),
        (None, 140, 2, (16, 8)),
        (12, 37, 8, (12,)),
        ((4, 2, 6), 37, 8, (4, 2, 6)),
    ],
)
def test_buckets_are_the_definition_of_the_hash(
    n_buckets: Any, length: int, chunk_len: int, factors: tuple[int, ...]
) -> None:
    assert definition.bucket_factors(n_buckets, length, chunk_len) == factors
    qk, v, _ = draw(length)
    rotations = torch.randn(
        H, D, 2, sum(factors) // 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
    )
    _, buckets = lsh_attention(
        qk, v, n_hashes=2, chunk_len=chunk_len, n_buckets=n_buckets, rotations=rotations
    )
    assert not buckets.is_floating_point() and torch.equal(
        buckets.long(), definition.hash_buckets(qk, rotations, factors)
    )


def test_rotations_come_from_the_generator_one_per_head_shared_over_the_batch() -> None:
    qk, v, _ = draw(37)
    qk = qk.detach()[:1, :1].expand(B, H, -1, -1)
    one, two, other = (
        lsh_attention(
            qk, v, n_hashes=2, chunk_len=CHUNK, generator=torch.Generator().manual_seed(seed)
        )[1]
        for seed in (5, 5, 6)
    )
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert (
        torch.equal(one[0], one[1])
        and not torch.equal(one[0, 0], one[0, 1])
        and not torch.equal(one[0, 0, 0], one[0, 0, 1])
    )


@pytest.mark.parametrize("n_hashes", [1, 3])
@pytest.mark.parametrize(
    "m",
    [
        mode("chunk", True, False, True),
        mode("chunk", True, False, False),
        mode("wrap", True, False, False),
    ],
    ids=name,
)
def test_one_chunk_is_shared_full_attention(m: dict[str, Any], n_hashes: int) -> None:
    qk, v, weights = draw(37)
    out, _ = lsh_attention(qk, v, n_hashes=n_hashes, chunk_len=40, **m)
    full = shared_full(qk, v)
    assert_near(out, full, 1e-10)
    for actual, want in zip(
        gradients(out, weights, qk, v), gradients(full, weights, qk, v), strict=True
    ):
        assert_near(actual, want, 1e-10)


def test_the_error_to_shared_full_falls_with_the_rounds() -> None:
    qk, v, _ = draw(128)
    qk, v = 3 * qk.detach(), v.detach()
    full = shared_full(qk, v)

    def error(n_hashes: int) -> float:
        outs = (
            lsh_attention(
                qk,
                v,
                n_hashes=n_hashes,
                chunk_len=CHUNK,
                generator=torch.Generator().manual_seed(i),
            )[0]
            for i in range(10)
        )
        return sum((out - full).norm().item() for out in outs) / 10

    one, four, sixteen = error(1), error(4), error(16)
    assert one > 1.2 * four > 1.2 * 1.2 * sixteen, (one, four, sixteen)


def future_moves_past(m: dict[str, Any], seed: int) -> float:
    """The largest change of outputs 0..31 when tokens 32..63 are replaced, under the same
    rotations.
    """
    outs = []
    for future in (0, 1):
        qk, v, _ = draw(64, seed=seed)
        other_qk, other_v, _ = draw(64, seed=seed + 1 + future)
        qk, v = (
            torch.cat([x[:, :, :32], y[:, :, 32:]], 2) for x, y in ((qk, other_qk), (v, other_v))
        )
        outs.append(
            lsh_attention(
                qk,
                v,
                n_hashes=2,
                chunk_len=CHUNK,
                n_buckets=4,
                generator=torch.Generator().manual_seed(seed),
                **m,
            )[0]
        )
    return (outs[0] - outs[1])[:, :, :32].abs().max().item()


def test_with_window_causal_the_future_cannot_move_the_past() -> None:
    for dedupe, seed in product([True, False], range(0, 30, 3)):
        assert future_moves_past(mode("causal", True, True, dedupe), seed) <= 1e-12
        assert (
            future_moves_past(mode("chunk", True, True, dedupe), seed) > 1e-3
        )  # chunk borders move, as the paper has it


class LargestTensor(TorchDispatchMode):
    """The most elements that one tensor's storage holds (an overlapping view counts what it
    stores).
    """

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, Tensor):
                self.elements = max(self.elements, x.untyped_storage().nbytes() // x.element_size())
        return out


def forward_backward_memory(
    attention: Callable[[Tensor, Tensor], Tensor], length: int
) -> tuple[int, int]:
    """(peak bytes above the inputs, elements of the largest tensor) of one forward and backward, B
    = H = 1, D = 16.
    """
    qk, v = (
        torch.randn(1, 1, length, 16, generator=torch.Generator().manual_seed(i)).requires_grad_()
        for i in (0, 1)
    )

    def step() -> None:
        torch.autograd.grad(attention(qk, v).sum(), (qk, v))

    with LargestTensor() as largest:
        step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    live = peak = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    return peak, largest.elements


@every_mode
def test_memory_is_linear_in_the_length(m: dict[str, Any]) -> None:
    def attention(qk: Tensor, v: Tensor) -> Tensor:
        return lsh_attention(
            qk, v, n_hashes=2, chunk_len=16, generator=torch.Generator().manual_seed(0), **m
        )[0]

    (short, _), (long, elements) = (
        forward_backward_memory(attention, length) for length in (1024, 2048)
    )
    assert elements < 2048 * 2048 // 8
    assert 1.5 * short < long <= 2.3 * short


def test_the_memory_count_sees_a_quadratic_attention() -> None:
    def attention(qk: Tensor, v: Tensor) -> Tensor:
        return definition.lsh_attention(qk, v, torch.zeros(1, 1, 1, qk.shape[2]), chunk_len=16)

    (short, _), (long, elements) = (
        forward_backward_memory(attention, length) for length in (256, 512)
    )
    assert elements >= 512 * 512 and long > 3 * short


@every_mode
def test_a_padded_batch_is_each_sequence_alone(m: dict[str, Any]) -> None:
    """In the ring of window=wrap a chunk of padding would stand between two rounds: there every
    length fills as many chunks.
    """
    lengths = (48, 45, 41) if m["window"] == "wrap" else (48, 31, 5)
    qk, v, weights = draw(48)
    padded = torch.arange(48) >= torch.tensor(lengths)[:, None]
    rotations = torch.randn(
        H, D, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4)
    )
    settings = {"n_hashes": 2, "chunk_len": CHUNK, "n_buckets": 8, "rotations": rotations, **m}
    out, _ = lsh_attention(qk, v, key_padding_mask=padded, **settings)
    dqk, dv = gradients(out, weights, qk, v)
    for i, n in enumerate(lengths):
        q_alone, v_alone = (x[i : i + 1, :, :n].detach().requires_grad_() for x in (qk, v))
        alone, _ = lsh_attention(q_alone, v_alone, **settings)
        for actual, want in zip(
            (out, dqk, dv),
            (alone, *gradients(alone, weights[i : i + 1, :, :n], q_alone, v_alone)),
            strict=True,
        ):
            assert_near(actual[i : i + 1, :, :n], want, 1e-12)
            assert not actual[i, :, n:].any()


@pytest.mark.parametrize("m", [LEGAL[0], LEGAL[-1]], ids=name)
def test_a_frozen_input_leaves_the_other_gradient_as_it_is(m: dict[str, Any]) -> None:
    def out(qk: Tensor, v: Tensor) -> Tensor:
        return lsh_attention(
            qk, v, n_hashes=2, chunk_len=CHUNK, generator=torch.Generator().manual_seed(0), **m
        )[0]

    qk, v, weights = draw(37)
    dqk, dv = gradients(out(qk, v), weights, qk, v)
    assert torch.equal(gradients(out(qk, v.detach()), weights, qk)[0], dqk)
    assert torch.equal(gradients(out(qk.detach(), v), weights, v)[0], dv)
    assert not out(qk.detach(), v.detach()).requires_grad


@pytest.mark.parametrize("m", [x for x in LEGAL if x["bucket_mask"]], ids=name)
def test_a_lone_token_sees_exactly_itself(m: dict[str, Any]) -> None:
    """Every token in a bucket of its own: the output is v to the bit, and so are the gradients (1
    for v, 0 for qk).
    """
    qk, v, weights = draw(37)
    buckets = torch.stack(
        [torch.randperm(38, generator=torch.Generator().manual_seed(i))[:37] for i in range(3)]
    ).expand(B, H, 3, 37)
    out, _ = lsh_attention(qk, v, n_hashes=3, chunk_len=CHUNK, n_buckets=38, buckets=buckets, **m)
    assert torch.equal(out, v)
    dqk, dv = gradients(out, weights, qk, v)
    assert torch.equal(dv, weights) and not dqk.any()
