"""A study's grid becomes exactly the cells it says, and everything wrong with it is told in one line before anything starts."""

import ast
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ablations.__main__ import main
from ablations.study import compose_cells, load_study
from experiments.compose import compose, presets
from experiments.hydra_options import hydra_value

ROOT = Path(__file__).resolve().parent.parent

GRID = """
description: A grid
base: [task.length=256]
axes:
  train:
    Full: [model.attention=shared_full]
    "LSH + 4": [model.attention=lsh, model.lsh.n_hashes=4]
  optim.lr: [0.001, 2e-3]
  model.residual: [standard, reversible]
seeds: [0, 7]
evaluations:
  LSH-8: [model.attention=lsh, model.lsh.n_hashes=8]
  Mixed-2: ["model.attention=shared_full lsh"]
paper:
  train_eval: {Full / lr=0.001 / standard: {LSH-8: 0.5}}
"""


def write(tmp_path: Path, text: str, name: str = "mine.yaml") -> str:
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def test_the_grid_is_the_product_of_axes_and_seeds(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, GRID), tmp_path / "runs")
    configs = compose_cells(study)
    assert len(study.cells) == 2 * 2 * 2 * 2
    assert len({cell.directory for cell in study.cells}) == 16
    assert [cell.seed for cell in study.cells] == [0] * 8 + [7] * 8
    cell = study.cells[-1]
    assert (cell.name, cell.train) == (
        "LSH-4_lr=2e-3_reversible",
        "LSH + 4 / lr=2e-3 / reversible",
    )
    assert cell.directory == tmp_path / "runs" / "mine" / cell.name / "seed=7"
    config = configs[-1]
    assert (config.task.length, config.model.attention, config.model.lsh.n_hashes) == (
        256,
        "lsh",
        4,
    )
    assert (config.optim.lr, config.model.residual, config.seed, config.out_dir) == (
        0.002,
        "reversible",
        7,
        str(cell.directory),
    )
    assert config.evaluations == study.evaluations == {
        "LSH-8": ["model.attention=lsh", "model.lsh.n_hashes=8"],
        "Mixed-2": ["model.attention=shared_full lsh"],
    }  # fmt: skip


def test_a_planned_line_can_be_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, runs = write(tmp_path, GRID), tmp_path / "it's a $HOME"
    assert main(["plan", path, "--runs-dir", str(runs)]) == 0
    said = capsys.readouterr().out.splitlines()
    lines = [line for line in said if not line.startswith("# ")]
    study = load_study(path, runs)
    assert [shlex.split(line)[1:] for line in lines] == [cell.command()[1:] for cell in study.cells]
    echo = lines[0].replace("-m experiments.train", "-c 'import sys; print(sys.argv[1:])'")
    said = subprocess.run(["bash", "-c", echo], capture_output=True, text=True).stdout
    assert ast.literal_eval(said) == list(study.cells[0].overrides)


@pytest.mark.parametrize(
    "word", ["plain", "a b", "it's", 'say "so"', "back\\", 'b\\"q', "a,b{c}[d]", "seed=0", "./~x:y"]
)
def test_any_word_survives_hydra(word: str) -> None:
    assert compose([f"out_dir={hydra_value(word)}"]).out_dir == word


@pytest.mark.parametrize("name", presets("study"))
def test_every_shipped_study_composes(name: str) -> None:
    study = load_study(name)
    assert len(compose_cells(study)) == len(study.cells)


SMALL = "axes: {model.attention: [full, lsh]}\n"

REFUSED = {
    "unknown key": (SMALL + "axis: {}\n", "unknown key axis: choose description, timed, measure"),
    "unknown axis": ("axes: {model.lsh.n_hash: [1, 2]}\n", "n_hash"),
    "an evaluation of other weights": (
        SMALL + "evaluations: {A: [model.attention=full]}\n",
        "share queries and keys",
    ),
    "unknown key in a variant": ("axes: {train: {A: [model.lsh.n_hash=2]}}\n", "n_hash"),
    "unknown added key": ("axes: {train: {A: [+model.lsh.n_hash=2]}}\n", "n_hash"),
    "unknown word": (
        "axes: {model.attention: [lhs]}\n",
        "model.attention=lhs is unknown: choose full, shared_full, lsh, local",
    ),
    "wrong type": ("axes: {model.d_model: [wide]}\n", "wide"),
    "illegal cell": (
        "axes: {model.n_heads: [4, 3]}\n",
        "n_heads=3 seed=0: model.n_heads 3 does not divide",
    ),
    "unknown preset": (SMALL + "base: [experiment=nope]\n", "experiment"),
    "unknown key in an evaluation": (SMALL + "evaluations: {A: [model.lsh.n_hash=2]}\n", "n_hash"),
    "no axes": ("base: []\n", "the grid is empty: axes has no entry"),
    "empty axis": ("axes: {optim.lr: []}\n", "the grid is empty: axis optim.lr has no entry"),
    "no seeds": (SMALL + "seeds: []\n", "the grid is empty: seeds has no entry"),
    "two equal names": (
        'axes: {train: {"a b": [], a-b: []}}\n',
        "two cells have the same name, a-b",
    ),
    "an evaluation of other sizes": (
        SMALL + "evaluations: {A: [model.d_model=64]}\n",
        "follow from model.d_model=256: it cannot be 64",
    ),
    "an evaluation of another task": (
        SMALL + "evaluations: {A: [task.eval_sequences=4]}\n",
        "changes task.eval_sequences: ",
    ),
    "an evaluation called own": (
        SMALL + "evaluations: {own: []}\n",
        "the evaluation name own is that of the model",
    ),
    "nothing to pair": ("axes: {optim.lr: [0.1]}\nreport: [paired]\n", "there is only one variant"),
    "a label of two lines": (
        'axes: {train: {"a\\nb": []}}\n',
        "cannot stand in a figure: leave out line breaks",
    ),
    "two equal labels": ("axes: {train: {A: [], A: []}}\n", "duplicate key A"),
    "two equal seeds": (SMALL + "seeds: [1, 1]\n", "seeds has 1 twice"),
    "the report's name": ("axes: {train: {report: []}}\n", "'report' cannot name"),
    "a name that leaves the directory": ("axes: {train: {..: []}}\n", "cannot name"),
    "seed by hand": (SMALL + "base: [seed=3]\n", "seed=3 is set by the study itself"),
    "seed in words": (SMALL + "seeds: [one]\n", "seeds must be whole numbers"),
    "not an override": (
        SMALL + "base: [{model.attention: full}]\n",
        "base must be a list of overrides",
    ),
    "scalar axis": ("axes: {optim.lr: 0.1}\n", "axis optim.lr must be a list"),
    "evaluation that is no file name": (
        SMALL + "evaluations: {../x: []}\n",
        "the evaluation name '../x'",
    ),
    "evaluation that Hydra takes for nothing": (
        SMALL + 'evaluations: {"null": []}\n',
        "the evaluation name 'null'",
    ),
    "paper's unknown row": (
        SMALL + "paper: {train_eval: {Fll: {}}}\n",
        "paper.train_eval.Fll is no variant",
    ),
    "paper's unknown column": (
        SMALL + "paper: {train_eval: {full: {A: 1}}}\n",
        "paper.train_eval.full must map",
    ),
    "a coverage that nobody measures": (
        SMALL + "report: [coverage]\n",
        "report: coverage needs trainer.coverage_every_steps",
    ),
    "unknown table": (SMALL + "report: [table9]\n", "'table9' is unknown: choose train_eval"),
    "timed in words": (SMALL + "timed: slowly\n", "timed is true or false"),
    "bad YAML": ("axes: [\n", "not readable YAML"),
    "no mapping": ("- a\n", "must be a mapping"),
}


def test_a_grid_that_is_too_large_is_refused_until_the_limit_is_raised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    choices = list(range(1, 321))
    values = f"axes: {{task.length: {choices}, optim.warmup_steps: {choices}}}\n"
    assert main(["plan", write(tmp_path, values)]) == 2
    error = capsys.readouterr().err
    assert "102400 cells, more than 10000" in error and "--max-cells 102400" in error
    path = write(tmp_path, "axes: {optim.lr: [0.1, 0.2, 0.3]}\n")
    assert main(["status", path, "--max-cells", "2", "--runs-dir", str(tmp_path)]) == 2
    assert main(["status", path, "--max-cells", "3", "--runs-dir", str(tmp_path)]) == 0


def test_a_study_that_is_nested_too_deep_or_has_no_name_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, f"axes: {'[' * 1500}1{']' * 1500}\n")
    assert main(["plan", path]) == 2
    error = capsys.readouterr().err
    assert "nested too deep" in error and error.count("\n") == 1
    for name in (".yaml", "..yaml", "...yaml"):
        (tmp_path / name).write_text("axes: {optim.lr: [0.1]}\n")
        assert main(["plan", str(tmp_path / name)]) == 2, name
        assert "cannot name the study's directory" in capsys.readouterr().err


@pytest.mark.parametrize("what", REFUSED)
def test_bad_studies_are_refused_in_one_line(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, reason = REFUSED[what]
    assert main(["run", write(tmp_path, text), "--runs-dir", str(tmp_path / "runs")]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert reason in said.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            ["plan", "nope"],
            "study 'nope' is unknown: choose budget_recall, budget_text, coverage",
        ),
        (["plan", "no/such.yaml"], "there is no study file no/such.yaml"),
        (["run", "MINE", "--parallel", "2"], "one at a time: drop --parallel 2"),
        (["run", "MINE", "--parallel", "0"], "--parallel must be at least 1"),
        (["run", "MINE", "--timeout", "-1"], "--timeout must be a positive"),
        (["run", "MINE", "MINE"], "study mine is named twice"),
        (["report", "MINE"], "finished"),
        (["run", "MINE", "--runs-dir", "MINE"], "cannot write below"),
    ],
)
def test_bad_commands_are_refused_in_one_line(
    arguments: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, SMALL + "timed: true\n")
    assert main([path if word == "MINE" else word for word in arguments]) == 2
    said = capsys.readouterr().err
    assert reason in said and said.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [["fly", "smoke"], ["run"], ["run", "nope"], ["status", "smoke", "--parallel", "2"]],
)
def test_the_command_exits_with_2_and_few_words(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ablations", *arguments], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 2 and done.stdout == ""
    assert 1 <= done.stderr.count("\n") <= 3 and "Traceback" not in done.stderr


def test_the_driver_starts_without_torch() -> None:
    script = "import sys, ablations.__main__; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", script], cwd=ROOT, env={**os.environ}).returncode == 0
    )


def test_imports_go_one_way() -> None:
    ours = ("reformer_pl", "experiments", "ablations")
    files_only = (
        "experiments.compose",
        "experiments.device",
        "experiments.hydra_options",
        "experiments.rank",
        "experiments.log",
        "experiments.run_dir",
        "experiments.safe_path",
        "experiments.terminal",
        "experiments.times",
        "experiments.training.export_run",
        "reformer_pl.config",
        "reformer_pl.config.evaluations",
        "reformer_pl.measure",
        "reformer_pl.memory.longest",
        "reformer_pl.out_of_memory",
        "reformer_pl.metrics",
    )
    allowed = {"reformer_pl": (), "experiments": ("reformer_pl",), "ablations": files_only}
    for path in [path for package in ours for path in (ROOT / package).rglob("*.py")]:
        package = path.relative_to(ROOT).parts[0]
        nodes = list(ast.walk(ast.parse(path.read_text())))
        names = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
        names += [
            alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names
        ]
        for name in names:
            first = name.split(".")[0]
            assert first == package or first not in ours or name.startswith(allowed[package]), (
                f"{path} imports {name}"
            )
            composes = path.name in ("compose.py", "compose_many.py")
            assert first != "hydra" or composes, f"{path} imports {name}"
