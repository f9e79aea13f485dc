"""A benchmark's rows are real: every kind of measurement runs, and is counted as it says.

Each fails as data, and is a cell of a study.
"""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from ablations.__main__ import main as ablations
from ablations.study import load_study
from experiments import benchmark, train
from experiments.benchmarking import timing
from experiments.benchmarking.peers import peer_layer, peer_model
from experiments.benchmarking.timing import Seconds, measure, time_in_turn
from experiments.benchmarking.work import Work, build_rival, build_work
from experiments.compose import compose, product
from experiments.run_dir.files import safe_name
from experiments.run_dir.outcome import BENCHMARK_NUMBERS
from experiments.terminal.units import memory, three_digits
from processes import exit_code
from reformer_pl.config import BenchmarkConfig, ConfigError, RunConfig
from reformer_pl.config import loading as config_module
from reformer_pl.config.rules import ATTENTIONS
from reformer_pl.measure import GIB
from reformer_pl.memory.one_layer import naive_full
from reformer_pl.module import LitSequenceModel
from reformer_pl.optimizer import build_optimizer
from tiny import assert_close
from warm import output_of, start_command

CPU = torch.device("cpu")
TINY = [
    *(
        "model.d_model=16",
        "model.n_heads=2",
        "model.n_layers=2",
        "model.d_ff=32",
        "model.lsh.chunk_len=8",
        "model.lsh.n_hashes=2",
    ),
    *(
        "model.local.chunk_len=8",
        "task.length=64",
        "task.batch_size=2",
        "trainer.accelerator=cpu",
        "trainer.threads=1",
    ),
    *("benchmark.repeats=3", "benchmark.seconds=0.001"),
]
PUBLISHED = [
    "model.attention=lsh",
    "model.lsh.window=wrap",
    "model.lsh.bucket_mask=false",
    "model.lsh.dedupe=false",
]
STEP = [*PUBLISHED, "benchmark.measure=step", "model.residual=reversible"]
PEER_LAYERS = {
    peer: ["benchmark.measure=layer", *PUBLISHED, f"benchmark.peer={peer}"]
    for peer in ("transformers", "lucidrains")
}
PEER_STEPS = {
    "transformers": [
        *STEP,
        "benchmark.peer=transformers",
        "model.merge=concat",
        "model.ff_chunks=2",
    ],
    "lucidrains": [*STEP, "benchmark.peer=lucidrains", "model.ff_chunks=2"],
}
PACKAGES = {"transformers": "transformers", "lucidrains": "reformer_pytorch"}


def tiny(*overrides: str) -> RunConfig:
    return compose([*TINY, *overrides])


def need(peer: str) -> None:
    pytest.importorskip(
        PACKAGES[peer],
        reason=f"the public Reformer {peer} is not installed: pip install -e '.[peers]'",
    )


# rows

ROWS = {
    "kernel lsh, paired": [
        "benchmark.measure=attention",
        "model.attention=lsh",
        "benchmark.paired=true",
    ],
    "kernel local": ["benchmark.measure=attention", "model.attention=local"],
    "kernel shared_full": ["benchmark.measure=attention", "model.attention=shared_full"],
    "kernel naive, paired": [
        "benchmark.measure=attention",
        "model.attention=full",
        "benchmark.peer=naive",
        "benchmark.paired=true",
    ],
    "layer full": ["benchmark.measure=layer", "model.attention=full"],
    "layer lsh, paired": [
        "benchmark.measure=layer",
        "model.attention=lsh",
        "benchmark.paired=true",
    ],
    "layer lsh in bf16": [
        "benchmark.measure=layer",
        "model.attention=lsh",
        "trainer.precision=bf16-mixed",
    ],
    "step": [
        "benchmark.measure=step",
        "model.attention=full lsh",
        "task.name=enwik8",
        "optim.clip_norm=1",
    ],
    "step in float64": [
        "benchmark.measure=step",
        "model.residual=reversible",
        "trainer.precision=64-true",
        "optim.name=adafactor",
    ],
    "layer transformers": PEER_LAYERS["transformers"],
    "layer lucidrains": PEER_LAYERS["lucidrains"],
    "step transformers": PEER_STEPS["transformers"],
    "step lucidrains": PEER_STEPS["lucidrains"],
}


@pytest.mark.parametrize("what", ROWS)
def test_every_measurement_leaves_a_whole_row(what: str) -> None:
    config = tiny(*ROWS[what])
    peer, paired = config.benchmark.peer, config.benchmark.paired
    if peer in PACKAGES:
        need(peer)
    row = measure(config, {})
    assert (
        row["status"] == "ok"
        and row["error"] is None
        and row["threads"] == 1
        and "CPU" in row["device"]
    )
    assert row["n_repeats"] >= 3
    assert (
        0 < row["forward_seconds"] < row["step_seconds"]
        and 0 < row["backward_seconds"] < row["step_seconds"]
    )
    assert row["step_seconds_iqr"] >= 0
    assert row["tokens_per_second"] == 2 * 64 / row["step_seconds"]
    assert (row["full_seconds"] is not None) == (row["speedup"] is not None) == paired
    assert (row["predicted_memory_gib"] is None) == (peer in PACKAGES)
    assert (row["parameters"] == 0) == (config.benchmark.measure == "attention")
    inputs = 2 * 64 * 16 * 4  # bytes of one (B, L, d_model) in float32
    assert row["peak_memory_gib"] * GIB >= inputs
    if config.benchmark.measure == "step":
        assert (
            row["peak_memory_gib"] * GIB > 2 * 4 * row["parameters"]
        )  # everything: parameters, gradients, what the optimiser keeps


def test_a_layer_beside_ours_has_as_many_weights() -> None:
    """The same projections; lucidrains' last one has a bias."""
    counts = {"none": build_work(tiny("benchmark.measure=layer", *PUBLISHED), CPU).parameters}
    for peer, overrides in PEER_LAYERS.items():
        need(peer)
        counts[peer] = build_work(tiny(*overrides), CPU).parameters
    assert counts == {
        "none": 3 * 16 * 16,
        "transformers": 3 * 16 * 16,
        "lucidrains": 3 * 16 * 16 + 16,
    }


class Clock:
    """Time passes only in the work."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def work(self, name: str, forward: float, backward: float, finish: float) -> Work:
        def take(seconds: float) -> Tensor:
            self.now += seconds
            self.log.append(name)
            return torch.zeros(())

        return Work(
            lambda: take(forward), lambda _: take(backward), lambda: take(finish), lambda: (), 0
        )


def test_two_are_timed_in_turn_and_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(timing, "timer", lambda: clock.now)
    ours, full = clock.work("ours", 1, 2, 0.5), clock.work("full", 2, 4, 1)
    times, theirs = time_in_turn(ours, full, BenchmarkConfig(repeats=3, seconds=1))
    assert times == [Seconds(1, 2, 3.5)] * 3 and theirs == [Seconds(2, 4, 7)] * 3
    assert clock.log == (["ours"] * 3 + ["full"] * 3) * 3
    clock.log.clear()
    times, theirs = time_in_turn(ours, None, BenchmarkConfig(repeats=3, seconds=15))
    assert len(times) == 5 and theirs == []  # 3.5 s each until 15 s have passed


def test_speedup_is_the_median_of_the_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [
        (1.0, 2.0),
        (2.0, 2.0),
        (1.0, 10.0),
        (4.0, 2.0),
        (1.0, 3.0),
    ]  # ours, full: ratios 2, 1, 10, 0.5, 3
    times = [[Seconds(0.1, 0.2, pair[i]) for pair in pairs] for i in (0, 1)]
    monkeypatch.setattr(timing, "time_in_turn", lambda *_: tuple(times))
    row = measure(
        tiny("benchmark.measure=attention", "model.attention=lsh", "benchmark.paired=true"), {}
    )
    assert (row["step_seconds"], row["full_seconds"], row["speedup"], row["n_repeats"]) == (
        1.0,
        2.0,
        2.0,
        5,
    )
    assert row["step_seconds_iqr"] == 1.0 and (row["forward_seconds"], row["backward_seconds"]) == (
        0.1,
        0.2,
    )


# what is timed


def test_naive_attention_is_full_attention_and_stores_its_scores() -> None:
    q, k, v = (torch.randn(2, 3, 20, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert_close(naive_full(q, k, v), expected, 1e-12)
    rows = {peer: measure(tiny("benchmark.measure=attention", "model.attention=full", "task.length=256", f"benchmark.peer={peer}"), {})
            for peer in ("naive", "none")}  # fmt: skip
    scores = 2 * 2 * 256 * 256 * 4
    assert (
        rows["naive"]["peak_memory_gib"] * GIB > 2 * scores > rows["none"]["peak_memory_gib"] * GIB
    )
    for row in rows.values():
        assert row["peak_memory_gib"] == pytest.approx(row["predicted_memory_gib"], rel=0.05)


@pytest.mark.parametrize("kind", ATTENTIONS)
@pytest.mark.parametrize("what", ["attention", "layer"])
def test_every_kernel_and_layer_gives_gradients_in_every_precision(what: str, kind: str) -> None:
    for precision, dtype in (
        ("32-true", torch.float32),
        ("bf16-mixed", torch.bfloat16),
        ("64-true", torch.float64),
    ):
        config = tiny(
            f"benchmark.measure={what}", f"model.attention={kind}", f"trainer.precision={precision}"
        )
        for work in (build_work(config, CPU), build_rival(config, CPU)):
            out = work.forward()
            assert out.dtype == dtype
            assert all(
                gradient.isfinite().all() and gradient.any() for gradient in work.backward(out)
            )


def test_a_step_is_a_training_step() -> None:
    """The same weights as zero_grad, loss, backward, clipping and a step by hand, three times."""
    config = tiny("benchmark.measure=step", "model.attention=lsh", "optim.clip_norm=0.1")
    work = build_work(config, CPU)
    for _ in range(3):
        timing.repeat(work)
    *kept, tokens, scored = work.kept()

    torch.manual_seed(config.seed)
    vocabulary = 128
    assert torch.equal(tokens, torch.randint(vocabulary, (2, 64))) and scored.all()
    module = LitSequenceModel(config, vocabulary)
    optimizer = build_optimizer(config.optim, module.parameters())
    for _ in range(3):
        optimizer.zero_grad()
        module.training_step((tokens, scored), 0).backward()
        nn.utils.clip_grad_norm_(module.parameters(), 0.1)
        optimizer.step()
    for parameter, other in zip(module.parameters(), kept, strict=False):
        assert torch.equal(parameter, other) and other.grad is None
    assert work.parameters == sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("peer", PEER_STEPS)
def test_gradients_reach_every_weight_of_a_peer(peer: str) -> None:
    """Both public Reformers silently train nothing where the stack's input needs no gradient."""
    need(peer)
    config = tiny(*PEER_LAYERS[peer])
    layer = peer_layer(config)
    layer(torch.randn(2, 64, 16)).square().sum().backward()
    model, loss = peer_model(tiny(*PEER_STEPS[peer]), 31)
    tokens = torch.randint(31, (2, 64))
    value = loss(tokens)
    assert value.item() == pytest.approx(math.log(31), rel=0.2)  # it has learnt nothing yet
    value.backward()
    unused = {"lm_head.bias"} if peer == "transformers" else set()  # made, and never added
    for module, spared in ((layer, set()), (model, unused)):
        without = {
            name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()
        }
        assert without == spared
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert (
        sum(shape in ((32, 16), (16, 32)) for shape in shapes.values()) >= 4
    )  # d_ff in both layers


# the command


def result(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "result.json").read_text())


def test_the_command_leaves_a_row_and_does_not_measure_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = [*TINY, "benchmark.measure=attention", "model.attention=lsh", f"out_dir={tmp_path}"]
    assert benchmark.main(case) == 0
    assert capsys.readouterr().out.startswith("ok: forward ")
    row, before = result(tmp_path), (tmp_path / "result.json").read_bytes()
    numbers = {"status", "error", "measure", "peer", *BENCHMARK_NUMBERS}
    assert row.keys() == numbers | {"device", "threads", "versions", "git_commit", "finished_at"}
    assert [row[name] for name in ("measure", "peer", "length", "batch_size", "n_layers")] == [
        "attention",
        "none",
        64,
        2,
        1,
    ]
    assert (
        yaml.safe_load((tmp_path / "config.yaml").read_text())["benchmark"]["measure"]
        == "attention"
    )
    assert "ok: " in (tmp_path / "log.txt").read_text()
    assert benchmark.main(case) == 0 and "already done" in capsys.readouterr().out
    assert (tmp_path / "result.json").read_bytes() == before
    assert benchmark.main([*case, "model.lsh.n_hashes=3"]) == 2
    assert "another config (model.lsh.n_hashes 2 -> 3)" in capsys.readouterr().err


def test_what_does_not_fit_is_a_row_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = [
        *TINY,
        "benchmark.measure=attention",
        "model.attention=full",
        "benchmark.peer=naive",
        "task.length=512",
        f"out_dir={tmp_path}",
    ]
    assert benchmark.main([*case, "benchmark.memory_limit_gib=0.001"]) == 1
    refused = result(tmp_path)
    assert (
        refused["status"] == "would_not_fit"
        and "above benchmark.memory_limit_gib=0.001" in refused["error"]
    )
    assert (
        refused["predicted_memory_gib"] > 0.001
        and refused["step_seconds"] is None
        and refused["length"] == 512
    )
    assert (
        benchmark.main([*case, "benchmark.memory_limit_gib=1"]) == 0
    )  # the limit is no part of what is measured
    assert result(tmp_path)["status"] == "ok"

    huge = [*case[:-1], "task.batch_size=68719476736", f"out_dir={tmp_path / 'huge'}"]
    assert benchmark.main(huge) == 1
    failed = result(tmp_path / "huge")
    assert (
        failed["status"] == "oom"
        and failed["predicted_memory_gib"] > 1e6
        and failed["step_seconds"] is None
    )
    assert "Traceback" not in capsys.readouterr().err


def test_ctrl_c_leaves_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    case = [*TINY, "benchmark.measure=attention", f"out_dir={tmp_path}"]
    with monkeypatch.context() as patch:
        patch.setattr(timing, "repeat", interrupted)
        assert benchmark.main(case) == 130
    assert "the same command" in capsys.readouterr().err and not (tmp_path / "result.json").exists()
    assert benchmark.main(case) == 0 and result(tmp_path)["status"] == "ok"


def test_commas_are_cases_in_processes_of_their_own(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # the second case fails for want of memory, and the table has both
    case = [
        *TINY,
        "benchmark.measure=attention",
        "model.attention=full",
        "task.length=16,8796093022208",
        "benchmark.paired=true",
    ]
    log = tmp_path / "printed.txt"
    assert exit_code(start_command(["-m", "experiments.benchmark", *case], tmp_path, log)) == 1
    said = log.read_text()
    rows = [json.loads(path.read_text()) for path in sorted(tmp_path.rglob("result.json"))]
    assert sorted((row["length"], row["status"]) for row in rows) == [
        (16, "ok"),
        (8796093022208, "oom"),
    ]
    assert re.search(r"task.length=16 +ok +[\d.]+†? +", said) and re.search(
        r"task.length=8796093022208 +oom +- +-", said
    )
    assert benchmark.main([*case, f"out_dir={tmp_path}"]) == 2
    assert "would share a directory" in capfd.readouterr().err


def test_the_product_of_overrides() -> None:
    assert product(["a=1,2", "b='x y',z", "c=[3,4]"]) == [
        [f"a={a}", f"b={b}", "c=[3,4]"] for a in (1, 2) for b in ("'x y'", "z")
    ]  # fmt: skip
    assert product([]) == [[]]
    with pytest.raises(ConfigError, match="is no override"):
        product(["model.attention"])
    assert compose(product(["model.attention=local lsh,full"])[0]).model.attention == "local lsh"


def test_long_commands_have_directories_of_their_own() -> None:
    names = {safe_name("x" * 130 + end) for end in ("a", "b", "")}
    assert len(names) == 3 and all(len(name) == 120 for name in names)
    assert safe_name("a=1 b") == "a=1-b"


BAD = {
    "benchmark.measure=kernel": "choose none, attention, layer, step",
    "benchmark.measure=step benchmark.peer=trax": "choose none, naive, transformers, lucidrains",
    "benchmark.measure=layer benchmark.peer=naive": "measured as benchmark.measure=attention, not layer",
    "benchmark.measure=attention benchmark.peer=lucidrains": "measured as benchmark.measure=layer or step, not attention",
    "benchmark.peer=naive": "measured as benchmark.measure=attention, not none",
    "benchmark.measure=attention benchmark.peer=naive model.attention=lsh": "works as model.attention=full says",
    "benchmark.measure=layer benchmark.peer=transformers model.attention=full":
        "model.attention=lsh model.lsh.window=wrap model.lsh.bucket_mask=false model.lsh.dedupe=false says",
    "STEP benchmark.peer=transformers": "works as model.merge=concat says",
    "STEP benchmark.peer=transformers model.merge=concat model.loss_chunks=2": "works as model.loss_chunks=1 says",
    "STEP benchmark.peer=lucidrains model.residual=standard": "works as model.residual=reversible says",
    "STEP benchmark.peer=lucidrains model.lsh.n_buckets=4": "works as model.lsh.n_buckets=null says",
    "STEP benchmark.peer=lucidrains model.d_ff=40": "model.d_ff 40 must be one of 16",
    "STEP benchmark.peer=lucidrains task.length=40": "task.length 40 must be a multiple of 16",
    "STEP benchmark.peer=transformers model.merge=concat task.length=8": "at least two chunks",
    "STEP benchmark.peer=transformers model.merge=concat model.ff_chunks=3": "model.ff_chunks 3 must divide task.length 64",
    "benchmark.measure=step benchmark.paired=true": "needs measure=attention or layer, not step",
    "benchmark.paired=true": "needs measure=attention or layer, not none",
    "benchmark.measure=layer model.attention='local lsh'": "must be one word",
    "benchmark.measure=step trainer=ddp": "trainer.devices=1",
    "benchmark.measure=step +evaluations={A:['model.lsh.n_hashes=1']}": "trains nothing that evaluations could score",
    "benchmark.measure=step benchmark.repeats=0": "benchmark.repeats must be at least 1",
    "benchmark.measure=step benchmark.seconds=0": "benchmark.seconds must be positive",
    "benchmark.measure=step benchmark.memory_limit_gib=-1": "not negative",
    "model.attention=full": r"add benchmark.measure=attention, layer or step; to train, use python -m experiments.train .*full",
    "": "add benchmark.measure=",
}  # fmt: skip


@pytest.mark.parametrize("line", BAD)
def test_bad_cases_are_refused_in_one_line(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        word
        for part in re.split(r" (?=[+a-z_.]+=)", line.replace("STEP", " ".join(STEP)))
        for word in [part]
        if word
    ]
    assert benchmark.main([*TINY, *words] if line else []) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: ") and said.err.count("\n") == 1
    assert re.search(BAD[line], said.err), said.err


def test_each_command_names_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["experiment=smoke", "benchmark.measure=step"]) == 2
    assert (
        "use python -m experiments.benchmark experiment=smoke benchmark.measure=step"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("peer", PEER_LAYERS)
def test_a_missing_package_is_named(
    peer: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(config_module, "find_spec", lambda name: None)
    assert benchmark.main([*TINY, *PEER_LAYERS[peer]]) == 2
    assert "pip install -e '.[peers]'" in capsys.readouterr().err


# a study of such cells


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    monkeypatch.chdir(tmp_path)

    def write(axis: dict[str, list[str]]) -> list[str]:
        Path("mine.yaml").write_text(
            yaml.safe_dump(
                {"timed": True, "measure": "layer", "base": TINY, "axes": {"variant": axis}}
            )
        )
        return ["./mine.yaml"]

    return write


ONCE = ("--round-minutes", "0")  # the run of a benchmark is its first round


def test_a_study_runs_benchmarks(
    study: Callable[..., list[str]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mine = study({"Full": ["model.attention=full"]})
    said = output_of(["-m", "ablations", "run", *mine, *ONCE], tmp_path, tmp_path / "printed.txt")
    assert (
        re.search(r"Full seed=0: ok in \S+, [\d.e+-]+ ms, [\d.e+-]+ MiB", said)
        and "1 of 1 cells ok" in said
    )
    (cell,) = load_study("./mine.yaml").cells
    row = result(cell.directory)
    assert row["measure"] == "layer" and row["peak_memory_gib"] > 0
    assert ablations(["status", *mine]) == 0
    said = capfd.readouterr().out
    assert "backward" in said and " ms " in said and "loss" not in said
    assert (
        three_digits(1e3 * row["step_seconds"]) in said and memory(row["peak_memory_gib"]) in said
    )
    assert ablations(["run", *mine, *ONCE]) == 0 and "0 to run" in capfd.readouterr().out

    (cell.directory / "result.json").write_text(
        json.dumps(row | {"status": "would_not_fit", "error": "predicted to need 99 GiB"})
    )
    assert (
        ablations(["status", *mine]) == 0
        and "Full seed=0: would_not_fit: predicted to need 99 GiB" in capfd.readouterr().out
    )
    assert (
        ablations(["run", *mine, *ONCE]) == 1
        and "not ok: Full seed=0 (would_not_fit)" in capfd.readouterr().out
    )


def test_a_study_says_what_to_install_before_it_starts(
    study: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(config_module, "find_spec", lambda name: None)
    assert (
        ablations(
            ["run", *study({"Ours": [], "Theirs": [*PUBLISHED, "benchmark.peer=lucidrains"]})]
        )
        == 2
    )
    said = capfd.readouterr()
    assert (
        "pip install -e '.[peers]'" in said.err
        and said.err.count("\n") == 1
        and "started" not in said.out
    )
