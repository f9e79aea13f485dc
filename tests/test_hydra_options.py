"""What a Hydra user types: --cfg job prints the config and starts nothing.

The rest is refused with the reason, and --help says so.
"""

from pathlib import Path
from types import ModuleType

import pytest
import yaml

from experiments import benchmark, evaluate, train
from experiments.compose import compose
from experiments.hydra_options import split_options
from reformer_pl.config import flat, load, to_dict
from reformer_pl.config.schema import RunConfig

SMOKE = ["experiment=smoke", "model.attention=local"]
LAYER = ["benchmark.measure=layer", "model.attention=local"]
STUDY = "many runs are a study"


@pytest.mark.parametrize("option", [["--cfg", "job"], ["--cfg=job"], ["-c", "job"]])
def test_cfg_job_may_stand_anywhere(option: list[str]) -> None:
    assert split_options([*option, "a=1"]) == split_options(["a=1", *option]) == (["a=1"], True)
    assert split_options(["a=1", "~b"]) == (["a=1", "~b"], False)


def test_cfg_job_prints_the_config_and_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train.main([*SMOKE, "--cfg", "job"]) == 0
    assert load(yaml.safe_load(capsys.readouterr().out)) == compose(SMOKE)
    assert benchmark.main([*LAYER, "task.length=64,128", "--cfg=job"]) == 0
    configs = [load(values) for values in yaml.safe_load_all(capsys.readouterr().out)]
    assert configs == [compose([*LAYER, f"task.length={length}"]) for length in (64, 128)]
    assert not list(tmp_path.iterdir())


def test_cfg_job_of_an_evaluation_is_the_config_it_would_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = compose(["experiment=smoke", "model.attention=lsh"])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(to_dict(config)))
    assert evaluate.main([str(tmp_path), "model.lsh.n_hashes=8", "--cfg", "job"]) == 0
    config.model.lsh.n_hashes = 8
    assert load(yaml.safe_load(capsys.readouterr().out)) == config
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


REFUSED = {
    "--multirun": ["--multirun", STUDY],
    "-m": ["-m", STUDY],
    "seed=1,2": ["seed=1,2", STUDY],
    "seed=range(3)": ["seed=range(3)", STUDY],
    "model.attention=choice(full,lsh)": ["choice(full,lsh)", STUDY],
    "optim.lr=interval(0,1)": ["interval(0,1)", STUDY],
    "model.attention=full,lsh": ["full,lsh", STUDY],
    "experiment=smoke,enwik8": ["smoke,enwik8", STUDY],
    "seed=shuffle(range(3))": ["shuffle(range(3))", STUDY],
    "model=glob(*)": ["glob(*)", STUDY],
    "out_dir=choice(a,b)": ["choice(a,b)", STUDY],
    "task.source=range(3)": ["range(3)", STUDY],
    "--multirun=true": ["--multirun", STUDY],
    "hydra.run.dir=x": ["hydra.run.dir=x", "out_dir"],
    "hydra/launcher=basic": ["hydra/launcher=basic", STUDY],
    "+hydra.x=3": ["+hydra.x=3", "changes nothing"],
    "++hydra.sweep.dir=x": ["++hydra.sweep.dir=x", "out_dir"],
    "+hydra/launcher=joblib": ["+hydra/launcher=joblib", STUDY],
    "hydra": ["'hydra'", "changes nothing"],
    "~hydra": ["~hydra", "changes nothing"],
    "+hydra": ["+hydra", "changes nothing"],
    "hydra@x=basic": ["hydra@x=basic", "changes nothing"],
    "--cfg=hydra": ["--cfg job"],
    "--cfg": ["--cfg job"],
    "--info": ["--info", "see --help"],
}


@pytest.mark.parametrize("argument", REFUSED)
def test_the_rest_is_refused_in_one_line_that_says_what_to_use(
    argument: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train.main([*SMOKE, argument]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert all(word in printed.err for word in REFUSED[argument]), printed.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("program", [train, benchmark])
def test_help_tells_hydra_users_what_works(
    program: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main(["--help"]) == 0
    text = capsys.readouterr().out
    for word in ("--cfg job", "--multirun", "seed=range(3)", "hydra.*", "model.attention=full,lsh"):
        assert word in text
    shown = {key for key in flat(to_dict(RunConfig())) if f"\n  {key}=" in text}
    assert shown >= {"benchmark.measure"} and ("trainer.loggers" in shown) == (program is train)
