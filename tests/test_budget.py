"""Memory predicted for a GPU, without one: its allocator, tiles and kernels; and what a budget holds."""

import itertools
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ablations.__main__ import main
from ablations.launch.predicted_memory import Predictions, too_large
from experiments.compose import compose
from reformer_pl.config import ConfigError, RunConfig
from reformer_pl.lsh import roads
from reformer_pl.lsh.budget import kernels_of, sizes_alone, tile_bytes
from reformer_pl.measure import GIB, predict_attention_memory, predict_memory
from reformer_pl.memory.allocator import BLOCK, MIB, Allocator, block_bytes, peaks
from reformer_pl.memory.longest import longest_length, read_budget, with_length
from reformer_pl.memory.workspaces import CUBLAS_HOPPER_BYTES, cublas_bytes
from test_predict import small

# the allocator: sizes in bytes, events (i: storage i is made; ~i: it is freed), (allocated, reserved)

TRACES = {
    "small": ([1000], [0], (1024, 2 * MIB)),
    "nothing": ([0, 1], [0, 1, ~0], (512, 2 * MIB)),
    "small beside middle": ([1000, 5 * MIB], [0, 1], (1024 + 5 * MIB, 22 * MIB)),
    "large": ([31 * MIB + 1], [0], (32 * MIB, 32 * MIB)),  # less than 1 MiB is not split off
    "split": ([10 * MIB + 1], [0], (10 * MIB + 512, 12 * MIB)),
    "one MiB": ([MIB, MIB + 1], [0, 1], (2 * MIB + 512, 22 * MIB)),
    "merged": (
        [5 * MIB, 5 * MIB, 5 * MIB, 10 * MIB - 512],
        [0, 1, 2, ~0, ~1, 3],
        (15 * MIB, 20 * MIB),
    ),
    "in pieces": (  # 10 MiB are free, in two pieces: fragmentation takes a second segment
        [5 * MIB, 5 * MIB, 5 * MIB, 5 * MIB, 10 * MIB - 512],
        [0, 1, 2, 3, ~0, ~2, 4],
        (20 * MIB, 40 * MIB),
    ),
    "given back": ([30 * MIB, 40 * MIB], [0, ~0, 1], (40 * MIB, 40 * MIB)),
    "best fit": (
        [6 * MIB, 2 * MIB, 4 * MIB, 2 * MIB, 6 * MIB, 4 * MIB, 6 * MIB],
        [0, 1, 2, 3, 4, ~0, ~2, 5, 6],
        (20 * MIB, 20 * MIB),
    ),
}


@pytest.mark.parametrize("what", TRACES)
def test_the_allocator_lays_out(what: str) -> None:
    sizes, events, expected = TRACES[what]
    assert peaks(sizes, events) == expected


@pytest.mark.parametrize("seed", range(3))
def test_blocks_never_overlap_and_all_memory_is_accounted_for(seed: int) -> None:
    draw, allocator, alive = random.Random(seed), Allocator(), []
    for _ in range(600):
        if alive and draw.random() < 0.5:
            block, small_one = alive.pop(draw.randrange(len(alive)))
            allocator.release(block, small_one)
            continue
        size = int(2 ** draw.uniform(3, 25))
        alive.append((allocator.take(size), block_bytes(size) <= MIB))
        blocks = sorted((block.address, block.size) for block, _ in alive)
        assert blocks[-1][1] % BLOCK == 0
        for (at, size), (following, _) in itertools.pairwise(blocks):
            assert at + size <= following
        idle = sum(size for pool in allocator.free.values() for size, _, _ in pool)
        assert allocator.reserved == idle + sum(size for _, size in blocks)


# a prediction for a GPU

LSH = ["model.attention=lsh", "model.lsh.chunk_len=32"]


@pytest.mark.parametrize(
    ("overrides", "road"),
    [
        (LSH, "triton"),
        ([*LSH, "trainer.precision=bf16-mixed"], "triton"),
        ([*LSH, "model.n_heads=8"], "efficient"),  # heads of 8
        ([*LSH, "trainer.precision=64-true"], "plain"),
        (["model.attention=lsh", "model.lsh.chunk_len=300"], "plain"),
        ([*LSH, "model.lsh.road=efficient"], "efficient"),
    ],
)
def test_lsh_takes_the_gpu_s_road(
    overrides: list[str], road: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And asks no GPU, nor whether its kernels can be trusted."""
    words, choose = [], roads.choose_road

    def spy(*args: object) -> str:
        words.append(choose(*args))
        return words[-1]

    monkeypatch.setattr("reformer_pl.lsh.choose_road", spy)
    predicted = predict_memory(small(*overrides, "task.length=2048"), "cuda")
    assert set(words) == {road}
    kinds = [value for kind, value in predicted.items() if kind not in ("total", "reserved")]
    assert predicted["total"] == pytest.approx(sum(kinds))
    assert predicted["reserved"] >= predicted["total"]
    assert predicted["reserved"] * GIB % (2 * MIB) == 0


def test_the_tiles_are_the_gpu_s() -> None:
    cpu = torch.device("cpu")
    with sizes_alone("cuda"):
        assert (kernels_of(cpu), tile_bytes(cpu)) == ("cuda", 32 * MIB)
    with sizes_alone():
        assert (kernels_of(cpu), tile_bytes(cpu)) == ("cpu", MIB)
    plain = small("model.attention=lsh", "model.lsh.road=plain", "task.length=8192")
    plain.benchmark.measure = "attention"
    grown = [predict_attention_memory(plain, device)["temporary"] for device in ("cpu", "cuda")]
    assert grown[1] - grown[0] > 32 * MIB / GIB


def test_products_take_two_workspaces_and_only_a_whole_step_counts_them() -> None:
    config = small("model.attention=full")
    one = predict_memory(config, "cuda")["total"] - predict_memory(config)["total"]
    assert one * GIB == pytest.approx(2 * CUBLAS_HOPPER_BYTES, rel=0.05)
    assert cublas_bytes() == 2 * CUBLAS_HOPPER_BYTES  # where no GPU says that it is smaller
    config.benchmark.measure = "attention"
    assert predict_attention_memory(config, "cuda")["total"] * GIB < MIB


def test_dropout_keeps_a_byte_a_number() -> None:
    config = small("model.attention=full", "model.dropout=0.1", "task.length=4096")
    kept = [predict_memory(config, device)["activations"] for device in ("cpu", "cuda")]
    task, model = config.task, config.model
    # Of the embedding, and in each layer of both sublayers and within the feed-forward one:
    width = model.d_model + model.n_layers * (2 * model.d_model + model.d_ff)
    assert (kept[0] - kept[1]) * GIB == pytest.approx(
        3 * task.batch_size * task.length * width, rel=0.02
    )


def test_adam_holds_a_third_copy_of_the_weights_while_it_steps() -> None:
    """torch updates all weights at once on a GPU, where they outweigh the activations."""
    config = small("model.attention=full", "model.d_ff=65536", "task.length=16")
    cpu, gpu = (predict_memory(config, device) for device in ("cpu", "cuda"))
    assert gpu["total"] - cpu["total"] - 2 * CUBLAS_HOPPER_BYTES / GIB > 0.5 * cpu["parameters"]


def test_no_fused_kernel_takes_float64() -> None:
    config = small("model.attention=full", "trainer.precision=64-true", "task.length=2048")
    scores = 8 * config.task.batch_size * config.model.n_heads * 2048**2
    assert predict_memory(config, "cuda")["activations"] * GIB > 2 * scores
    assert predict_memory(config)["activations"] * GIB < scores


@pytest.mark.parametrize("dtype", ["32-true", "bf16-mixed"])
def test_a_sort_keeps_its_input_a_second_time(dtype: str) -> None:
    config = small(*LSH, f"trainer.precision={dtype}", "task.length=16384", "model.lsh.n_hashes=8")
    config.benchmark.measure = "attention"
    keys = config.task.batch_size * config.model.n_heads * 8 * 16384
    assert predict_attention_memory(config, "cuda")["total"] * GIB > keys * (2 * 4 + 3 * 8)


def test_plan_and_the_limit_take_the_device_that_a_cell_gets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain, cpu, gpu = (
        small("trainer.accelerator=auto"),
        small("trainer.accelerator=cpu"),
        small("trainer.accelerator=gpu"),
    )
    assert "reserved" not in Predictions().of(plain)
    assert "reserved" in Predictions().of(gpu)
    assert "reserved" in Predictions(for_gpu=True).of(plain)
    assert "reserved" not in Predictions(for_gpu=True).of(cpu)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (8, 0))
    assert "reserved" in Predictions().of(plain)  # and CUDA stays asleep in the driver
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert cublas_bytes() < 2 * CUBLAS_HOPPER_BYTES  # an A100's
    monkeypatch.undo()
    limit = 32 / 1024  # GiB: a CPU's step takes 5 MiB
    refused = too_large({"a cell": plain}, limit, [], for_gpu=True)
    assert "above --memory-limit" in refused["a cell"][0]
    assert not too_large({"a cell": plain}, limit, [])


# a budget


def linear(gib_per_token: float) -> Callable[[RunConfig], float]:
    return lambda config: config.task.length * gib_per_token


@pytest.mark.parametrize("budget", [1.0, 3.21, 100.0, 0.07])
@pytest.mark.parametrize(
    ("overrides", "step"),
    [
        ([], 64),
        (
            [
                *("model.attention=local lsh", "model.n_layers=2"),
                *("model.lsh.chunk_len=96", "model.local.chunk_len=40"),
            ],
            960,
        ),
        (["task.name=duplication", "model.positions=axial"], 64),
    ],
)
def test_the_longest_sequence_is_the_longest(
    overrides: list[str], step: int, budget: float
) -> None:
    config = compose(["task.length=1024", "model.attention=full", *overrides])
    found = longest_length(config, budget, linear(1e-3))
    most = int(budget / 1e-3) // step * step
    expected = max([most] + [1024] * (budget / 1e-3 >= 1024))
    assert (found[0] if found else 0) == expected
    assert found is None or found[1] == pytest.approx(1e-3 * found[0])


@pytest.mark.parametrize(
    ("overrides", "budget", "expected"),
    [
        (["model.positions=axial", "model.axial.shape=[32,32]"], 100.0, 1024),
        (["model.positions=axial", "model.axial.shape=[32,32]"], 1.0, None),
        (["model.ff_chunks=200"], 100.0, 99968),
        (["model.ff_chunks=200"], 0.2, None),  # a length of 200 at least
        (["model.lsh.n_buckets=16"], 5.0, 4992),
    ],
)
def test_only_lengths_that_the_rules_allow_count(
    overrides: list[str], budget: float, expected: int | None
) -> None:
    config = compose(["task.length=1024", "model.attention=lsh", *overrides])
    longest = longest_length(config, budget, linear(1e-3))
    assert (longest and longest[0]) == expected
    assert expected is None or with_length(config, expected) is not None


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_next_length_does_not_fit(device: str) -> None:
    config = small("model.attention=full", "model.n_layers=1", "task.length=256")

    def needed(config: RunConfig) -> float:
        predicted = predict_memory(config, device)
        return predicted.get("reserved", predicted["total"])

    budget = {"cpu": 6, "cuda": 72}[device] / 1024
    length, gib = longest_length(config, budget, needed)
    assert length > config.task.length and length % 64 == 0 and gib <= budget
    assert needed(with_length(config, length + 64)) > budget


@pytest.mark.parametrize(
    ("text", "gib"),
    [("80GiB", 80), ("80", 80), (" 1.5 TiB", 1536), ("512MiB", 0.5), ("80gb", 80e9 / 2**30)],
)
def test_a_budget_is_a_number_and_a_unit(text: str, gib: float) -> None:
    assert read_budget(text) == pytest.approx(gib)


@pytest.mark.parametrize("text", ["", "much", "-3GiB", "0", "80 GPUs", "1e3", "nan"])
def test_another_budget_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="such as 80GiB"):
        read_budget(text)


GRID = """
base: [task.name=recall, model.d_model=32, model.d_ff=32]
axes:
  length: {64: [task.length=64], 128: [task.length=128]}
  variant: {full: [model.attention=full], axial: [model.positions=axial, "model.axial.shape=[]"]}
seeds: [0, 1]
"""


def test_plan_prints_a_line_for_each_variant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    assert main(["plan", str(path), "--budget", "3MiB", "--runs-dir", str(tmp_path)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("# 64_full: ") and "tokens fit into 3MiB, 1.76 MiB" in first
    assert second.startswith("# 64_axial: ") and second.endswith("(batch 8 a process)")
    assert main(["plan", str(path), "--budget", "1KiB", "--runs-dir", str(tmp_path)]) == 2
    assert "such as 80GiB" in capsys.readouterr().err
    assert main(["plan", str(path), "--budget", "1MiB", "--for-gpu"]) == 0
    assert capsys.readouterr().out.count("no length fits into 1MiB") == 2
    assert main(["plan", str(path), "--for-gpu"]) == 0
    assert capsys.readouterr().out.count(" MiB predicted on a GPU, in segments of ") == 8
