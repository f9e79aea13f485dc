"""Memory is predicted before anything runs: what the real step counts, at any size.

`plan` and `run --memory-limit` go by it.
"""

import json
import sys
from pathlib import Path

import pytest
import torch

from ablations.__main__ import main
from ablations.launch.predicted_memory import Predictions
from ablations.study import Study, compose_cells, load_study
from ablations.study.cell import Cell
from experiments.benchmarking.timing import peak_memory
from experiments.benchmarking.work import build_work
from experiments.compose import compose
from experiments.run_dir.outcome import read_result
from experiments.terminal.units import memory
from experiments.training.callbacks import Cost
from experiments.training.trainer import build_trainer
from reformer_pl.config import ConfigError, RunConfig
from reformer_pl.config.rules import ATTENTIONS, RESIDUALS
from reformer_pl.measure import GIB, predict_attention_memory, predict_memory
from reformer_pl.module import LitSequenceModel
from reformer_pl.tasks import build_task

SMALL = [
    *(
        "model.d_model=64",
        "model.n_heads=4",
        "model.n_layers=2",
        "model.d_ff=128",
        "model.lsh.chunk_len=16",
        "model.local.chunk_len=16",
        "model.sinks.window=16",
        "model.blocks.chunk_len=16",
        "model.topk.n_keys=16",
    ),
    *(
        "task.length=256",
        "task.batch_size=2",
        "task.eval_sequences=2",
        "trainer.accelerator=cpu",
        "trainer.threads=1",
    ),
    *("trainer.max_steps=2", "trainer.eval_every_steps=2"),
]
STEPS = {
    f"{attention} {residual}": [f"model.attention={attention}", f"model.residual={residual}"]
    for attention in ATTENTIONS
    for residual in RESIDUALS
}
STEPS |= {
    "chunked": [
        "model.attention=full", "model.residual=reversible", "model.merge=concat",
        "model.ff_chunks=4", "model.loss_chunks=4",
    ],
    "dropout, adafactor": [
        "model.attention=local lsh", "model.residual=reversible", "model.dropout=0.1",
        "optim.name=adafactor",
    ],
    "float64, clipped": [
        "model.attention=shared_full", "trainer.precision=64-true", "optim.clip_norm=1",
        "optim.name=adafactor",
    ],
    "bfloat16, ragged": [
        "model.attention=lsh local", "trainer.precision=bf16-mixed", "task.length=250",
        "model.residual=checkpoint",
    ],
    "adamw, clipped": [
        "model.attention=sinks", "optim.name=adamw", "optim.clip_norm=1",
        "model.positions=axial",
    ],
    "micro-batches": [
        "model.attention=full", "optim.accumulate=2", "optim.clip_norm=1", "model.residual=checkpoint",
    ],
    "micro-batches of LSH, bfloat16": [
        "model.attention=lsh", "optim.accumulate=4", "task.batch_size=8", "optim.name=adamw",
        "model.residual=reversible", "trainer.precision=bf16-mixed", "model.loss_chunks=2",
    ],
    "micro-batches, adafactor": [
        "model.attention=local", "optim.accumulate=3", "task.batch_size=6", "optim.name=adafactor",
    ],
    "rotary": [
        "model.attention=full lsh", "model.positions=rotary", "model.residual=reversible",
        "trainer.precision=bf16-mixed",
    ],
    "several tiles": [
        "model.attention=lsh", "model.lsh.window=causal", "model.n_layers=1", "task.length=2048",
        "model.lsh.n_hashes=2",
    ],
}  # fmt: skip


def small(*overrides: str) -> RunConfig:
    return compose([*SMALL, *overrides])


def counted_gib(config: RunConfig) -> float:
    """peak_memory_gib of a real run: the profiler's count in the Trainer's second step."""
    data, cost = build_task(config), Cost()
    build_trainer(config, callbacks=[cost], logger=False).fit(
        LitSequenceModel(config, data.vocab_size), datamodule=data
    )
    return cost.peak_bytes / GIB


# against what is counted


@pytest.mark.parametrize("what", STEPS)
def test_the_prediction_is_what_a_real_step_counts(what: str) -> None:
    config = small(*STEPS[what])
    predicted = predict_memory(config)
    assert predicted["total"] == pytest.approx(
        sum(value for kind, value in predicted.items() if kind != "total")
    )
    assert predicted["total"] == pytest.approx(counted_gib(config), rel=0.05)
    assert predicted["activations"] + predicted["temporary"] > predicted["total"] / 3, (
        "the sizes test nothing but the parameters"
    )


CALLS = {
    attention: ["benchmark.measure=attention", f"model.attention={attention}"]
    for attention in ATTENTIONS
}
CALLS |= {
    "naive": [*CALLS["full"], "benchmark.peer=naive"],
    "float64": [*CALLS["local"], "trainer.precision=64-true"],
}
CALLS |= {
    f"layer {attention}": ["benchmark.measure=layer", f"model.attention={attention}"]
    for attention in ("full", "lsh")
}


@pytest.mark.parametrize("what", CALLS)
def test_the_prediction_of_one_attention_is_what_a_benchmark_counts(what: str) -> None:
    config, cpu = small(*CALLS[what]), torch.device("cpu")
    torch.set_num_threads(1)
    work = build_work(config, cpu)
    peak_memory(work, cpu)  # caches are warm
    assert predict_attention_memory(config)["total"] == pytest.approx(
        peak_memory(work, cpu) / GIB, rel=0.05
    )


# at any size


def test_sixty_four_thousand_tokens_are_predicted_without_data_or_memory() -> None:
    long = [
        "task.name=enwik8",
        "task.source=no/such/file",
        "task.length=65536",
        "task.batch_size=1",
        "model.positions=axial",
    ]
    chunks = ["model.ff_chunks=8", "model.loss_chunks=8", "model.lsh.chunk_len=64"]
    config = small(*long, *chunks, "model.d_model=1024", "model.residual=reversible")
    reformer = predict_memory(config)
    stream = 65536 * 1024 * 4 / GIB
    assert (
        2 * stream < reformer["total"] < 24 * stream
    )  # a (65536, 65536) matrix of one head alone would be 64 streams
    config.model.residual, config.model.n_layers = "standard", 4
    assert predict_memory(config)["total"] > 2 * reformer["total"]


def test_what_cannot_be_is_told_in_one_line() -> None:
    with pytest.raises(ConfigError, match="no memory could hold"):
        predict_memory(small("task.batch_size=4611686018427387904"))


def test_a_prediction_leaves_no_trace() -> None:
    before, generator = torch.get_default_dtype(), torch.get_rng_state()
    predict_memory(
        small("trainer.precision=64-true", "model.dropout=0.5", "model.residual=reversible")
    )
    assert torch.get_default_dtype() == before and torch.equal(torch.get_rng_state(), generator)
    assert torch.zeros(3).sum().item() == 0  # not a fake tensor


def test_a_process_of_ddp_has_its_share_of_the_batch_and_all_gradients_in_buckets() -> None:
    one = predict_memory(small("model.attention=full"))
    two = predict_memory(small("model.attention=full", "trainer=ddp", "trainer.devices=2"))
    assert two["activations"] == pytest.approx(one["activations"] / 2, rel=0.05)
    assert two["gradients"] == pytest.approx(one["parameters"])
    assert two["parameters"] == one["parameters"]


# a reversible layer, itemised (GiB -> bytes)


@pytest.mark.parametrize("what", ["weights outweigh", "tokens outweigh"])
def test_a_reversible_layer_costs_its_parameters_gradients_optimiser_state_and_sort_order(
    what: str,
) -> None:
    """Before a layer's backward its sort order is alive, after it its gradients are.

    The peak has the larger of the two.
    """
    sizes = {
        "weights outweigh": [],
        "tokens outweigh": ["model.d_model=16", "model.d_ff=16", "task.length=1024"],
    }[what]
    config = small("model.residual=reversible", "model.attention=lsh", *sizes)
    layers = (2, 6)
    found = []
    for config.model.n_layers in layers:
        found.append({kind: value * GIB for kind, value in predict_memory(config).items()})
    grown = {kind: (found[1][kind] - found[0][kind]) / (layers[1] - layers[0]) for kind in found[0]}
    d, d_ff = config.model.d_model, config.model.d_ff
    weights = 4 * (3 * d * d + 2 * d * d_ff + d_ff + d + 4 * d)
    order = (
        8
        * config.task.batch_size
        * config.task.length
        * config.model.n_heads
        * config.model.lsh.n_hashes
    )
    assert (order > weights) == (what == "tokens outweigh")
    assert grown["parameters"] == weights
    assert grown["optimizer"] == 2 * weights + 4 * len(
        list(LitSequenceModel(config, 128).model.layers[0].parameters())
    )
    assert grown["total"] == pytest.approx(
        grown["parameters"] + grown["optimizer"] + max(weights, order), rel=0.001
    )


# plan and run


GRID = """
base: [task.length=64, model.d_model=32, model.d_ff=32, model.attention=full]
axes: {train: {small: [], fast: [optim.lr=0.002], large: [task.batch_size=64]}}
seeds: [0, 1]
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Six cells with two different predictions. A cell that starts writes its result at once."""
    (tmp_path / "grid.yaml").write_text(GRID)
    result = {"status": "ok", "error": None, "loss_nats": 1.0, "steps": 1}
    script = f"import sys; open(sys.argv[1], 'w').write({json.dumps(result)!r})"
    monkeypatch.setattr(
        Cell,
        "command",
        lambda cell: [sys.executable, "-c", script, str(cell.directory / "result.json")],
    )
    monkeypatch.chdir(tmp_path)
    return load_study("./grid.yaml")


def test_plan_says_what_each_cell_needs(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "./grid.yaml"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * len(study.cells) + 4
    predictions = Predictions()
    for cell, config, line in zip(study.cells, compose_cells(study), lines[:-4:2], strict=True):
        needed = (
            memory(predict_memory(config)["total"])
            if config.seed == 0
            else memory(predictions.of(config)["total"])
        )
        assert line.startswith(f"# {cell}: {needed} predicted (parameters ")
        predictions.of(config)
    assert len(predictions.predicted) == 2  # neither the seed nor the learning rate needs memory


def test_a_cell_that_would_not_fit_is_not_started_and_is_a_row_like_any_failure(
    study: Study, capfd: pytest.CaptureFixture[str]
) -> None:
    small_gib, large_gib = sorted(
        {predict_memory(config)["total"] for config in compose_cells(study)}
    )
    limit = ["--memory-limit", f"{(small_gib + large_gib) / 2}"]
    run = ["run", "./grid.yaml", "--parallel", "4"]
    assert main([*run, *limit]) == 1
    printed = capfd.readouterr().out
    assert "4 of 6 cells ok" in printed and "--retry" in printed
    for cell in study.cells:
        result = read_result(cell.directory)
        assert result["status"] == ("would_not_fit" if cell.train == "large" else "ok")
        if cell.train == "large":
            assert (
                memory(large_gib) in result["error"]
                and f"--memory-limit {float(limit[1]):g}" in result["error"]
            )
            assert result["predicted_memory_gib"] == large_gib and result["loss_nats"] is None
            assert (
                not (cell.directory / "log.txt").exists()
                and f"{cell}: would_not_fit, {result['error']}" in printed
            )

    assert main(["status", "./grid.yaml"]) == 0
    assert "would_not_fit: predicted to need" in capfd.readouterr().out
    assert main(["report", "./grid.yaml"]) == 0
    assert "2 would_not_fit" in capfd.readouterr().out
    assert main(run) == 1 and main([*run, "--retry", *limit]) == 1, (
        "neither without a limit nor with the same does it fit"
    )
    assert main([*run, "--memory-limit", f"{large_gib * 1.01}"]) == 0, "a higher limit lets it run"


def test_retry_runs_what_would_not_fit(study: Study) -> None:
    assert main(["run", "./grid.yaml", "--memory-limit", "0.000001"]) == 1
    assert {read_result(cell.directory)["status"] for cell in study.cells} == {"would_not_fit"}
    assert main(["run", "./grid.yaml", "--retry", "--parallel", "4"]) == 0
    assert json.loads((study.cells[0].directory / "result.json").read_text())["status"] == "ok"


@pytest.mark.parametrize("limit", ["-1", "0", "nan", "inf"])
def test_a_limit_that_is_none_is_refused_in_one_line(
    limit: str, study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "./grid.yaml", f"--memory-limit={limit}"]) == 2
    printed = capsys.readouterr().err
    assert "--memory-limit must be a positive number of GiB" in printed and printed.count("\n") == 1
    assert not study.directory.exists()
