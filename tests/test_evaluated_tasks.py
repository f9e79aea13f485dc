"""Evaluations of another length, of other pairs and of the test part: in a study, by hand, and the spread over draws."""

import json
import re
from pathlib import Path

import pytest
import yaml

from ablations.report.report import load_report
from ablations.results import load_results
from ablations.study import compose_cells, load_study
from experiments.evaluate import main as evaluate
from experiments.run_dir.outcome import read_evaluation
from experiments.train import main as train
from recall_study import recall_study
from reformer_pl.config import ConfigError, RunConfig, load, to_dict
from reformer_pl.config.evaluations import load_named_evaluation
from tiny import tiny

RECALL = ["task.name=recall", "task.pairs=4", "task.length=32"]
SMALL = [
    "experiment=recall", "model.d_model=16", "model.d_ff=16", "model.n_heads=2",
    "task.length=16", "task.pairs=2", "task.batch_size=4", "task.eval_sequences=6",
    "task.curve_sequences=0", "optim.warmup_steps=0", "trainer.max_steps=2",
    "trainer.eval_every_steps=2", "trainer.log_every_steps=2", "trainer.accelerator=cpu",
    "model.positions=rotary", "model.lsh.chunk_len=4", "trainer.loggers=[]",
]  # fmt: skip
EVALUATIONS = {
    "Long": ["task.length=24"],
    "P1": ["task.pairs=1"],
    "Noisy": ["task.noise=0.25", "task.pairs=1"],
    "Test": ["task.split=test"],
    "LongTest": ["task.length=24", "task.split=test"],
    "Draws": ["model.lsh.eval_draws=3"],
}


def trained(*overrides: str, evaluation: list[str]) -> RunConfig:
    """A config with one evaluation, E."""
    return load(to_dict(tiny(*RECALL, *overrides)) | {"evaluations": {"E": evaluation}})


@pytest.mark.parametrize(
    "evaluation",
    [
        ["task.pairs=2"],
        ["task.pairs=8"],
        ["task.noise=0.25"],
        ["task.pairs=2", "task.noise=0.5", "task.split=test"],
    ],
)
@pytest.mark.parametrize("positions", ["learned", "none"])
def test_an_evaluation_may_have_other_pairs_and_fillers_at_the_same_length(
    positions: str, evaluation: list[str]
) -> None:
    changed = load_named_evaluation(
        trained(f"model.positions={positions}", evaluation=evaluation), "E"
    )
    assert all(f"task.{name}={getattr(changed.task, name)}" in evaluation or name not in str(evaluation) for name in ("pairs", "noise", "split"))  # fmt: skip


@pytest.mark.parametrize("length", [16, 33, 64])
@pytest.mark.parametrize("positions", ["rotary", "none"])
def test_an_evaluation_may_have_another_length_where_positions_have_no_weights(
    positions: str, length: int
) -> None:
    config = trained(f"model.positions={positions}", evaluation=[f"task.length={length}"])
    assert load_named_evaluation(config, "E").task.length == length


@pytest.mark.parametrize(
    ("overrides", "evaluation", "reason"),
    [
        (["model.positions=learned"], ["task.length=64"], "model.positions=learned has weights for task.length=32 alone: to score it at 64, train with model.positions=rotary or none"),
        (["model.positions=axial"], ["task.length=64"], "model.positions=axial has weights for task.length=32 alone"),
        (["model.positions=rotary"], ["task.length=9"], "no room for a query"),
        ([], ["task.pairs=16"], "no room for a query"),
        ([], ["task.batch_size=4"], "changes task.batch_size: a run's own change model.*, task.split, task.length, task.pairs and task.noise alone"),
        ([], ["trainer.devices=1", "task.eval_sequences=9"], "changes task.eval_sequences"),
        ([], ["task.name=duplication"], "follow from task.name=recall"),
    ],
)  # fmt: skip
def test_what_an_evaluation_may_not_change_is_refused_in_a_sentence(
    overrides: list[str], evaluation: list[str], reason: str
) -> None:
    with pytest.raises(ConfigError) as error:
        load_named_evaluation(trained(*overrides, evaluation=evaluation), "E")
    assert reason in str(error.value) and "\n" not in str(error.value)


@pytest.fixture(scope="module")
def study_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of one variant, its one cell trained and scored in this process."""
    folder = tmp_path_factory.mktemp("evaluated")
    path = folder / "lengths.yaml"
    values = {
        "base": SMALL,
        "axes": {"train": {"LSH-1": ["model.attention=lsh", "model.lsh.n_hashes=1"]}},
        "evaluations": EVALUATIONS,
        "report": ["train_eval"],
    }
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    study = load_study(path, folder / "runs")
    compose_cells(study)
    assert train(list(study.cells[0].overrides)) == 0
    return path


def test_a_study_scores_them_as_the_command_does(
    study_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = load_study(study_path, study_path.parent / "runs")
    run = study.cells[0].directory
    scores = {name: read_evaluation(run, name, words) for name, words in EVALUATIONS.items()}
    assert all(scores.values())
    assert len({score["loss_nats"] for score in scores.values()}) == len(EVALUATIONS)
    for name in ("Long", "Noisy", "LongTest", "Draws"):
        capsys.readouterr()
        assert evaluate([str(run), *EVALUATIONS[name], "task.batch_size=5"]) == 0
        printed = capsys.readouterr().out
        numbers = dict(re.findall(r"(\w+) ([-.\de]+|nan)", printed))
        assert float(numbers["loss_nats"]) == pytest.approx(scores[name]["loss_nats"], rel=1e-5)
        assert "nan" not in printed and "to_25" in printed
        part = "test part" if "Test" in name else "held-out part"
        assert printed.rstrip().endswith(f"sequences 6 of the {part}")
        spread = f"{scores['Draws']['eval_draws_std']:.6g} over 3 draws"
        assert (spread in printed) == (name == "Draws")


def test_each_stands_in_tables_under_its_name_with_its_part(study_path: Path) -> None:
    study = load_study(study_path, study_path.parent / "runs")
    (table, _) = load_report(study).tables
    names = ["Long", "P1", "Noisy", "Test (test part)", "LongTest (test part)", "Draws"]
    assert list(table.header[1:7]) == names
    results = load_results(study).set_index("eval")
    assert results["split"].to_dict() == {
        name: "test" if "Test" in name else "held_out" for name in ["own", *EVALUATIONS]
    }
    for place, name in enumerate(EVALUATIONS):
        assert table.rows[0].entries[place].mean == 100 * results["accuracy"][name]
    assert "task.length=24: Long, LongTest" in table.caption
    assert "task.pairs=1: P1, Noisy" in table.caption
    assert "Evaluations marked (test part) are scored on the test part, the others on the held-out part" in table.caption  # fmt: skip
    draws = json.loads((study.cells[0].directory / "evaluations/Draws.json").read_text())
    assert draws["eval_draws"] == 3 == results["eval_draws"]["Draws"]
    assert results["eval_draws_std"]["Draws"] == draws["eval_draws_std"] > 0
    assert results["eval_draws_std"].drop("Draws").isna().all()
    column = table.rows[0].entries[table.header.index("Draws, over draws") - 1]
    assert column.text.endswith("over 3 draws") if hasattr(column, "text") else column.note.endswith("over 3 draws")  # fmt: skip


@pytest.mark.parametrize("on", ["rows", "columns"])
def test_a_table_of_ones_own_marks_the_test_part_and_says_the_part(tmp_path: Path, on: str) -> None:
    other = "columns" if on == "rows" else "rows"
    report = [
        {"table": {on: "evaluation", other: "train", "value": "accuracy"}},
        {"table": {"rows": "train", "columns": "evaluation", "value": "accuracy_to_25"}},
        {"table": {on: "evaluation", other: "train", "value": "eval_draws_std"}},
    ]
    evaluations = {"Full": ["model.attention=shared_full"], "Test": ["task.split=test"]}
    study = recall_study(tmp_path, 2, report=report, evaluations=evaluations)
    own, slices, spread = load_report(study).tables
    labels = own.header[1:] if on == "columns" else tuple(row.label for row in own.rows)
    assert labels == ("Full", "Test (test part)")
    assert own.caption.startswith("Accuracy (%) by")
    assert "marked (test part) are scored on the test part" in own.caption
    assert slices.header[1:] == ("Full", "Test (test part)")
    assert {entry.text for row in spread.rows for entry in row.entries} == {"not measured"}
