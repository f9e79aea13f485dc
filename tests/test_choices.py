"""An axis that depends on another: a cell has it only where the other has one of the labels."""

import json
from pathlib import Path

import pytest

from ablations.__main__ import main
from ablations.report.parts.train_eval import score_data
from ablations.report.words import build_part
from ablations.results import load_cells, score_rows
from ablations.study import Study, compose_cells, load_study
from ablations.study.cell import Cell
from reformer_pl.config import ConfigError, RunConfig
from reformer_pl.metrics import RECALL_SLICES
from test_report import write_run

TWO_AXES = "axes: {model.attention: [full, lsh, local], model.lsh.n_hashes: [1, 2]}\n"
CHAIN = """
axes:
  kind: {plain: [model.attention=full], hashed: [model.attention=lsh]}
  model.lsh.n_hashes: [2, 4]
  model.lsh.dedupe: [true, false]
when:
  model.lsh.dedupe: {model.lsh.n_hashes: [4]}
  model.lsh.n_hashes: {kind: [hashed]}
seeds: [0, 1]
"""


def labels(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "grown.yaml"
    path.write_text(text)
    study = load_study(str(path), tmp_path / "runs")
    configs = compose_cells(study)
    assert len({cell.directory for cell in study.cells}) == len(study.cells) == len(configs)
    return [cell.train for cell in study.cells if cell.seed == 0]


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("", ["full / n_hashes=1", "full / n_hashes=2", "lsh / n_hashes=1", "lsh / n_hashes=2",
              "local / n_hashes=1", "local / n_hashes=2"]),
        ("when: {model.lsh.n_hashes: {model.attention: [lsh]}}",
         ["full", "lsh / n_hashes=1", "lsh / n_hashes=2", "local"]),
        ("when: {model.lsh.n_hashes: {model.attention: [lsh, local]}}",
         ["full", "lsh / n_hashes=1", "lsh / n_hashes=2", "local / n_hashes=1",
          "local / n_hashes=2"]),
        ("when: {model.attention: {model.lsh.n_hashes: [1]}}",
         ["full / n_hashes=1", "n_hashes=2", "lsh / n_hashes=1", "local / n_hashes=1"]),
        ("when: {model.attention: {model.lsh.n_hashes: [n_hashes=1]}}",
         ["full / n_hashes=1", "n_hashes=2", "lsh / n_hashes=1", "local / n_hashes=1"]),
    ],
)  # fmt: skip
def test_a_cell_has_an_axis_only_where_its_condition_holds(
    when: str, expected: list[str], tmp_path: Path
) -> None:
    assert labels(tmp_path, TWO_AXES + when + "\n") == expected


def test_conditions_follow_one_another(tmp_path: Path) -> None:
    assert labels(tmp_path, CHAIN) == [
        "plain",
        "hashed / n_hashes=2",
        "hashed / n_hashes=4 / dedupe=true",
        "hashed / n_hashes=4 / dedupe=false",
    ]


def test_an_absent_axis_leaves_its_key_to_the_base(tmp_path: Path) -> None:
    path = tmp_path / "grown.yaml"
    path.write_text(
        "base: [model.lsh.n_hashes=8]\n"
        + TWO_AXES
        + "when: {model.lsh.n_hashes: {model.attention: [lsh]}}\n"
    )
    study = load_study(str(path), tmp_path / "runs")
    rounds = {
        cell.train: config.model.lsh.n_hashes
        for cell, config in zip(study.cells, compose_cells(study), strict=True)
    }
    assert rounds == {"full": 8, "lsh / n_hashes=1": 1, "lsh / n_hashes=2": 2, "local": 8}


@pytest.mark.parametrize(
    ("when", "reason"),
    [
        (
            "when: {optim.lr: {model.attention: [lsh]}}",
            "when: optim.lr is no axis of the grid and no",
        ),
        ("when: {model.lsh.n_hashes: {optim.lr: [1]}}", "optim.lr is no axis of the grid"),
        ("when: {model.lsh.n_hashes: {model.attention: [lhs]}}", "lhs is no label: choose full"),
        ("when: {model.lsh.n_hashes: lsh}", "must name another axis and its labels"),
        ("when: {model.lsh.n_hashes: {model.attention: lsh}}", "must be a list of labels"),
        ("when: [lsh]", "when must be a mapping"),
        (
            "when: {model.lsh.n_hashes: {model.attention: [lsh]}, "
            "model.attention: {model.lsh.n_hashes: [1]}}",
            "axis model.attention depends on itself",
        ),
        ("when: {model.attention: {model.attention: [lsh]}}", "depends on itself"),
    ],
)
def test_a_bad_condition_is_refused_in_one_line(
    when: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "grown.yaml"
    path.write_text(TWO_AXES + when + "\n")
    assert main(["plan", str(path)]) == 2
    error = capsys.readouterr().err
    assert reason in error and error.count("\n") == 1


SCORED = """
axes: {model.attention: [full, shared_full], optim.lr: [0.001, 0.002]}
evaluations: {Full: [], LSH-2: [model.attention=lsh, model.lsh.n_hashes=2], Local: [model.attention=local]}
when:
  LSH-2: {model.attention: [shared_full]}
  Local: {model.attention: [full], optim.lr: [0.002]}
report: [train_eval]
"""


def test_an_evaluation_belongs_to_the_cells_whose_parameters_it_fits(tmp_path: Path) -> None:
    path = tmp_path / "scored.yaml"
    path.write_text(SCORED)
    study = load_study(str(path), tmp_path / "runs")
    own = {cell.train: list(config.evaluations) for cell, config in pairs_of(study)}
    assert own == {
        "full / lr=0.001": ["Full"],
        "full / lr=0.002": ["Full", "Local"],
        "shared_full / lr=0.001": ["Full", "LSH-2"],
        "shared_full / lr=0.002": ["Full", "LSH-2"],
    }
    rows = score_rows(study)
    assert list(zip(rows["train"], rows["eval"], strict=True)) == [
        (train, name) for train, names in own.items() for name in names
    ]
    assert {"Local", "LSH-2"} <= set(score_data(study)["eval"]), "a column for each"


def pairs_of(study: Study) -> list[tuple[Cell, RunConfig]]:
    return list(zip(study.cells, compose_cells(study), strict=True))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("  LSH-2: {model.attention: [shared_full]}\n", "", "share queries and keys"),
        ("  LSH-2:", "  LSH-3:", "when: LSH-3 is no axis of the grid and no evaluation: choose"),
        ("[shared_full]}", "[lsh]}", "when.LSH-2.model.attention: lsh is no label"),
        ("{model.attention: [shared_full]}", "{Full: [x]}", "when.LSH-2: Full is no axis"),
    ],
)
def test_a_bad_condition_of_an_evaluation_is_refused_in_one_line(
    old: str, new: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scored.yaml"
    path.write_text(SCORED.replace(old, new))
    assert main(["plan", str(path)]) == 2
    error = capsys.readouterr().err
    assert reason in error and error.count("\n") == 1, error


def test_a_condition_of_a_name_that_is_an_axis_and_an_evaluation_is_refused(
    tmp_path: Path,
) -> None:
    path = tmp_path / "scored.yaml"
    path.write_text(
        "axes: {kind: {a: [], b: [optim.lr=0.1]}, Own: {c: [], d: [optim.warmup_steps=1]}}\n"
        "evaluations: {Own: []}\nwhen: {Own: {kind: [a]}}\n"
    )
    with pytest.raises(ConfigError, match="Own is an axis and an evaluation"):
        load_study(str(path), tmp_path / "runs")


@pytest.mark.parametrize("word", ["keys", "slices", "train_eval"])
def test_a_report_has_each_evaluation_of_the_cells_that_have_it_alone(
    word: str, tmp_path: Path
) -> None:
    path = tmp_path / "scored.yaml"
    path.write_text("base: [experiment=recall]\n" + SCORED.replace("train_eval", word))
    study = load_study(str(path), tmp_path / "runs")
    for cell in study.cells:
        numbers = dict.fromkeys(("accuracy", *(part.name for part in RECALL_SLICES)), 0.5)
        chance = {"name": "chance", "accuracy": 1 / 64}
        write_run(cell.directory, [{**numbers, "loss_nats": 2.0}], 50, chance, step_seconds=0.1)
        for name, overrides in study.evaluations_of(cell).items():
            scores = {"name": name, "overrides": overrides, **numbers, "keys_per_token": 4.0}
            (cell.directory / "evaluations" / f"{name}.json").write_text(json.dumps(scores))
    part = build_part(word, study, load_cells(study), drawn=True)
    data = part.tables[0].data
    shown = data[data["n"] > 0] if word == "train_eval" else data[data["eval"] != "own"]
    both = [(cell.train, name) for cell in study.cells for name in cell.evaluations]
    assert sorted(zip(shown["train"], shown["eval"], strict=True)) == sorted(both)
    assert part.figures
