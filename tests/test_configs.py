"""Every YAML under configs/ composes, validates and takes a training step.

Every key counts, and bad input gets one line with the fix.
"""

import random
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import reformer_pl.module
from ablations.study import compose_variants, load_study
from experiments import train
from experiments.benchmarking.timing import repeat
from experiments.benchmarking.work import build_work
from experiments.compose import CONFIG_DIR, Bases, compose
from experiments.training import trainer
from experiments.training.coverage_file import is_due
from reformer_pl.config import RunConfig, check_installed, flat, load, to_dict
from reformer_pl.config.rules import (
    ACCELERATORS,
    ATTENTIONS,
    MERGES,
    OPTIMIZERS,
    POSITIONS,
    PRECISIONS,
    RESIDUALS,
    SCHEDULES,
    STRATEGIES,
    TASKS,
    WINDOWS,
    ConfigError,
)
from reformer_pl.feed_forward import FeedForward
from reformer_pl.loss import TokenLoss
from reformer_pl.lsh import autograd
from reformer_pl.measure import predict_memory
from reformer_pl.module import LitSequenceModel
from reformer_pl.optimizer import lr_factor
from reformer_pl.tasks import build_task
from tiny import assert_trained, take_step

SHRINK = [
    *(
        "model.d_model=8",
        "model.n_heads=2",
        "model.n_layers=2",
        "model.d_ff=16",
        "model.lsh.chunk_len=8",
        "model.local.chunk_len=8",
        "model.sinks.window=8",
        "model.blocks.chunk_len=8",
        "model.topk.n_keys=8",
    ),
    *(
        "model.axial.shape=[]",
        "model.axial.dims=[]",
        "task.length=32",
        "task.pairs=4",
        "task.batch_size=4",
        "task.eval_sequences=4",
    ),
    *("trainer.max_steps=2", "trainer.threads=1", "trainer.devices=1"),
]


def files(folder: str) -> list[str]:
    return sorted(path.stem for path in (CONFIG_DIR / folder).glob("*.yaml"))


GROUPS = [(group, name) for group in ("model", "task", "trainer") for name in files(group)]
BASES = Bases()
STUDIES = [load_study(name) for name in files("study")]
CELLS = [(study, cell) for study in STUDIES for cell in study.cells if not study.is_benchmark]
MADE_EQUAL = (
    "task.length=",
    "task.batch_size=",
    "model.n_layers=",
    "model.lsh.n_buckets=",
    "model.d_ff=",
    "benchmark.repeats=",
    "benchmark.predict_only=",
    "seed=",
    "out_dir=",
)
CASES = {  # of the benchmarks, each variant once: what shrinking makes equal is left out of the key
    tuple(o for o in cell.overrides if not o.startswith(MADE_EQUAL)): (study, cell)
    for study in STUDIES
    if study.is_benchmark
    for cell in study.cells
}.values()


@pytest.fixture(scope="module")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text"
    path.write_bytes(bytes(random.Random(0).choices(range(32, 127), k=3800)))
    return path


def shrink(config: RunConfig, text: Path, overrides: list[str] | None = None) -> RunConfig:
    """Of the phases the last one alone, from the second step on."""
    last = {1: config.phases[max(config.phases)]} if config.phases else {}
    return load(
        to_dict(config) | {"phases": last}, [*(overrides or []), *SHRINK, f"task.source={text}"]
    )


def test_every_yaml_is_a_case_here() -> None:
    known = {"run.yaml", "launcher/slurm.yaml"} | {f"{group}/{name}.yaml" for group, name in GROUPS}
    known |= {
        f"{folder}/{name}.yaml" for folder in ("experiment", "study") for name in files(folder)
    }
    assert {str(path.relative_to(CONFIG_DIR)) for path in CONFIG_DIR.rglob("*.y*ml")} == known
    assert {study.name for study, _ in [*CELLS, *CASES]} == set(files("study"))


def test_the_root_alone_is_the_defaults() -> None:
    config = compose([])
    assert config == RunConfig(out_dir=config.out_dir)


@pytest.mark.parametrize("group, name", GROUPS)
def test_every_group_file_takes_a_step(group: str, name: str, text_file: Path) -> None:
    config = compose([f"{group}={name}"])
    assert config != compose([])
    assert_trained(take_step(shrink(config, text_file)))


@pytest.mark.parametrize("name", files("experiment"))
def test_every_preset_takes_a_step_and_its_words_can_be_overridden(
    name: str, text_file: Path
) -> None:
    config = compose([f"experiment={name}"])
    assert_true_likelihood(config)
    assert_trained(take_step(shrink(config, text_file)))
    changed = compose([f"experiment={name}", "model.attention=local", "optim.lr=0.5"])
    assert (changed.model.attention, changed.optim.lr) == ("local", 0.5)
    assert changed.out_dir != config.out_dir


@pytest.mark.parametrize(
    "study, cell", CELLS, ids=[f"{study.name}-{cell}".replace(" ", "-") for study, cell in CELLS]
)
def test_every_cell_of_every_study_takes_a_step(study: Any, cell: Any, text_file: Path) -> None:
    """And its weights load strictly into the model of each of its evaluations."""
    config = compose(cell.overrides, BASES)  # what Hydra makes of it: tests/test_compose.py
    assert (config.seed, config.out_dir, config.evaluations) == (
        cell.seed,
        str(cell.directory),
        study.evaluations_of(cell),
    )
    assert_true_likelihood(config)
    first = next(other for other in study.cells if other.name == cell.name)
    if cell is not first:  # the step of that one is taken: only the seed is another
        config.seed, config.out_dir = first.seed, str(first.directory)
        assert config == compose(first.overrides, BASES)
        return
    shrunk = shrink(config, text_file)
    module, data = take_step(shrunk), build_task(shrunk)
    assert_trained(module)
    for overrides in study.evaluations_of(cell).values():
        other = LitSequenceModel(shrink(config, text_file, overrides), data.vocab_size).eval()
        other.load_state_dict(module.state_dict(), strict=True)
        with torch.no_grad():
            assert other.model.loss(*data.eval_batch(0)).mean().isfinite()


PAPER_SIZE = [study for study in STUDIES if study.name.endswith("_paper")]


@pytest.mark.parametrize("study", PAPER_SIZE, ids=[study.name for study in PAPER_SIZE])
def test_a_study_at_the_papers_size_has_the_variants_of_the_small_one_and_builds(
    study: Any,
) -> None:
    """On the meta device, so that no weight is allocated."""
    small = load_study(study.name.removesuffix("_paper"))
    variants, smaller = ([cell.labels for cell in s.cells if not cell.seed] for s in (study, small))
    common = [labels for labels in variants if labels in smaller]
    assert common == [labels for labels in smaller if labels in variants] and len(common) > 1
    assert set(smaller) - set(common) <= {("1 layer",)}, "less than the paper's is cheap here"
    assert {cell.seed for cell in study.cells} == {cell.seed for cell in small.cells}
    # The paper names its learning rate, so only the small one is tuned.
    assert set(small.report) - {"tuning"} <= set(study.report)
    for variant, config in compose_variants(study).items():
        assert (
            config.model.d_model,
            config.model.d_ff,
            config.model.n_heads,
            config.task.batch_size,
        ) == (1024, 4096, 8, 8), variant
        with torch.device("meta"):
            module = LitSequenceModel(config, vocab_size=256)
        assert sum(p.numel() for p in module.parameters()) > 3e7 and {
            p.device.type for p in module.parameters()
        } == {"meta"}, variant


def test_the_memory_of_a_cell_at_the_papers_size_is_predicted() -> None:
    """What `plan` prints; the small one is checked against the measured peak in test_predict.py."""
    variants = compose_variants(load_study("fig3_reversible_paper"))
    predicted = {
        label: predict_memory(variants[label])["total"] for label in ("Regular", "Reversible")
    }
    assert (
        0.25 < predicted["Reversible"] < 0.75 * predicted["Regular"]
    )  # 64K tokens of width 1024 are 0.25 GiB


@pytest.mark.parametrize(
    "study, cell", CASES, ids=[f"{study.name}-{cell}".replace(" ", "-") for study, cell in CASES]
)
def test_every_variant_of_every_benchmark_runs(study: Any, cell: Any, text_file: Path) -> None:
    config = compose(cell.overrides, BASES)  # what Hydra makes of it: tests/test_compose.py
    assert (config.seed, config.out_dir, config.trainer.threads) == (
        cell.seed,
        str(cell.directory),
        1,
    )
    try:
        check_installed(config)
    except ConfigError as error:
        pytest.skip(str(error))
    assert repeat(build_work(shrink(config, text_file), torch.device("cpu"))).whole > 0


def assert_true_likelihood(config: RunConfig) -> None:
    """With any other window of LSH a byte's score depends on bytes to come."""
    assert config.task.name != "enwik8" or config.model.lsh.window == "causal"


# every key counts

BASE = ["model.attention=lsh", "task.name=enwik8", "optim.warmup_steps=2"]
CHANGES = {
    "model.d_model": "16",
    "model.n_heads": "4",
    "model.n_layers": "3",
    "model.d_ff": "12",
    "model.dropout": "0.3",
    "model.attention": "full",
    "model.residual": "reversible",
    "model.merge": "concat model.residual=reversible",
    "model.ff_chunks": "2",
    "model.loss_chunks": "2",
    "model.positions": "axial",
    "task.split": "test",
    "model.lsh.n_hashes": "3",
    "model.lsh.chunk_len": "4",
    "model.lsh.n_buckets": "2",
    "model.lsh.bucket_mask": "false",
    "model.lsh.dedupe": "false",
    "model.lsh.window": "causal",
    "model.lsh.road": "plain",
    "model.local.chunk_len": "4 model.attention=local",
    "model.sinks.window": "4 model.attention=sinks",
    "model.sinks.n_sinks": "2 model.sinks.window=4 model.attention=sinks",
    "model.blocks.chunk_len": "4 model.attention=blocks",
    "model.blocks.top_k": "1 model.attention=blocks",
    "model.topk.n_keys": "4 model.attention=topk",
    "model.axial.shape": "[8,4] model.positions=axial",
    "model.axial.dims": "[2,6] model.positions=axial",
    "task.name": "duplication",
    "task.source": "OTHER",
    "task.length": "28",
    "task.pairs": "3 task.name=recall",
    "task.noise": "0.2 task.name=recall",
    "task.batch_size": "6",
    "task.eval_sequences": "3",
    "task.curve_sequences": "2 task.batch_size=2",
    "optim.name": "adafactor",
    "optim.lr": "0.01",
    "optim.betas": "[0.5,0.98]",
    "optim.weight_decay": "5 optim.name=adamw",
    "optim.warmup_steps": "1",
    "optim.schedule": "rsqrt",
    "optim.clip_norm": "1.0",
    "optim.accumulate": "2",
    "trainer.accelerator": "gpu trainer.accelerator=cpu",  # auto is one of them
    "trainer.devices": "2 trainer.strategy=ddp",
    "trainer.strategy": "ddp",
    "trainer.precision": "64-true",
    "trainer.compile": "true",
    "trainer.max_steps": "7",
    "trainer.eval_every_steps": "9",
    "trainer.log_every_steps": "3",
    "trainer.coverage_every_steps": "4",
    "seed": "1",
}
OF_A_WHOLE_RUN = {
    "trainer.matmul_precision",  # tests/test_gpu_words.py
    "model.lsh.eval_draws",  # tests/test_eval_draws.py
    "out_dir",
    "phases",  # tests/test_phases.py
    "evaluations",
    "trainer.threads",
    "trainer.loggers",
}  # experiments.train reads these
OF_A_BENCHMARK = {
    f"benchmark.{name}"
    for name in (
        *("measure", "peer", "paired", "repeats", "seconds"),
        *("memory_limit_gib", "predict_only"),
    )
}  # not of a run


def observe(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What can be seen of a config without a Trainer.

    Shapes, batches, three steps, how often chunks run and on which road, and the Trainer's
    arguments.
    """
    calls: list[str] = []
    dense, sums, attend = FeedForward._dense, TokenLoss.of, autograd.tile_forward
    with monkeypatch.context() as patch:
        patch.setattr(
            FeedForward, "_dense", lambda self, x: (calls.append("dense"), dense(self, x))[1]
        )
        patch.setattr(TokenLoss, "of", lambda *args: (calls.append("sums"), sums(*args))[1])
        patch.setattr(
            autograd,
            "tile_forward",
            lambda road, *tile: (calls.append(road), attend(road, *tile))[1],
        )
        patch.setattr(reformer_pl.module, "compile_parts", lambda model: calls.append("compiled"))
        patch.setattr(trainer, "Trainer", lambda callbacks, **options: options)
        options = trainer.build_trainer(config)
        options["plugins"] = [type(plugin) for plugin in options["plugins"]]
        data = build_task(config)
        data.trainer = SimpleNamespace(
            global_rank=0,
            world_size=1,
            state=SimpleNamespace(fn="fit"),
            strategy=SimpleNamespace(root_device=torch.device("cpu")),
        )
        torch.manual_seed(config.seed)
        module = LitSequenceModel(config, data.vocab_size)
        made = module.configure_optimizers()
        losses = []
        for step in range(3):
            made["optimizer"].zero_grad()
            value = module.training_step(data.train_batch(step), step)
            value.backward()
            made["optimizer"].step()
            losses.append(value.item())
    return {
        "shapes": [p.shape for p in module.parameters()],
        "held out": [data.eval_batch(i)[0].tolist() for i in range(data.n_eval_batches)],
        "curve": len(list(data.val_dataloader())),
        "losses": losses,
        "calls": calls,
        "rates": [lr_factor(config.optim, step, config.trainer.max_steps) for step in range(6)],
        "options": options,
        "coverage": [is_due(config.trainer, step) for step in range(6)],
    }


def test_every_key_changes_something(
    text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No key pretends. A new key must be added to CHANGES."""
    assert CHANGES.keys() | OF_A_WHOLE_RUN | OF_A_BENCHMARK == flat(to_dict(RunConfig())).keys() | {
        "evaluations"
    }
    other_text = tmp_path / "other"
    other_text.write_bytes(text_file.read_bytes()[::-1])

    base = to_dict(load(to_dict(RunConfig()), [*SHRINK, *BASE, f"task.source={text_file}"]))

    def seen(*overrides: str) -> dict[str, Any]:
        return observe(load(base, overrides), monkeypatch)

    bases: dict[tuple[str, ...], dict[str, Any]] = {(): seen()}
    assert seen() == bases[()]  # the observation itself is repeatable
    for key, change in CHANGES.items():
        value, *needed = change.replace("OTHER", str(other_text)).split()
        if tuple(needed) not in bases:
            bases[tuple(needed)] = seen(*needed)
        assert seen(*needed, f"{key}={value}") != bases[tuple(needed)], (
            f"{key}={value} changes nothing"
        )


# bad input

BAD = [
    ("model.n_hashes=2", "model.n_hashes is unknown: .*n_layers"),
    ("modell.d_model=2", "modell is unknown: .*model"),
    ("+model.lsh.n_hash=2", "model.lsh.n_hash is unknown: .*n_hashes"),
    ("+momentum=2", "momentum is unknown: .*optim"),
    ("+task.lenght=64", "task.lenght is unknown: .*length"),
    ("model.d_model=abc", "Integer.*model.d_model"),
    ("model.d_model=1.5", "Integer.*model.d_model"),
    ("model.d_model=null", "model.d_model.*not Optional"),
    ("trainer.max_steps=[1]", "Integer.*trainer.max_steps"),
    ("model.lsh.dedupe=maybe", "bool.*model.lsh.dedupe"),
    ("model.attention=[lsh]", "string.*model.attention"),
    ("optim.betas=[a,b]", "Float.*optim.betas"),
    ("optim.betas=[0.9]", "optim.betas .* must be two numbers"),
    ("optim.betas=[0.9,1.5]", "optim.betas .* below 1"),
    ("model=3", "string"),
    ("model.attention=flash", ", ".join(ATTENTIONS)),
    ("model.attention=local lhs", ", ".join(ATTENTIONS)),
    ("model.attention=", ", ".join(ATTENTIONS)),
    ("model.residual=revnet", ", ".join(RESIDUALS)),
    ("model.merge=sum", ", ".join(MERGES)),
    ("model.positions=sinus", ", ".join(POSITIONS)),
    ("model.lsh.window=ring", ", ".join(WINDOWS)),
    ("task.name=wmt", ", ".join(TASKS)),
    ("optim.name=sgd", ", ".join(OPTIMIZERS)),
    ("optim.schedule=linear", ", ".join(SCHEDULES)),
    ("trainer.precision=16", ", ".join(PRECISIONS)),
    ("trainer.accelerator=tpu", ", ".join(ACCELERATORS)),
    ("trainer.strategy=fsdp", ", ".join(STRATEGIES)),
    (
        "model.positions=axial model.axial.shape=[32,30]",
        "1024 is not a multiple of 30; its product must be task.length 1024",
    ),
    (
        "model.positions=axial model.axial.shape=[16,32]",
        "they hold 512; its product must be task.length 1024",
    ),
    (
        "model.positions=axial model.axial.dims=[100,100]",
        "must be 2 numbers that add up to d_model 256",
    ),
    ("model.lsh.n_buckets=7", "must be even"),
    ("model.lsh.n_buckets=[4,3]", "must be even"),
    ("model.lsh.n_buckets=many", "null, an even integer or a list of even factors"),
    ("model.n_heads=3", "n_heads 3 does not divide model.d_model 256"),
    ("model.n_heads=0", "model.n_heads must be at least 1"),
    (
        "model.lsh.window=causal model.lsh.bucket_mask=false",
        "needs causal=true and bucket_mask=true",
    ),
    ("model.lsh.window=wrap", "needs bucket_mask=false and dedupe=false"),
    (
        "model.lsh.window=wrap model.lsh.bucket_mask=false",
        "needs bucket_mask=false and dedupe=false",
    ),
    ("model.lsh.window=wrap model.lsh.dedupe=false", "needs bucket_mask=false and dedupe=false"),
    ("model.lsh.n_hashes=0", "n_hashes must be at least 1"),
    ("model.lsh.chunk_len=0", "chunk_len must be at least 1"),
    ("model.local.chunk_len=0", "model.local.chunk_len must be at least 1"),
    ("model.merge=concat", "use residual=reversible"),
    ("model.merge=concat model.residual=checkpoint", "use residual=reversible"),
    ("model.dropout=1", "at least 0 and below 1"),
    ("model.ff_chunks=2000", "exceeds task.length 1024"),
    ("model.loss_chunks=0", "at least 1"),
    ("task.length=7", "even and at least 4"),
    ("task.batch_size=0", "at least 1"),
    ("task.eval_sequences=0", "at least 1"),
    ("optim.lr=0", "optim.lr must be positive"),
    ("optim.lr=nan", "optim.lr must be positive"),
    ("optim.weight_decay=-0.1", "optim.weight_decay not negative"),
    ("optim.weight_decay=nan", "optim.weight_decay not negative"),
    ("optim.weight_decay=inf", "optim.weight_decay not negative"),
    ("seed=-1", "seed must be at least 0"),
    ("seed=99999999999", r"seed must be at least 0 and below 2\*\*32"),
    ("trainer.devices=2", "needs trainer.strategy=ddp"),
    ("trainer.coverage_every_steps=-1", "must not be negative"),
    (
        "trainer.coverage_every_steps=9 model.attention=full local",
        "use shared_full or lsh in it, or trainer.coverage_every_steps=0",
    ),
    ("trainer=ddp task.batch_size=3", "must be a multiple of trainer.devices 2"),
    ("experiment=nope", "experiment is one of .*" + ".*".join(files("experiment"))),
    ("trainer=nope", "trainer is one of .*" + ".*".join(files("trainer"))),
    ("evaluations={Full:['model.attention=full']}", r"write \+evaluations="),
]


@pytest.mark.parametrize("line, fix", BAD, ids=[line for line, _ in BAD])
def test_bad_input_is_one_line_that_names_the_fix(line: str, fix: str) -> None:
    # What follows a space and looks like a key is another override.
    # "model.attention=local lhs" is one override.
    with pytest.raises(ConfigError) as error:
        compose(re.split(r" (?=[a-z_.]+=)", line))
    text = str(error.value)
    assert "\n" not in text and len(text) < 260
    assert re.search(fix, text), text


@pytest.mark.parametrize(
    "line", ["model.attention=flash", "+momentum=2", "experiment=nope", "model.d_model=abc"]
)
def test_the_command_exits_with_2_and_one_line(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main([line]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("error: ") and printed.err.count("\n") == 1


def test_dotted_overrides_are_checked_as_strictly_as_yaml() -> None:
    """`load` also takes evaluations and saved configs."""
    saved = to_dict(RunConfig())
    assert load(saved) == RunConfig()
    for override in (
        "model.lsh.n_hash=2",
        "model.attention=flash",
        "model.d_model=abc",
        "model.n_heads",
        "model.lsh.n_buckets=3",
    ):
        with pytest.raises(ConfigError):
            load(saved, [override])
    with pytest.raises(ConfigError):
        load(saved | {"extra": 1})
