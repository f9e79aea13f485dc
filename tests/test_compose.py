"""The cells of a study are composed on what they share, to what Hydra makes of each command."""

import re

import pytest

from ablations.study import compose_cells, load_study
from ablations.study.cell import Cell
from experiments import compose as module
from experiments.compose import Bases, compose, presets
from reformer_pl.config import ConfigError, RunConfig, load, to_dict
from reformer_pl.config.evaluations import load_evaluation
from reformer_pl.config.plain_values import set_plain

COMMANDS = (
    "model.d_ff=64 optim.lr=1e-3 optim.lr=1 model.lsh.dedupe=false out_dir=a/b seed=3",
    "optim.lr=2 optim.lr=.5 model.dropout=0 trainer.precision=64-true",
    "'out_dir=\"a b\"' 'out_dir=\"it''s\"' model.attention=\"local lsh\"",
    "model.attention='local local lsh local' model.residual=\"reversible\"",
    "optim.betas=[0.5,0.9] model.axial.shape=[32,32] model.positions=axial",
    "model.lsh.n_buckets=null",
    "model.lsh.n_buckets=8",
    "model.lsh.n_buckets=[4,8]",
    "model.lsh.n_buckets=eight",
    "model.d_ff=\"64\"",  # Hydra's string, which the schema makes a number
    "model.d_ff=\"64\" model.d_ff=128",
    "model.d_ff=128 model.d_ff=\"64\"",
    "model={d_model:64} model.d_model=32",
    "model.d_model=32 model={d_model:64}",
    "model.lsh={n_hashes:8} model.d_ff=32",
    "model.d_model=64 model=reformer model.ff_chunks=2",  # a preset comes first, wherever it stands
    "model.ff_chunks=2 experiment=smoke model=transformer task=enwik8",
    "trainer=ddp trainer.devices=2",
    "model.d_ff=64.0",
    "model.d_ff=true",
    "model.d_ff=null",
    "model.d_ff=",
    "model.lsh.dedupe=1",
    "model.dropout=nan",
    "optim.lr=inf",
    "model.attention=3",
    "task.source=null",
    "task.source=???",
    "task.source=1e3",
    "'task.source=${task.name}' task.name=enwik8",
    "'task.source=\\${task.name}'",
    "model.d_ff=1,2",
    "model.d_ff=range(1,3)",
    "seed=\"7\" seed=8",
    "+evaluations={A:[model.lsh.n_hashes=8]} +evaluations={B:[]} model.d_ff=32",
    "evaluations={A:[model.lsh.n_hashes=8]}",
    "+model.lsh.n_hash=2 model.d_ff=32",
    "+model.d_ff=2",
    "++model.d_ff=2 model.d_model=64",
    "model.d_ff=4 ++model.d_ff=2",
    "~optim.lr",
    "~optim optim.lr=1",
    "hydra.run.dir=x model.d_ff=32",
    "model@x=reformer",
    "experiment=nope",
    "experiment=smoke experiment=enwik8",
    "model=3 model.d_ff=32",
    "model.lsh=3",
    "model.n_hash=3",
    "model.lsh.n_hashes.x=3",
    "study=smoke",
    "no override",
    "trainer.coverage_every_steps=5 model.attention=full",
    "model.n_heads=3",
    "model.positions=axial model.d_model=64 model.axial.dims=[16,48] task.length=64 "
    "model.axial.shape=[8,8] model.lsh.chunk_len=8",
    "model.merge=concat model.residual=reversible",
    "seed=-1",
)  # fmt: skip


def outcome(overrides: list[str], bases: Bases | None = None) -> str:
    """repr, which tells 1 from 1.0 and a tuple from a list."""
    try:
        return repr(compose(overrides, bases))
    except ConfigError as error:
        return str(error)


@pytest.mark.parametrize("name", presets("study"))
def test_every_cell_of_every_study_is_what_hydra_composes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, compositions = load_study(name), []
    with monkeypatch.context() as patch:
        hydra = module.hydra_compose
        patch.setattr(
            module,
            "hydra_compose",
            lambda *args, **more: compositions.append(args) or hydra(*args, **more),
        )
        configs = compose_cells(study)
    assert len(compositions) < len(study.cells), "Hydra composes what cells have in common"
    # The first and the last cell of each kind: the others differ from these in whole numbers alone.
    kinds = [kind(cell) for cell in study.cells]
    ends = {kinds.index(each) for each in kinds} | {
        len(kinds) - 1 - kinds[::-1].index(each) for each in kinds
    }
    for i in sorted(ends):
        cell = study.cells[i]
        assert repr(configs[i]) == outcome(list(cell.overrides)), cell


def kind(cell: Cell) -> tuple[str, ...]:
    """The overrides without their whole numbers, and without the directory, which repeats them."""
    kept = (override for override in cell.overrides if not override.startswith("out_dir="))
    return tuple(re.sub(r"=\d+$", "=N", override) for override in kept)


@pytest.fixture(scope="module")
def bases() -> Bases:
    return Bases()


@pytest.mark.parametrize("command", COMMANDS)
def test_any_override_means_what_it_means_to_hydra(command: str, bases: Bases) -> None:
    """Also on bases that hold other commands, and what is given out is the caller's own."""
    overrides = [override.strip("'") for override in _split(command)]
    expected = outcome(overrides)
    assert outcome(overrides, bases) == outcome(overrides, bases) == expected
    if expected.startswith("RunConfig"):
        config = compose(overrides, bases)
        config.optim.lr, config.evaluations["own"] = 77.0, []
        assert outcome(overrides, bases) == expected


def _split(command: str) -> list[str]:
    """At the spaces outside of quotes, which are kept: the shell has gone when Hydra comes."""
    words, quote = [""], ""
    for character in command:
        quote = "" if character == quote else quote or (character if character in "'\"" else "")
        words = (
            [*words, ""] if character == " " and not quote else [*words[:-1], words[-1] + character]
        )
    return words


def test_a_preset_whose_values_refer_to_each_other_is_composed_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would keep the value that it referred to before the cell's own numbers were set."""
    real = module._composed
    monkeypatch.setattr(
        module, "_composed", lambda overrides: real(["task.length=${model.d_model}", *overrides])
    )
    assert compose(["model.d_model=512"], Bases()).task.length == 512


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.attention=full", "model.lsh.n_hashes=8"],
        ["model.d_ff=1e2", "optim.lr=1", "model.dropout=0"],
        ["model.lsh.n_buckets=[4,8]"],
        ["model.lsh.n_buckets=null"],
        ["model.lsh={n_hashes: 8}"],
        ["model.lsh={}", "model.attention='shared_full lsh'"],
        ["task.length=${model.d_model}"],
        ["model.attention=local: lsh"],
        ["model.attention=["],
        ["model.d_ff"],
        ["model.n_hash=2"],
        ["model.lsh.n_hashes.x=2"],
        ["model.d_ff=wide"],
        ["model.n_heads=3"],
    ],
)
def test_an_evaluation_means_what_a_load_of_its_overrides_means(overrides: list[str]) -> None:
    trained = load(
        {"model": {"attention": "shared_full", "lsh": {"chunk_len": 8}}, "task": {"length": 32}}
    )
    before = repr(trained)

    def outcome(make: object, *args: object) -> str:
        try:
            return repr(make(*args))
        except ConfigError as error:
            return str(error)

    expected = outcome(load, to_dict(trained), overrides)
    if overrides[0] in ("model.attention=full", "task.length=${model.d_model}"):
        expected = "an evaluation keeps the weights"
    assert (
        outcome(load_evaluation, trained, overrides).startswith(expected)
        and repr(trained) == before
    )


def test_a_plain_value_is_one_that_omegaconf_would_keep() -> None:
    config = RunConfig()
    for key, value in {
        "seed": 3,
        "optim.lr": 1,
        "model.lsh.dedupe": False,
        "out_dir": "",
        "model.lsh.n_buckets": None,
    }.items():
        assert set_plain(config, key, value)
    assert repr(config) == repr(
        load(
            {"seed": 3, "optim": {"lr": 1}, "model": {"lsh": {"dedupe": False, "n_buckets": None}}}
        )
    )
    for key, value in {
        "seed": True,
        "out_dir": 3,
        "model.lsh": {},
        "model.lsh.x": 1,
        "x.y": 1,
        "": 1,
        "evaluations": {},
        "seed.x": 1,
    }.items():
        assert not set_plain(config, key, value), key
    assert config.seed == 3
