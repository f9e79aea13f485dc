"""A path is what was typed: as out_dir, as task.source, as the place of runs, as a value of a study.

What the product prints of it can be pasted.
"""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from ablations.__main__ import main
from ablations.launch.predicted_memory import Predictions
from ablations.report.writers.page.cells import pasteable
from ablations.study import compose_cells, load_study
from experiments import evaluate, train
from experiments.compose import Bases, compose, product
from experiments.hydra_options import hydra_value
from experiments.run_dir.files import has_begun
from experiments.training.loggers import build_logger, log_config
from reformer_pl.config import ConfigError, load, to_dict
from reformer_pl.config.evaluations import load_evaluation
from reformer_pl.module import LitSequenceModel

BASES = Bases()
TINY = [
    "experiment=smoke",
    "trainer.accelerator=cpu",
    "trainer.max_steps=2",
    "trainer.eval_every_steps=2",
    "model.attention=lsh",
]
NAMES = [
    "données.txt",
    "日本語",
    "runs/single/smoke/default/seed=0",
    "a b",
    "a, b,c",
    "[x] (y) {z}",
    "it's",
    'say "so"',
    "'quoted",
    "$HOME",
    "a#b # c",
    "back\\slash\\",
    "-x",
    "--x=1",
    "a::b",
    "file:x",
    "s3:x",
    "memory:",
    "010",
    "1e3",
    "true",
    "x~",
    "./~/x",
    "a*?|&;<>!`%^@+",
    "null.txt",
    "range(3",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_path_is_taken_as_it_is_typed(name: str) -> None:
    typed = [f"{key}={name}" for key in ("out_dir", "task.source")]
    printed = [f"{key}={hydra_value(name)}" for key in ("out_dir", "task.source")]
    for overrides in (typed, printed):
        config = compose(overrides, BASES)
        assert config.out_dir == config.task.source == name
    assert product(typed) == [printed]
    assert load(to_dict(config)) == config
    assert load_evaluation(config, typed).task.source == name


def test_hydra_alone_reads_the_same() -> None:
    for name in ("données.txt", "a, b,c", "1e3", "$HOME/[x] 'y' \"z\"#\\"):
        config = compose([f"++out_dir={name}", f"task.source={name}"])
        assert config.out_dir == config.task.source == name
    with pytest.raises(ConfigError, match="a config reads as a reference"):
        load({"out_dir": "\\${x}"})


# In ', no backslash stands before a quote.
@pytest.mark.parametrize("text", ["a b", "é", "x,y", "seed=0", "back\\slash", "#"])
def test_a_path_may_be_quoted_for_hydra(text: str) -> None:
    assert compose([f"out_dir='{text}'"]).out_dir == text
    assert compose([f'task.source="{text}"']).task.source == text
    assert compose(["task.source=${task.name}"]).task.source == "duplication"


REFUSED = {
    "a\nb": "line break",
    "a\x1b[31mb": "control character",
    "a\x85b": "line break",
    "\udce9.txt": "control character",
    "s3://bucket/x": "is a URL",
    "file:///x": "is a URL",
    "~nobody-of-that-name/x": "home directory ~nobody-of-that-name is not known",
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("key", ["out_dir", "task.source"])
def test_what_is_no_path_is_refused_in_one_line(key: str, name: str) -> None:
    with pytest.raises(ConfigError, match=REFUSED[name]) as error:
        compose([f"{key}={name}"])
    assert "\n" not in str(error.value) and key in str(error.value)


PASTED = [NAMES[i] for i in (0, 2, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 18, 19, -3)]


def test_what_a_study_prints_can_be_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With each name as its runs' place, as its file's, and as a value of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Predictions, "of", lambda *_: None)
    monkeypatch.setattr("ablations.__main__.prediction_line", str)
    lines, commands = [], []
    for name in PASTED:
        labelled = {"L": [f"task.source={name}"]}  # no label of a figure has a $
        study = {
            "base": ["experiment=smoke"],
            "axes": {"task.source": labelled if "$" in name else [name]},
            "evaluations": {"E": ["model.lsh.n_hashes=1"]},
        }
        path = f"./{name.replace('/', '-')}.yaml"
        Path(path).write_text(yaml.safe_dump(study, default_style='"'))
        loaded = load_study(path, Path(name))
        (cell,), (config,) = loaded.cells, compose_cells(loaded)
        assert config.out_dir == str(cell.directory) and config.task.source == name
        assert compose(cell.overrides, BASES) == config
        lines += [shlex.join(cell.command()), pasteable(cell)]
        commands += 2 * [list(cell.overrides)]
    assert main(["plan", path, f"--runs-dir={name}"]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith(lines[-1].partition(" ")[2])
    assert main(["status", path, f"--runs-dir={name}"]) == 0
    script = "".join(f"printf '%s\\0' {line}; printf '\\1\\0'\n" for line in lines)
    shell = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    pasted = [words.split("\0")[3:-1] for words in shell.stdout.split("\1\0")[:-1]]
    assert pasted == commands


def test_the_page_shortens_paths_below_the_working_directory_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "é x"
    here.mkdir()
    monkeypatch.chdir(here)
    inside, outside = f"{here}/data.txt", f"/data{here}/data.txt"
    study = {"base": ["experiment=smoke"], "axes": {"task.source": [inside, outside]}}
    Path("s.yaml").write_text(yaml.safe_dump(study))
    cells = load_study("./s.yaml", here / "runs").cells
    configs = [compose(shlex.split(pasteable(cell))[3:]) for cell in cells]
    assert [config.task.source for config in configs] == ["data.txt", outside]
    assert all(config.out_dir.startswith("runs/s/") for config in configs)


def test_home_is_expanded_once_at_the_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    (home / "s.yaml").write_text(yaml.safe_dump({"axes": {"model.attention": ["full", "lsh"]}}))
    config = compose(["out_dir=~/x", "task.source=~/data/x"])
    assert (config.out_dir, config.task.source) == (f"{home}/x", f"{home}/data/x")
    assert load({"out_dir": "~"}).out_dir == str(home)
    assert load_evaluation(config, ["task.source=~/y"]).task.source == f"{home}/y"
    assert main(["plan", "~/s.yaml", "--runs-dir=~/runs"]) == 0
    assert f'out_dir="{home}/runs/s/full/seed=0"' in capsys.readouterr().out
    assert load_study("~/s.yaml", Path("~/runs")).directory == home / "runs" / "s"
    assert train.main([*TINY, "out_dir=~/runs/s/full/seed=0"]) == 0
    assert evaluate.main(["~/runs/s/full/seed=0"]) == 0
    assert main(["export", "~/runs", "--out=~/out/all.csv"]) == 0
    assert main(["export", "~/s.yaml", "--runs-dir", "~/runs", "--out", "~/out/s.csv"]) == 0
    with pytest.raises(SystemExit):
        main(["export", "~/runs", "--out=~nobody-of-that-name/all.csv"])
    printed = capsys.readouterr()
    assert "home directory ~nobody-of-that-name is not known" in printed.err
    assert sorted(path.name for path in (home / "out").iterdir()) == ["all.csv", "s.csv"]
    assert not list(here.iterdir())


@pytest.mark.parametrize("name", ["a::b", "file:x", "http_x"])
def test_a_local_path_is_no_url(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert train.main([*TINY, f"out_dir={name}"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]
    files = {path.name for path in (tmp_path / name).rglob("*")}
    assert {"last.ckpt", "metrics.jsonl", "result.json"} <= files and has_begun(tmp_path / name)
    (tmp_path / name / "result.json").unlink()
    assert train.main([*TINY, f"out_dir={name}"]) == 0  # from its checkpoint
    assert "training from step 2 of 2 steps" in (tmp_path / name / "log.txt").read_text()
    assert evaluate.main([name, "model.lsh.n_hashes=1"]) == 0
    module = LitSequenceModel.load_from_checkpoint(f"{name}/checkpoints/last.ckpt")
    assert module.config.out_dir == name


UNREADABLE = {
    "model.attention=lsh=full": "model.attention must|lsh=full",
    "model.attention=lsh!": "lsh!",
    "model.attention=(lsh)": r"\(lsh\)",
    "model.attention=lsh,": "lsh,",
    "experiment=a=b": "a=b",
    "model.attention=it's": "it's",
}


@pytest.mark.parametrize("override", UNREADABLE)
def test_an_advice_gives_another_answer_than_the_refusal(override: str) -> None:
    """In a file and in a shell."""
    with pytest.raises(ConfigError) as refusal:
        compose([override])
    (written, shell) = re.findall(r"as in (.*), in a shell (.*)$", str(refusal.value))[0]
    assert shlex.split(shell) == [written]
    with pytest.raises(ConfigError, match=UNREADABLE[override]) as answer:
        compose([written])
    assert "is no override" not in str(answer.value)


@pytest.mark.parametrize(
    "override",
    ["+evaluations={A:[model.lsh.n_hashes=8]}", "evaluations={A:[]}", "evaluations.A=[x=1]"],
)
def test_how_evaluations_are_added_is_said_where_they_are_not(override: str) -> None:
    with pytest.raises(ConfigError, match=r"write \+evaluations=\{NAME:\['key=value'\]\}"):
        compose([override])


@pytest.mark.parametrize("override", ["", "x", "a b=c", "--", "{a}=1"])
def test_what_has_no_key_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match=r"key=value|no option|unknown|Key"):
        compose([override])


def test_the_evaluation_of_the_help_works_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a finished run that gains it is evaluated where it lies."""
    monkeypatch.chdir(tmp_path)
    assert train.main(["--help"]) == 0
    lines = re.findall(r"\"\+evaluations=.*?\"", capsys.readouterr().out)
    assert len(lines) == 2
    assert train.main(TINY) == 0
    before = sorted(tmp_path.rglob("result.json"))
    for line in lines:
        shell = subprocess.run(["bash", "-c", f"printf %s {line}"], capture_output=True, text=True)
        assert train.main([*TINY, shell.stdout]) == 0
        (directory,) = {path.parent for path in tmp_path.rglob("result.json")}
        assert [path.name for path in (directory / "evaluations").iterdir()] == ["LSH-8.json"]
    assert sorted(tmp_path.rglob("result.json")) == before
    assert "already done" in capsys.readouterr().out


def test_a_logger_that_reads_urls_is_refused_where_the_path_looks_like_one(tmp_path: Path) -> None:
    config = load({})
    for word, name in (("csv", "a::b"), ("mlflow", "a?b")):
        with pytest.raises(ConfigError, match=f"trainer.loggers={word} takes .* out_dir, or leave"):
            build_logger(word, tmp_path / name, "study", "run")
    logger = build_logger("csv", tmp_path / "file:x", "study", "run")
    log_config([logger], config)
    logger.save()
    assert [path.name for path in tmp_path.iterdir()] == ["file:x"]
