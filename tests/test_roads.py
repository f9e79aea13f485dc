"""Which kernels attend: the word in the config, the fastest that fits, and what a road's first use
on a CUDA device is held to.
"""

import logging
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from cuda_ops import cuda_ops_on_cpu
from reformer_pl.config import ConfigError
from reformer_pl.lsh import kernels, lsh_attention, roads, triton_road, trust
from reformer_pl.lsh.budget import sizes_alone
from reformer_pl.lsh.trust import Kind
from test_lsh import LEGAL, draw, name

CPU = torch.device("cpu")


class Fake(NamedTuple):
    """What is asked of a tensor before a road is chosen."""

    device: torch.device
    dtype: torch.dtype
    shape: tuple[int, ...]


def kind(chunk_len: int) -> Kind:
    return Kind(chunk_len, causal=True, bucket_mask=True, dedupe=True, window="chunk", n_hashes=4)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Neither a check nor a line of an earlier test."""
    yield
    trust._check.cache_clear()
    roads.say.cache_clear()


@pytest.fixture
def on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """An A100 with Triton, on which every road agrees with plain."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(roads, "find_spec", lambda package: object())
    monkeypatch.setattr(roads, "find_fault", lambda road, q, kind: None)


def road(device: str, dtype: torch.dtype, m: int = 64, d: int = 64, word: str = "auto") -> str:
    return roads.choose_road(Fake(torch.device(device), dtype, (1, d)), word, kind(m))


def test_auto_is_the_fastest_that_fits(on_cuda: None, monkeypatch: pytest.MonkeyPatch) -> None:
    floats = torch.float32, torch.bfloat16, torch.float16
    assert [road("cpu", dtype) for dtype in (torch.float64, *floats[:2])] == ["flash"] * 3
    assert [road("cpu", torch.float16), road("mps", torch.float32)] == ["plain"] * 2
    assert [road("cuda", dtype) for dtype in floats] == ["triton"] * 3
    assert road("cuda", torch.float64) == "plain"
    assert [road("cuda", torch.float32, d=d) for d in (8, 16, 20, 128, 136)] == [
        *("efficient", "triton", "triton", "triton", "efficient")
    ]
    assert [road("cuda", torch.float32, m=m) for m in (8, 16, 40, 256, 288)] == [
        *("plain", "triton", "triton", "triton", "efficient")
    ]
    monkeypatch.setattr(roads, "find_spec", lambda package: None)
    assert [road("cuda", dtype) for dtype in floats] == ["efficient"] * 3
    assert [road("cuda", torch.float32, m=40), road("cuda", torch.float32, d=20)] == ["plain"] * 2
    # A T4 has no fused kernel for bfloat16, and Triton's need tensor cores that it has not.
    monkeypatch.setattr(roads, "find_spec", lambda package: object())
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert [road("cuda", dtype) for dtype in floats[:2]] == ["efficient", "plain"]
    monkeypatch.setattr(torch.ops, "aten", object())  # a PyTorch without these ops
    assert [road("cpu", torch.float32), road("cuda", torch.float32)] == ["plain"] * 2


def test_the_log_says_once_which_road_is_taken_and_why(
    on_cuda: None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert [road("cuda", torch.float32, d=d) for d in (64, 8, 8, 136)] == [
            *("triton", "efficient", "efficient", "efficient")
        ]
        assert road("cuda", torch.float32, m=8) == "plain"
    sentence = "LSH attention takes road="
    assert [record.message for record in caplog.records] == [
        f"{sentence}efficient: triton takes head sizes of 16 to 128, not 8",
        f"{sentence}efficient: triton takes head sizes of 16 to 128, not 136",
        f"{sentence}plain: triton takes chunk_len of 16 to 256, not 8; "
        "efficient takes chunk_len in steps of 32 and head sizes in steps of 8, not 8, 64",
    ]


@pytest.mark.parametrize(
    ("word", "device", "dtype", "reason"),
    [
        ("triton", "cpu", torch.float32, "needs a CUDA device"),
        ("triton", "mps", torch.float32, "needs a CUDA device"),
        ("triton", "cuda", torch.float64, "takes float32, bfloat16 and float16, not"),
        ("efficient", "cpu", torch.float32, "needs a CUDA device"),
        ("efficient", "cuda", torch.float64, "takes no torch.float64"),
        ("flash", "cuda", torch.float32, "needs the CPU"),
        ("flash", "cpu", torch.float16, "takes no float16"),
    ],
)
def test_a_road_that_is_not_for_these_tensors_is_refused_in_one_line(
    word: str,
    device: str,
    dtype: torch.dtype,
    reason: str,
    on_cuda: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ConfigError, match=f"model.lsh.road={word} {reason}") as refused:
        road(device, dtype, word=word)
    assert "\n" not in str(refused.value)


def test_the_interpreter_opens_the_cpu_to_triton_and_a_missing_package_closes_it(
    on_cuda: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert road("cpu", torch.float32, word="triton") == "triton"
    assert road("cpu", torch.float32) == "flash"
    monkeypatch.setattr(roads, "find_spec", lambda package: None)
    with pytest.raises(ConfigError, match="needs the package triton"):
        road("cpu", torch.float32, word="triton")


def test_an_unknown_road_is_answered_with_the_valid_ones() -> None:
    qk, v, _ = draw(16)
    with pytest.raises(ValueError, match="choose auto, triton, efficient, flash, plain"):
        lsh_attention(qk, v, n_hashes=1, chunk_len=8, road="cuda")
    with pytest.raises(ConfigError, match="choose auto, triton, efficient, flash, plain"):
        roads.refusal("fast", qk, 8)


def test_a_forced_road_changes_nothing_but_rounding() -> None:
    qk, v, _ = draw(37)
    outs = [
        lsh_attention(
            qk,
            v,
            n_hashes=2,
            chunk_len=8,
            generator=torch.Generator().manual_seed(0),
            road=word,
        )[0]
        for word in ("auto", "flash", "plain")
    ]
    assert torch.equal(outs[0], outs[1]) and not torch.equal(outs[1], outs[2])
    assert torch.allclose(outs[1], outs[2], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("m", LEGAL[::3], ids=name)
def test_where_only_sizes_count_triton_makes_its_tensors_and_launches_nothing(
    m: dict[str, Any],
) -> None:
    qk, v = (
        torch.empty(2, 100, 3, 16, device="meta").transpose(1, 2).requires_grad_() for _ in "qv"
    )
    with sizes_alone():
        out, _ = lsh_attention(qk, v, n_hashes=2, chunk_len=32, road="triton", **m)
        gradients = torch.autograd.grad(out, (qk, v), torch.empty_like(out))
    assert all(x.shape == qk.shape and x.device.type == "meta" for x in (out, *gradients))


def find_fault(
    road: str, m: dict[str, Any], dtype: torch.dtype = torch.float32, n_hashes: int = 2
) -> str | None:
    """Of the check as a CUDA device runs it, on the CPU."""
    options = m["causal"], m["bucket_mask"], m["dedupe"], m["window"], n_hashes
    return trust._check(road, CPU, dtype, 16, Kind(32, *options))


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str
)
@pytest.mark.parametrize("road", ["flash", "efficient"])
@pytest.mark.parametrize("n_hashes", [1, 2])
def test_a_road_that_agrees_with_plain_is_trusted_in_every_mode(
    n_hashes: int, road: str, dtype: torch.dtype
) -> None:
    if (road, dtype) in (("flash", torch.float16), ("efficient", torch.float64)):
        pytest.skip("no such kernel")
    with cuda_ops_on_cpu():
        assert [find_fault(road, m, dtype, n_hashes) for m in LEGAL] == [None] * len(LEGAL)


WRONG_RESULTS = {
    "the output": ("tile_forward", 0),
    "the gradient of qk": ("tile_backward", 0),
    "the gradient of v": ("tile_backward", 2),
}


@pytest.mark.parametrize("wrong", [1.01, float("nan")], ids=["a percent off", "not a number"])
@pytest.mark.parametrize("what", WRONG_RESULTS)
def test_a_fault_is_found_and_named(
    what: str, wrong: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    function, index = WRONG_RESULTS[what]
    right = getattr(kernels, function)

    def faulty(road: str, *tensors: Tensor) -> tuple[Tensor, ...]:
        results = list(right(road, *tensors))
        if road != "plain":
            results[index] = results[index] * wrong
        return tuple(results)

    monkeypatch.setattr(f"reformer_pl.lsh.autograd.{function}", faulty)
    fault = find_fault("flash", LEGAL[0])
    assert fault is not None and f"in {what} on torch.float32, head size 16, chunk_len=32" in fault


def test_a_kernel_that_fails_is_a_fault_and_a_full_memory_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(error: Exception) -> None:
        def failing(name: str, *tensors: Any, **options: Any) -> None:
            raise error

        monkeypatch.setattr(triton_road, "launch", failing)

    fail(RuntimeError("no C compiler was found\nand more"))
    assert find_fault("triton", LEGAL[0]).startswith("failed with RuntimeError on torch.float32")
    assert find_fault("triton", LEGAL[0]).endswith("no C compiler was found")
    for full in (
        torch.OutOfMemoryError("full"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ):
        fail(full)
        with pytest.raises(type(full), match=re.escape(str(full))):
            find_fault("triton", LEGAL[1])


def test_the_check_runs_once_for_each_kind_and_leaves_autograd_and_random_numbers_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Checkpointing counts the tensors that autograd saves: a check that saved some would be
    missed when the layer runs again.
    """
    runs = []
    both = trust.run_both_passes
    monkeypatch.setattr(
        trust, "run_both_passes", lambda road, *rest: (runs.append(road), both(road, *rest))[1]
    )
    q, tile = draw(64, torch.float32)[0], kind(32)
    state, saved = torch.get_rng_state(), []
    with torch.autograd.graph.saved_tensors_hooks(saved.append, lambda x: x):
        assert [trust.find_fault("flash", q, tile) for _ in range(3)] == [None] * 3
    assert runs == ["flash", "plain"] and not saved
    assert torch.equal(torch.get_rng_state(), state)
    trust.find_fault("flash", q, tile._replace(n_hashes=8))  # several rounds are several rounds
    assert runs == ["flash", "plain"]
    trust.find_fault("flash", q, tile._replace(dedupe=False))
    trust.find_fault("flash", q, tile._replace(n_hashes=1))
    assert runs == ["flash", "plain"] * 3
    assert trust.find_fault("plain", q, tile) is None and len(runs) == 6


def test_after_a_fault_the_next_road_is_taken_and_one_line_says_why(
    on_cuda: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    faults = {"triton": "differs from plain by 0.3 in the output on bfloat16"}
    monkeypatch.setattr(roads, "find_fault", lambda road, q, kind: faults.get(road))
    with caplog.at_level(logging.WARNING):
        assert [road("cuda", torch.bfloat16) for _ in range(2)] == ["efficient"] * 2
        assert road("cuda", torch.bfloat16, word="triton") == "triton"
        faults["efficient"] = "failed with RuntimeError"
        assert road("cuda", torch.bfloat16) == "plain"
    assert [record.message for record in caplog.records] == [
        f"LSH attention takes road=efficient: triton {faults['triton']}",
        f"LSH attention keeps to model.lsh.road=triton, though it {faults['triton']}",
        f"LSH attention takes road=plain: triton {faults['triton']}; "
        f"efficient {faults['efficient']}",
    ]
