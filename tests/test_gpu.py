"""On a CUDA machine (`make test-gpu`): the kernels against the float64 definition.

A training step against the CPU's, memory against its prediction, runs on all GPUs and on a shared
one, and what fails: out of memory, a killed rank.

Without CUDA every test is skipped. The kernel tests need torch and pytest alone.
"""

import gc
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import definition
from experiments.benchmarking.gpu_times import l2_cleaner
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
@pytest.mark.parametrize("n_hashes", [1, 3])
@pytest.mark.parametrize("m", MODES, ids=lambda m: "-".join(str(v) for v in m.values()))
def test_lsh_is_its_definition_on_cuda(
    m: dict[str, Any],
    n_hashes: int,
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
        n_hashes=n_hashes,
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


@pytest.mark.parametrize("residual", ["standard", "checkpoint", "reversible"])
@pytest.mark.parametrize("attention", ["full", "lsh"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_peak_is_what_was_predicted(precision: str, attention: str, residual: str) -> None:
    """Within 15 %, cuBLAS's workspaces included; and all of it lies in the predicted segments."""
    pytest.importorskip("lightning", reason="the models need the project's own dependencies")
    from reformer_pl.measure import GIB, predict_memory
    from reformer_pl.module import LitSequenceModel
    from reformer_pl.precision import autocast
    from reformer_pl.tasks import task_class
    from tiny import draw_batch, tiny

    config = tiny(
        *("task.length=4096", "task.batch_size=2", "model.d_model=256", "model.d_ff=1024"),
        *("model.n_heads=4", "model.lsh.chunk_len=64", "model.n_layers=4"),
        f"model.residual={residual}",
        f"model.attention={attention}",
        f"trainer.precision={precision}",
    )
    torch._C._cuda_clearCublasWorkspaces()
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    module = LitSequenceModel(config, task_class(config.task.name).vocab_size).cuda()
    optimizer = module.configure_optimizers()["optimizer"]
    batch = [t.cuda() for t in draw_batch(4096, 2)]
    for _ in range(2):
        torch.cuda.reset_peak_memory_stats()
        with autocast(config, "cuda"):
            loss = module.model.loss(*batch, hash_seed=1).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        del loss
    peak = (torch.cuda.max_memory_allocated() - before) / GIB
    reserved = torch.cuda.max_memory_reserved() / GIB
    predicted = predict_memory(config, "cuda")
    print(
        f"{precision} {attention} {residual}: {peak:.3f} GiB counted, {predicted['total']:.3f} "
        f"predicted; {reserved:.3f} reserved, {predicted['reserved']:.3f} predicted"
    )
    assert abs(peak / predicted["total"] - 1) <= 0.15


@pytest.mark.parametrize("residual", ["checkpoint", "reversible"])
def test_a_compiled_step_is_the_eager_one(residual: str) -> None:
    pytest.importorskip("lightning", reason="the models need the project's own dependencies")
    from reformer_pl.compiled import compile_parts
    from tiny import build, draw_batch

    gradients = []
    for compiles in (False, True):
        model = build(
            *(f"model.residual={residual}", "model.attention=lsh", "model.dropout=0.2"),
            *("model.lsh.chunk_len=32", "task.length=200"),
        ).cuda()
        if compiles:
            compile_parts(model)
        torch.manual_seed(5)
        model.loss(*(t.cuda() for t in draw_batch(200)), hash_seed=3).mean().backward()
        gradients.append({name: p.grad.cpu() for name, p in model.named_parameters()})
    for name, want in gradients[0].items():
        assert relative_error(gradients[1][name], want) <= 1e-10, name


# runs, in processes of their own

ROOT = Path(__file__).resolve().parent.parent
RUN = [
    *("model.d_model=64", "model.n_heads=2", "model.d_ff=64", "model.lsh.chunk_len=32"),
    *("task.length=256", "task.batch_size=8", "task.eval_sequences=8", "trainer.accelerator=gpu"),
    *("trainer.max_steps=4", "trainer.eval_every_steps=2", "trainer.loggers=[]"),
]


def start(module: str, *arguments: str) -> subprocess.Popen[str]:
    pytest.importorskip("lightning", reason="the models need the project's own dependencies")
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, process_group=0,
    )  # fmt: skip


def result(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "result.json").read_text())


def test_a_ddp_step_on_every_visible_gpu(tmp_path: Path) -> None:
    """By NCCL; the losses are those of one GPU."""
    n = torch.cuda.device_count()
    losses = []
    for devices in sorted({1, n}):
        out = tmp_path / str(devices)
        ddp = ["trainer.strategy=ddp", f"trainer.devices={devices}", f"task.batch_size={8 * n}"]
        run = start("experiments.train", *RUN, *ddp, f"out_dir={out}")
        output, _ = run.communicate(timeout=120)
        assert run.returncode == 0, output
        losses.append(result(out)["loss_nats"])
    print(f"losses on 1 and on {n} GPUs: {losses}")
    assert losses[0] == pytest.approx(losses[-1], rel=1e-3)


def test_two_cells_share_a_gpu(tmp_path: Path) -> None:
    study = tmp_path / "two.yaml"
    study.write_text(f"base: {json.dumps(RUN)}\naxes: {{train: {{a: [], b: [optim.lr=0.002]}}}}\n")
    options = ["--gpus", "0", "--cells-per-gpu", "2", "--runs-dir", str(tmp_path)]
    run = start("ablations", "run", str(study), *options)
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 0, output
    rows = [result(tmp_path / "two" / name / "seed=0") for name in "ab"]
    assert [row["status"] for row in rows] == ["ok", "ok"]
    assert all("CPU" not in row["device"] for row in rows)


def test_a_cell_out_of_memory_is_a_row(tmp_path: Path) -> None:
    """The naive attention's scores alone are four times the memory of the GPU."""
    gib = torch.cuda.get_device_properties(0).total_memory / 2**30
    length = 2 ** math.ceil(math.log2(math.sqrt(4 * gib * 2**30 / (4 * 4))))
    run = start(
        "experiments.benchmark",
        *("benchmark.measure=attention", "benchmark.peer=naive", "model.attention=full"),
        *("trainer.accelerator=gpu", "task.batch_size=1", f"task.length={length}"),
        f"out_dir={tmp_path}",
    )
    output, _ = run.communicate(timeout=120)
    assert (run.returncode, result(tmp_path)["status"]) == (1, "oom"), output


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_a_run_whose_rank_is_killed_ends(tmp_path: Path) -> None:
    """Promptly, as failed, and leaves no process behind that holds a GPU."""
    more = ["trainer.strategy=ddp", "trainer.devices=2", "trainer.max_steps=100000"]
    run = start("experiments.train", *RUN, *more, f"out_dir={tmp_path}")
    deadline = time.monotonic() + 120
    ranks: list[int] = []
    while not ((tmp_path / "metrics.jsonl").exists() and ranks):
        assert time.monotonic() < deadline and run.poll() is None
        time.sleep(0.5)
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        ranks = [
            int(pid) for pid in children
            if b"experiments.train" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]  # fmt: skip
    os.kill(ranks[0], signal.SIGKILL)
    output, _ = run.communicate(timeout=90)
    assert run.returncode not in (0, None), output
    assert not any(Path(f"/proc/{pid}").exists() for pid in ranks)


def seconds(work: Callable[[], Tensor], inputs: tuple[Tensor, ...], weights: Tensor) -> float:
    clean_cache = l2_cleaner(torch.device("cuda"))

    def once() -> float:
        clean_cache()
        torch.cuda.synchronize()
        began = time.perf_counter()
        torch.autograd.grad((work() * weights).sum(), inputs)
        torch.cuda.synchronize()
        return time.perf_counter() - began

    once()
    return statistics.median(once() for _ in range(5))


def test_four_rounds_are_faster_than_all_pairs_at_64k_tokens() -> None:
    """With a cold L2 cache. The study fig5_speed has the table."""
    x = torch.randn(
        3, 1, 4, 65536, 64, device="cuda", generator=torch.Generator("cuda").manual_seed(0)
    ).bfloat16()
    qk, v, weights = x[0].requires_grad_(), x[1].requires_grad_(), x[2]
    full = seconds(
        lambda: F.scaled_dot_product_attention(qk, qk, v, is_causal=True), (qk, v), weights
    )
    four = seconds(
        lambda: lsh_attention(qk, v, n_hashes=4, chunk_len=64, n_buckets=(64, 32))[0],
        (qk, v),
        weights,
    )
    print(f"65,536 tokens: full {1e3 * full:.2f} ms, four rounds {1e3 * four:.2f} ms")
    assert four < full
