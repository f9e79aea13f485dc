"""The Triton road without a GPU (`make test-triton`): Triton's interpreter holds every mode to the
definition, and its compiler builds every kernel for two kinds of GPU.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import definition
import triton_traffic
from reformer_pl.lsh import draw_rotations, lsh_attention, triton_road, trust
from test_cuda_road import relative_error
from test_lsh import LEGAL, name

pytestmark = [
    pytest.mark.triton,
    pytest.mark.skipif(
        not triton_road.interpreted(), reason="needs TRITON_INTERPRET=1 (make test-triton)"
    ),
]
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 5e-3}


@pytest.fixture(scope="module", autouse=True)
def fast_interpreter() -> Iterator[None]:
    """The interpreter patches the language again for each call within a kernel: most of its time.
    Once for each module is enough.
    """
    interpreter = pytest.importorskip(
        "triton.runtime.interpreter", reason="needs the extra triton (make test-triton)"
    )
    patched = set()

    def call(function: Any, *args: Any, **options: Any) -> Any:
        if function.fn.__module__ not in patched:
            patched.add(function.fn.__module__)
            interpreter._patch_lang(function.fn)
        return function.rewrite()(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter.InterpretedFunction, "__call__", call)
        yield


def draw(
    length: int, heads: int, head_size: int, dtype: torch.dtype, heads_inside: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """qk, v and the weights of a scalar loss, of two sequences; heads lie last or first."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 2, length, heads, head_size, generator=generator, dtype=torch.float64)
    x = x.to(dtype).transpose(2, 3)
    qk, v, weights = x if heads_inside else x.contiguous()
    return qk.requires_grad_(), v.requires_grad_(), weights


def assert_definition(
    m: dict[str, Any], chunk_len: int, inputs: tuple[Tensor, ...], padded: Tensor | None, **options
) -> None:
    """Output and both gradients, relative to the definition in float64."""
    qk, v, weights = inputs
    options = {"n_hashes": 3, "generator": torch.Generator().manual_seed(1), **options}
    out, buckets = lsh_attention(
        qk, v, chunk_len=chunk_len, key_padding_mask=padded, road="triton", **options, **m
    )
    gradients = torch.autograd.grad((out * weights).sum(), (qk, v))
    q64, v64 = (x.detach().double().requires_grad_() for x in (qk, v))
    expected = definition.lsh_attention(
        q64, v64, buckets, chunk_len=chunk_len, key_padding_mask=padded, **m
    )
    wanted = torch.autograd.grad((expected * weights.double()).sum(), (q64, v64))
    assert out.dtype == qk.dtype and out.shape == qk.shape
    for actual, want in zip((out.detach(), *gradients), (expected.detach(), *wanted), strict=True):
        assert relative_error(actual, want) <= TOLERANCES[qk.dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("m", LEGAL, ids=name)
def test_every_mode_is_the_definition(m: dict[str, Any], dtype: torch.dtype) -> None:
    """A ragged length, and a sequence of which half is padding."""
    padded = torch.arange(40) >= torch.tensor([[40], [20]])
    assert_definition(m, 16, draw(40, 1, 16, dtype), padded)


CASES: dict[str, dict[str, Any]] = {
    "a chunk and a head that fill no block": {"chunk_len": 20, "head_size": 24},
    "a chunk of several blocks": {"chunk_len": 48, "block": 16, "length": 96},
    "one round": {"n_hashes": 1},
    "one round in bfloat16": {"n_hashes": 1, "dtype": torch.bfloat16},
    "heads that lie first": {"heads": 2, "heads_inside": False},
    "float16": {"dtype": torch.float16},
    "shorter than a chunk": {"length": 5},
}


@pytest.mark.parametrize("m", [LEGAL[0], LEGAL[8], LEGAL[-2]], ids=name)
@pytest.mark.parametrize("case", CASES)
def test_every_shape_is_the_definition(
    case: str, m: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"length": 40, "heads": 1, "head_size": 16, "dtype": torch.float32} | CASES[case]
    chunk_len, block = options.pop("chunk_len", 16), options.pop("block", triton_road.BLOCK)
    monkeypatch.setattr(triton_road, "BLOCK", block)
    rounds = {"n_hashes": options.pop("n_hashes", 2)}
    assert_definition(m, chunk_len, draw(**options), None, **rounds)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("factors", [(12,), (6, 4, 2), (80, 4)], ids=str)
def test_the_hash_is_that_of_the_definition(factors: tuple[int, ...], dtype: torch.dtype) -> None:
    """Several blocks of tokens, and more directions than a program takes at once."""
    qk = draw(150, 2, 24, dtype)[0].detach()
    rotations = draw_rotations(2, 24, 2, factors, torch.Generator().manual_seed(1))
    buckets = triton_road.hash_buckets(qk, rotations, factors)
    assert buckets.dtype == torch.int32
    assert torch.equal(buckets.long(), definition.hash_buckets(qk.float(), rotations, factors))


@pytest.mark.parametrize("m", [LEGAL[0], LEGAL[5], LEGAL[8], LEGAL[-1]], ids=name)
def test_the_budget_counts_what_the_kernels_load_and_store(
    m: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The count of docs/gpu.md against the interpreter's own loads and stores. It takes no edge
    off: in the ring there is none, elsewhere the first of four chunks has no window before it.
    """
    from triton.runtime import interpreter

    sectors: dict[str, set[tuple[Any, ...]]] = {"numbers": set()}
    counts = {"moved": 0, "counted": 0}

    def count(builder: Any, pointers: Any, mask: Any) -> None:
        touched = {int(address) // 32 for address in pointers.data[mask.data.astype(bool)].flat}
        if pointers.data.ndim == 2:
            counts["moved"] += 32 * len(touched)
        elif pointers.data.ndim == 1:
            program = (counts["counted"], builder.grid_idx)
            sectors["numbers"] |= {(program, sector) for sector in touched}

    builder = interpreter.InterpreterBuilder
    load, store = builder.create_masked_load, builder.create_masked_store
    monkeypatch.setattr(
        builder,
        "create_masked_load",
        lambda self, at, mask, *rest: (count(self, at, mask), load(self, at, mask, *rest))[1],
    )
    monkeypatch.setattr(
        builder,
        "create_masked_store",
        lambda self, at, value, mask, *rest: (
            count(self, at, mask),
            store(self, at, value, mask, *rest),
        )[1],
    )
    launch = triton_road.launch

    def launch_and_count(kernel: str, grid: int, *arguments: Any, **options: Any) -> None:
        counts["counted"] += triton_traffic.kernel_bytes(kernel, grid, arguments, options)
        launch(kernel, grid, *arguments, **options)

    monkeypatch.setattr(triton_road, "launch", launch_and_count)
    qk, v, weights = draw(64, 1, 32, torch.bfloat16)
    out, _ = lsh_attention(qk, v, n_hashes=2, chunk_len=16, road="triton", **m)
    torch.autograd.grad((out * weights).sum(), (qk, v))
    moved = counts["moved"] + 32 * len(sectors["numbers"])
    assert 0.8 * counts["counted"] <= moved <= counts["counted"]


def test_the_check_of_the_first_use_trusts_these_kernels() -> None:
    """As on a CUDA device: the kernels beside plain operations in float64."""
    kind = trust.Kind(16, causal=True, bucket_mask=True, dedupe=True, window="chunk", n_hashes=2)
    assert trust._check("triton", torch.device("cpu"), torch.bfloat16, 16, kind) is None


def test_a_key_of_length_zero_leaves_the_other_gradients_finite_in_float16() -> None:
    """The inverse of its length is 1e12, which no float16 holds."""
    qk, v, weights = draw(20, 1, 16, torch.float16)
    qk = qk.detach().index_fill(2, torch.tensor([3]), 0.0).requires_grad_()
    options = {"n_hashes": 1, "chunk_len": 16, "bucket_mask": False, "road": "triton"}
    out, _ = lsh_attention(qk, v, generator=torch.Generator().manual_seed(0), **options)
    dqk, dv = torch.autograd.grad((out * weights).sum(), (qk, v))
    others = torch.arange(20) != 3
    assert out.isfinite().all() and dv.isfinite().all() and dqk[:, :, others].isfinite().all()


def test_a_lone_token_sees_exactly_itself() -> None:
    qk, v, weights = draw(40, 1, 16, torch.float32)
    buckets = torch.stack(
        [torch.randperm(40, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    ).expand(2, 1, 3, 40)
    options = {"n_hashes": 3, "chunk_len": 16, "n_buckets": 40, "road": "triton"}
    out, _ = lsh_attention(qk, v, buckets=buckets, **options)
    dqk, dv = torch.autograd.grad((out * weights).sum(), (qk, v))
    assert torch.equal(out, v) and torch.equal(dv, weights) and not dqk.any()


def test_the_kernels_compile_for_two_kinds_of_gpu_without_spilling() -> None:
    """Cubins of sm_80 and sm_90, by a process that does not interpret."""
    environment = {key: x for key, x in os.environ.items() if key != "TRITON_INTERPRET"}
    script = Path(__file__).with_name("triton_cubins.py")
    process = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    cubins = [json.loads(line) for line in process.stdout.splitlines()]
    for cubin in cubins:
        print(
            "{kernel:18} {dtype:9} sm_{arch}: {registers} registers, {shared} bytes "
            "shared, {spilled} spilled".format(**cubin)
        )
    assert len(cubins) == 19 and {cubin["arch"] for cubin in cubins} == {80, 90}
    assert [cubin for cubin in cubins if cubin["spilled"]] == []
    # What every GPU of compute capability 8.0 on has for a program.
    assert max(cubin["shared"] for cubin in cubins) <= 99 * 1024
