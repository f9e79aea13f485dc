"""`trainer.compile`: the parts of a layer are compiled, and every number stays.

Most tests compile by torch's backend "aot_eager", which makes the same graphs and calls no C++
compiler. Its graphs are counted, so that nothing passes here that is not compiled.
"""

import copy
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.backends.debugging import aot_eager

from experiments import benchmark, train
from experiments.benchmarking.timing import repeat
from experiments.benchmarking.work import build_work
from reformer_pl import compiled
from reformer_pl.compiled import compile_parts
from reformer_pl.config import ConfigError, check_installed
from reformer_pl.config.rules import ATTENTIONS, RESIDUALS
from reformer_pl.measure import predict_memory
from reformer_pl.module import LitSequenceModel
from tiny import VOCAB, assert_close, assert_same_grads, build, draw_batch, tiny

PARTS = 2 * ["_normalise"] + ["_project", "_merge", "_dense"]  # of one layer


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """An item for each call of a compiled graph, in either direction of it the forward one."""
    calls: list[Any] = []

    def counted(graph: Any, inputs: Any) -> Callable[..., Any]:
        run = aot_eager(graph, inputs)
        return lambda *tensors: (calls.append(graph), run(*tensors))[1]

    monkeypatch.setattr(compiled, "SETTINGS", {"fullgraph": True, "backend": counted})
    compiled.compiled.cache_clear()
    torch._dynamo.reset()  # the graphs of other tests are not this one's
    yield calls
    compiled.compiled.cache_clear()


def gradients(options: list[str], compiles: bool) -> dict[str, torch.Tensor]:
    model = build(*options)
    if compiles:
        compile_parts(model)
    torch.manual_seed(5)  # of dropout
    model.loss(*draw_batch(), hash_seed=3).mean().backward()
    return {name: p.grad for name, p in model.named_parameters()}


MODELS = {
    f"{residual} {attention}": [
        f"model.residual={residual}",
        f"model.attention={attention}",
        "model.dropout=0.2",
    ]
    for residual in RESIDUALS
    for attention in ATTENTIONS
}
MODELS |= {
    "no dropout": ["model.residual=reversible", "model.attention=lsh"],
    "chunks": [*MODELS["reversible lsh"], "model.ff_chunks=3", "model.loss_chunks=2"],
    "concat, axial": [
        *("model.residual=reversible", "model.merge=concat", "model.positions=axial"),
        *("model.attention=local lsh", "model.lsh.window=causal", "model.dropout=0.2"),
    ],
}
RUNS = {"standard": 1, "checkpoint": 2, "reversible": 2}  # of a layer, forward


@pytest.mark.parametrize("what", MODELS)
def test_gradients_are_those_of_the_eager_model(what: str, graphs: list[Any]) -> None:
    options = MODELS[what]
    assert_same_grads(gradients(options, True), gradients(options, False), 1e-12)
    residual = next(o.split("=")[1] for o in options if "residual" in o)
    parts = len(PARTS) + (2 if what == "chunks" else 0)
    again = 3 if what == "chunks" else 0  # a chunk's second run, within that of its layer
    assert len(graphs) == 2 * (RUNS[residual] * parts + again)


def test_under_autocast_too(graphs: list[Any]) -> None:
    results = []
    for compiles in (False, True):
        model = build("model.residual=reversible", "model.attention=lsh", dtype=torch.float32)
        if compiles:
            compile_parts(model)
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.loss(*draw_batch(), hash_seed=3).mean()
        loss.backward()
        results.append({name: p.grad for name, p in model.named_parameters()})
    for name, want in results[0].items():
        assert_close(results[1][name], want, 2e-2, name)
    assert graphs


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_the_compiler_s_own_code_draws_the_same_dropout() -> None:
    options = MODELS["checkpoint lsh"]
    compiled.compiled.cache_clear()
    assert_same_grads(gradients(options, True), gradients(options, False), 1e-10)


def test_every_kind_of_layer_in_one_model_stays_compiled(graphs: list[Any]) -> None:
    """torch ends compiling a method that it has compiled too often, 8 times if not asked."""
    kinds = " ".join(ATTENTIONS)
    options = [f"model.attention={kinds}", f"model.n_layers={len(ATTENTIONS)}", "model.dropout=0.2"]
    models = [build(*options, f"model.residual={word}") for word in ("reversible", "standard")]
    for model in models:
        compile_parts(model)
    for model, runs in zip(models, (2, 1), strict=True):
        for size in (2, 3):
            graphs.clear()
            model.train().loss(*draw_batch(batch=size), hash_seed=3).mean().backward()
            assert len(graphs) == runs * len(PARTS) * len(ATTENTIONS)
            graphs.clear()
            with torch.no_grad():
                model.eval().loss(*draw_batch(batch=size), hash_seed=3)
            assert len(graphs) == len(PARTS) * len(ATTENTIONS)


# a model is the same to a checkpoint, a copy, and what counts memory


@pytest.mark.parametrize("residual", RESIDUALS)
def test_a_checkpoint_loads_either_way(residual: str, graphs: list[Any], tmp_path: Path) -> None:
    options = [f"model.residual={residual}", "model.attention=local lsh"]
    eager, other = (
        LitSequenceModel(tiny(*options, f"trainer.compile={word}"), VOCAB)
        for word in ("false", "true")
    )
    assert list(eager.state_dict()) == list(other.state_dict())
    batch = draw_batch()
    for saved, loads in ((eager, other), (other, eager)):
        torch.nn.init.normal_(saved.model.embedding.weight)
        torch.save(saved.state_dict(), tmp_path / "weights")
        loads.load_state_dict(torch.load(tmp_path / "weights"), strict=True)
        losses = [x.eval().loss(batch, hash_seed=1).mean() for x in (saved, loads)]
        assert_close(losses[0], losses[1], 1e-6)
    assert graphs


def test_a_copy_is_compiled_and_computes_with_its_own_weights(graphs: list[Any]) -> None:
    model = build("model.attention=lsh")
    compile_parts(model)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    graphs.clear()
    assert not other(draw_batch()[0]).any() and graphs


@pytest.mark.parametrize("measure", ["layer", "step"])
def test_a_benchmark_compiles_what_it_measures(measure: str, graphs: list[Any]) -> None:
    config = tiny(f"benchmark.measure={measure}", "trainer.compile=true", "model.attention=lsh")
    assert repeat(build_work(config, torch.device("cpu"))).whole > 0
    assert len(graphs) == {"layer": 2, "step": 2 * len(PARTS)}[measure]


def test_the_prediction_is_that_of_the_eager_step() -> None:
    assert predict_memory(tiny("trainer.compile=true")) == predict_memory(tiny())


# what cannot be


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("PATH", "/nowhere", r"needs a C\+\+ compiler, and g\+\+ is not there: install g\+\+"),
        ("CXX", "/no/such/clang++ -O2", r"and /no/such/clang\+\+ is not there"),
        ("CXX", "no-such-g++", r"and no-such-g\+\+ is not there"),
    ],
)
def test_without_a_compiler_one_line_says_so(
    variable: str, value: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=reason):
        check_installed(tiny("trainer.compile=true"))
    check_installed(tiny())


def test_without_the_headers_of_python_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("CXX", "true")  # a program that is there
    with pytest.raises(ConfigError, match=r"has no Python\.h: install them"):
        check_installed(tiny("trainer.compile=true"))


@pytest.mark.parametrize("command", ["train", "benchmark"])
def test_a_command_ends_with_two_before_anything_starts(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CXX", "no-such-g++")
    arguments = ["trainer.compile=true", f"out_dir={tmp_path / 'run'}"]
    main = {"train": train.main, "benchmark": benchmark.main}[command]
    assert main([*arguments, *(["benchmark.measure=step"] if command == "benchmark" else [])]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: trainer.compile=true needs a C++ compiler")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["benchmark.measure=attention"],
        ["benchmark.measure=attention", "benchmark.peer=naive", "model.attention=full"],
        [
            *("benchmark.measure=layer", "benchmark.peer=transformers", "task.length=64"),
            *("model.lsh.window=wrap", "model.lsh.bucket_mask=false", "model.lsh.dedupe=false"),
        ],
    ],
    ids=["kernel", "naive", "a public Reformer"],
)
def test_what_it_would_not_change_refuses_it(words: list[str]) -> None:
    tiny(*words)
    with pytest.raises(ConfigError, match=r"needs benchmark\.measure=layer or step"):
        tiny(*words, "trainer.compile=true")
