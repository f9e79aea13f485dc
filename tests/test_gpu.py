"""On a CUDA machine (`make test-gpu`): the kernels against the float64 definition.

A training step against the CPU's, memory and speed.

Without CUDA every test is skipped. The kernel and speed tests need torch and pytest alone.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import definition
from reformer_pl.lsh import budget as lsh_budget
from reformer_pl.lsh import lsh_attention

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CHUNK, LENGTH = 32, 200
MODES = [
    {"window": "chunk", "causal": True, "bucket_mask": True, "dedupe": True},
    {"window": "chunk", "causal": True, "bucket_mask": True, "dedupe": False},
    {"window": "chunk", "causal": False, "bucket_mask": False, "dedupe": True},
    {"window": "causal", "causal": True, "bucket_mask": True, "dedupe": True},
    {"window": "wrap", "causal": True, "bucket_mask": False, "dedupe": False},
]


@pytest.fixture(autouse=True)
def exact_float32() -> None:
    torch.backends.cuda.matmul.allow_tf32 = False


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return (
        (actual.double().cpu() - expected.cpu()).abs().max() / expected.abs().max().clamp_min(1)
    ).item()


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-4), (torch.bfloat16, 2e-2), (torch.float16, 1e-2)],
    ids=["float32", "bfloat16", "float16"],
)
@pytest.mark.parametrize("road", ["triton", "efficient", "plain"])
@pytest.mark.parametrize("m", MODES, ids=lambda m: "-".join(str(v) for v in m.values()))
def test_lsh_is_its_definition_on_cuda(
    m: dict[str, Any],
    road: str,
    dtype: torch.dtype,
    tolerance: float,
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = (
        torch.randn(3, 2, LENGTH, 3, 16, generator=generator, dtype=torch.float64)
        .to(dtype)
        .transpose(2, 3)
    )
    qk, v, weights = x[0].cuda().requires_grad_(), x[1].cuda().requires_grad_(), x[2].cuda()
    padded = torch.arange(LENGTH) >= torch.tensor([[LENGTH], [70]])
    out, buckets = lsh_attention(
        qk,
        v,
        n_hashes=3,
        chunk_len=CHUNK,
        key_padding_mask=padded.cuda(),
        generator=generator,
        road=road,
        **m,
    )
    gradients = torch.autograd.grad((out * weights).sum(), (qk, v))
    q64, v64 = (t.detach().double().cpu().requires_grad_() for t in (qk, v))
    expected = definition.lsh_attention(
        q64, v64, buckets.cpu(), chunk_len=CHUNK, key_padding_mask=padded, **m
    )
    want = torch.autograd.grad((expected * weights.double().cpu()).sum(), (q64, v64))
    for a, b in zip((out.detach(), *gradients), (expected.detach(), *want), strict=True):
        assert relative_error(a, b) <= tolerance


def test_a_reversible_training_step_is_that_of_the_cpu() -> None:
    pytest.importorskip("lightning", reason="the models need the project's own dependencies")
    from tiny import build, draw_batch

    options = [
        "model.residual=reversible",
        "model.attention=lsh",
        "model.n_layers=3",
        "model.lsh.chunk_len=32",
        "task.length=200",
    ]
    gradients = []
    for device in ("cpu", "cuda"):
        model = build(*options, dtype=torch.float64).to(device)
        model.loss(*(t.to(device) for t in draw_batch(200)), hash_seed=3).mean().backward()
        gradients.append({name: p.grad.cpu() for name, p in model.named_parameters()})
    for name, want in gradients[0].items():
        assert relative_error(gradients[1][name], want) <= 1e-10, name


def test_the_peak_is_what_was_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within 15 %: CUDA rounds every allocation up, and its kernels have unseen workspaces."""
    monkeypatch.setitem(
        lsh_budget.TILE_BYTES, "cpu", lsh_budget.TILE_BYTES_ELSEWHERE
    )  # the prediction is on fake CPU tensors
    pytest.importorskip("lightning", reason="the models need the project's own dependencies")
    from reformer_pl.measure import GIB, predict_memory
    from reformer_pl.module import LitSequenceModel
    from reformer_pl.tasks import task_class
    from tiny import draw_batch, tiny

    size = [
        "task.length=4096",
        "task.batch_size=2",
        "model.d_model=256",
        "model.d_ff=1024",
        "model.n_heads=4",
        "model.lsh.chunk_len=64",
    ]
    for residual in ("standard", "checkpoint", "reversible"):
        config = tiny(
            *size, f"model.residual={residual}", "model.attention=lsh", "model.n_layers=4"
        )
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        module = LitSequenceModel(config, task_class(config.task.name).vocab_size).cuda()
        optimizer = module.configure_optimizers()["optimizer"]
        batch = [t.cuda() for t in draw_batch(4096, 2)]
        for _ in range(2):
            torch.cuda.reset_peak_memory_stats()
            module.model.loss(*batch, hash_seed=1).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        peak = (torch.cuda.max_memory_allocated() - before) / GIB
        predicted = predict_memory(config)["total"]
        print(f"{residual}: {peak:.3f} GiB counted, {predicted:.3f} GiB predicted")
        assert abs(peak / predicted - 1) <= 0.15, residual


def seconds(work: Callable[[], Tensor], inputs: tuple[Tensor, ...], weights: Tensor) -> float:
    def once() -> float:
        torch.cuda.synchronize()
        began = time.perf_counter()
        torch.autograd.grad((work() * weights).sum(), inputs)
        torch.cuda.synchronize()
        return time.perf_counter() - began

    once()
    return statistics.median(once() for _ in range(5))


def test_the_speed_table() -> None:
    """Printed (pytest -s). One demand: at 64K tokens four rounds are faster than all pairs."""
    ratios = {}
    for length in (2048, 8192, 32768, 65536):
        x = torch.randn(
            3, 1, 4, length, 64, device="cuda", generator=torch.Generator("cuda").manual_seed(0)
        ).bfloat16()
        qk, v, weights = x[0].requires_grad_(), x[1].requires_grad_(), x[2]
        full = seconds(
            lambda qk=qk, v=v: F.scaled_dot_product_attention(qk, qk, v, is_causal=True),
            (qk, v),
            weights,
        )
        for n_hashes in (1, 4, 8):
            options = {
                "n_hashes": n_hashes,
                "chunk_len": 64,
                "n_buckets": min(128, 2 * length // 64),
            }
            took = seconds(
                lambda qk=qk, v=v, options=options: lsh_attention(qk, v, **options)[0],
                (qk, v),
                weights,
            )
            ratios[length, n_hashes] = full / took
            print(
                f"{length} tokens, {n_hashes} rounds: full {1e3 * full:.2f} ms, "
                f"LSH {1e3 * took:.2f} ms, {full / took:.2f}x"
            )
    assert ratios[65536, 4] > 1
