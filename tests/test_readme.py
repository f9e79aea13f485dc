"""README.md and docs/ say what is true: their YAML, Python and worked example are run, their options, keys and paths exist."""

import argparse
import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ablations.arguments import parser
from ablations.results import load_results
from ablations.study import compose_cells, load_study
from experiments import benchmark, evaluate, train
from reformer_pl.config import RunConfig, flat, to_dict

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    path.name: path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
}
TINY = [
    *(
        "model.d_model=8",
        "model.n_heads=2",
        "model.d_ff=8",
        "task.length=64",
        "task.batch_size=2",
        "task.eval_sequences=2",
    ),
    *(
        "trainer.max_steps=4",
        "trainer.eval_every_steps=2",
        "trainer.log_every_steps=2",
        "trainer.threads=1",
        "trainer.accelerator=cpu",
    ),
]


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def apply(path: Path, diff: str) -> None:
    """What stands there without the lines marked + becomes what stands there without those marked -. It stands there once."""
    before, after = (
        "".join(f"{line[1:]}\n" for line in diff.splitlines() if line[:1] != mark) for mark in "+-"
    )
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{path} does not have this once:\n{before}"
    path.write_text(text.replace(before, after), encoding="utf-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the README's own study in it, two of its cells trained at a tiny size and one failed."""
    folder = tmp_path_factory.mktemp("newcomer")
    (yaml,) = blocks("yaml")
    assert yaml.count("\n") == 5  # lines
    (folder / "my_study.yaml").write_text(yaml)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        cells = load_study("my_study.yaml").cells
        for cell, more, code in (
            (cells[0], [], 0),
            (cells[-1], [], 0),
            (cells[1], ["optim.lr=1e30"], 1),
        ):
            assert train.main([*cell.overrides, *TINY, *more]) == code
    return folder


def test_the_five_lines_of_yaml_are_a_study_of_twelve_cells(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    study = load_study("my_study.yaml")
    configs = compose_cells(study)  # raises where a cell or an evaluation cannot be
    assert len(configs) == 12 and "its 12 cells" in README
    assert {(c.model.lsh.n_hashes, c.optim.lr, c.seed) for c in configs} == {
        (n, lr, s) for n in (1, 2, 4) for lr in (1e-3, 2e-3) for s in (0, 1)
    }


def test_the_notebook_runs_on_it(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    (code,) = blocks("python")
    names: dict[str, object] = {}
    exec(code, names)
    results, curves = names["results"], names["curves"]
    assert (
        sorted(set(results["status"])) == ["failed", "missing", "ok"] and len(results) == 12 * 3
    )  # as trained, and two evaluations
    assert results[results["status"] == "ok"]["accuracy"].notna().all()
    assert list(curves["step"].unique()) == [2, 4]
    assert "LSH-8" in capsys.readouterr().out


def test_the_columns_of_load_results_are_the_ones_that_are_documented(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    columns = list(load_results("my_study.yaml").columns)
    table = README.split("| columns of `load_results` | what |\n|---|---|\n")[1].split("\n\n")[0]
    named = [
        name for row in table.splitlines() for name in re.findall(r"`([^`]+)`", row.split(" | ")[0])
    ]
    for name in named:
        assert fnmatch.filter(columns, name), f"{name} is no column"
    for column in columns:
        assert any(fnmatch.fnmatch(column, name) for name in named), f"{column} is not documented"


def test_a_run_directory_holds_what_is_documented(place: Path) -> None:
    table = README.split("## The result directory")[1].split("\n\n")[2]
    named = [
        name.removeprefix(mark)
        for mark in ("├ ", "└ ")
        for name in re.findall(rf"^\| `({mark}[^`]+)`", table, re.MULTILINE)
    ]
    patterns = [name.replace("NAME", "*").rstrip("/") for name in named]
    (run,) = (path for path in (place / "runs/my_study").glob("n_hashes=1_lr=0.001/seed=0"))
    found = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    for pattern in patterns:
        assert fnmatch.filter(found, pattern) or pattern == "coverage.jsonl", (
            f"{pattern} is not there"
        )
    for name in found:
        assert any(fnmatch.fnmatch(name, pattern) for pattern in patterns), (
            f"{name} is not documented"
        )


def options_of_help() -> set[str]:
    (commands,) = (
        action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    return {
        option
        for sub in commands.choices.values()
        for action in sub._actions
        for option in action.option_strings
        if option[:2] == "--"
    }


def test_every_option_is_in_the_readme_and_every_option_there_exists() -> None:
    said = {
        option
        for page in PAGES.values()
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", page)
    }
    assert said - {"--logdir"} == options_of_help()  # which is TensorBoard's


@pytest.mark.parametrize("command", ["", "plan", "run", "status", "report", "export", "compare"])
def test_help_has_examples_that_parse_and_exit_codes(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit:
        parser().parse_args([command, "--help"] if command else ["--help"])
    assert exit.value.code == 0
    said = capsys.readouterr().out
    assert re.search(r"^exit codes:", said, re.MULTILINE | re.IGNORECASE)
    examples = re.findall(
        r"python -m ablations ((?:plan|run|status|report|export|compare) .*?)(?:  .*)?$",
        said.split("examples:")[1],
        re.MULTILINE,
    )
    assert len(examples) >= 2 and all(
        not command or example.startswith(f"{command} ") for example in examples
    )
    for example in examples:
        parser().parse_args(shlex.split(example))  # exits where it cannot be


@pytest.mark.parametrize("program", [train, benchmark, evaluate])
def test_help_of_a_run_lists_the_keys_and_examples_that_compose(
    program: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert "exit codes: 0 done" in said and said.count(f"python -m {program.__name__} ") >= 3
    keys = set(flat(to_dict(RunConfig())))
    listed = set(re.findall(r"^  ([a-z_.]+)=", said, re.MULTILINE)) - {
        "experiment",
        "model",
        "task",
        "trainer",
    }
    assert (
        listed
        == {
            train: keys,
            benchmark: {key for key in keys if key.startswith("benchmark.")},
            evaluate: set(),
        }[program]
    )


def test_every_key_and_path_in_the_pages_exists() -> None:
    keys = set(flat(to_dict(RunConfig())))
    for name, page in PAGES.items():
        for key in re.findall(r"\b((?:model|task|optim|trainer|benchmark)\.[a-z_.]+)=", page):
            assert key in keys, f"{name}: {key}"
        folder = ROOT if name == "README.md" else ROOT / "docs"
        for path in re.findall(
            r"`((?:configs|reformer_pl|experiments|ablations|tests|docs)/[\w./]+)`", page
        ):
            assert (ROOT / path).exists(), f"{name}: {path}"
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", page):
            assert (folder / link).exists(), f"{name}: {link}"


def test_the_worked_example_of_an_attention_variant(tmp_path: Path) -> None:
    """docs/variant.md, done as it says on a copy of the sources; the commands that test and train it."""
    for folder in ("reformer_pl", "experiments", "ablations", "configs", "tests"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    page = PAGES["variant.md"].split("\n## ")[0]
    changed: list[str] = []
    for prose, diff in re.findall(r"(.*?)^```diff\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        changed += re.findall(r"^\*\*The [^,]*, in `([\w/.]+)`", prose, re.MULTILINE)[-1:]
        apply(tmp_path / changed[-1], diff)
    assert changed == [
        "reformer_pl/config/rules.py",
        "reformer_pl/attention.py",
        "tests/test_attention.py",
    ]
    commands = re.findall(r"^    python (-m (?:pytest|experiments\.train) .*)$", page, re.MULTILINE)
    assert len(commands) == 2
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path)}
    for command in commands:
        done = subprocess.run(
            [sys.executable, *shlex.split(command, comments=True)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        if "pytest" in command:
            assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 15, done.stdout
