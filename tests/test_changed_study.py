"""A study whose YAML was edited after it ran: no reader shows the old numbers as the study's."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ablations.__main__ import main
from ablations.report.report import Report
from ablations.report.writers.page import write_page
from ablations.report.writers.terminal import print_sessions
from ablations.results import load_cells, load_coverage, load_curves, load_results, score_rows
from ablations.study import Study, compose_cells
from experiments.run_dir.files import config_text
from experiments.run_dir.outcome import RESULT_NUMBERS

OLD = 7.123456  # in every number of the old run, and in no new one


@pytest.fixture
def ran(study_of: Callable[..., Study]) -> Callable[..., Study]:
    """A study whose one cell has run; called again, the same study with other values in its YAML."""

    def study(**values: object) -> Study:
        made = study_of("plain", **values)
        (cell,) = made.cells
        if not cell.directory.exists():
            _leave_a_run(cell.directory, config_text(compose_cells(made)[0]))
        return made

    return study


def _leave_a_run(directory: Path, config: str) -> None:
    directory.mkdir(parents=True)
    (directory / "config.yaml").write_text(config)
    row = {"step": 1, "split": "valid", "loss_nats": OLD, "accuracy": OLD, "bits_per_dim": OLD}
    (directory / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    shares = {"step": 1, "layer": 0, "head": 0, "rounds": 1, "coverage": OLD, "chance": OLD}
    (directory / "coverage.jsonl").write_text(json.dumps(shares) + "\n")
    result = dict.fromkeys(RESULT_NUMBERS, OLD) | {"status": "ok", "error": None}
    result |= {"steps": 10, "parameters": 100, "baseline": {"name": "b", "loss_nats": OLD}}
    (directory / "result.json").write_text(json.dumps(result))


EDITS = [
    ["trainer.max_steps=77"],
    ["optim.lr=0.5"],
    ["model.n_layers=3"],
    ["task.length=64"],
    ["optim.schedule=rsqrt"],
    ["model.attention=full"],
]


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit[0])
def test_no_reader_shows_the_numbers_of_another_config(
    ran: Callable[..., Study], edit: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    before = ran()
    assert load_results(before)["loss_nats"].tolist() == [OLD]
    after = ran(base=edit)
    rows = load_results(after)
    assert rows["status"].tolist() == ["changed"] and edit[0].split("=")[0] in rows["error"][0]
    for frame in (rows, score_rows(after)):
        numbers = frame.select_dtypes("number").drop(columns=["seed"])
        names = [name for name in numbers if not name.startswith("config.")]
        assert numbers[names].isna().all(axis=None), numbers.to_dict()
    assert load_curves(after).empty and load_coverage(after).empty

    for command in (["status"], ["report"], ["export", "--out", "all.csv"]):
        assert main([command[0], "./mine.yaml", *command[1:]]) == 0
    words = capfd.readouterr().out
    assert "1 changed" in words and "run --force" in words and edit[0].split("=")[0] in words
    shown = [words, Path("all.csv").read_text()]
    folder = after.directory / "report"
    shown += [
        path.read_text()
        for path in folder.iterdir()
        if path.suffix in (".csv", ".md", ".tex", ".html")
    ]
    assert not [text for text in shown if "7.12" in text or "712.3" in text]
    assert "run --force" in (folder / "index.html").read_text()
    assert main(["compare", str(before.directory), "./mine.yaml"]) == 0
    assert "left out as changed" in capfd.readouterr().out
    assert main(["export", "./mine.yaml", "--to", "wandb"]) == 2


@pytest.mark.parametrize(
    "values",
    [
        {"base": ["trainer.loggers=[tensorboard]"]},
        {"base": ["benchmark.memory_limit_gib=3"]},
        {"evaluations": {"one": ["model.lsh.n_hashes=1"]}},
        {"description": "other words"},
    ],
    ids=str,
)
def test_what_changes_no_result_is_no_change(ran: Callable[..., Study], values: dict) -> None:
    ran()
    own = load_results(ran(**values)).query("eval == 'own'")
    assert own["status"].tolist() == ["ok"] and own["loss_nats"].tolist() == [OLD]


def test_the_yaml_put_back_shows_the_numbers_again(ran: Callable[..., Study]) -> None:
    ran()
    assert load_results(ran(base=["optim.lr=0.5"]))["status"].tolist() == ["changed"]
    assert load_results(ran())["loss_nats"].tolist() == [OLD]


def test_a_config_that_cannot_be_read_is_not_taken_for_the_same(ran: Callable[..., Study]) -> None:
    (cell,) = ran().cells
    (cell.directory / "config.yaml").write_text("- no config\n")
    rows = score_rows(ran())
    assert rows["status"].tolist() == ["changed"] and rows["loss_nats"].isna().all()


def test_the_folder_of_the_runs_shows_what_it_holds(ran: Callable[..., Study]) -> None:
    ran()
    folder = ran(base=["optim.lr=0.5"]).directory
    assert load_results(folder)["loss_nats"].tolist() == [OLD]
    assert yaml.safe_load((folder / "plain" / "seed=0" / "config.yaml").read_text())


def test_an_evaluation_of_a_run_whose_checkpoint_was_deleted_is_not_started(
    ran: Callable[..., Study], capfd: pytest.CaptureFixture[str]
) -> None:
    ran()
    ran(evaluations={"one": ["model.lsh.n_hashes=1"]})
    for command in (["run", "./mine.yaml", "--dry-run"], ["run", "./mine.yaml"], ["status"]):
        main([*command, *([] if "./mine.yaml" in command else ["./mine.yaml"])])
        words = capfd.readouterr().out
        assert "unevaluated" in words or "without one" in words
    assert "is not there, and the weights with it" in words and "its numbers stay" in words


@pytest.mark.parametrize(
    "key, values", [("git_commit", ["aaa", "bbb"]), ("threads", [1, 2]), ("device", ["CPU", "GPU"])]
)
def test_a_run_that_several_machines_trained_says_so(
    ran: Callable[..., Study], key: str, values: list, capfd: pytest.CaptureFixture[str]
) -> None:
    study = ran()
    path = study.cells[0].directory / "result.json"
    same = {"git_commit": "c", "threads": 1, "device": "CPU", "host": "h"}
    sessions = [{**same, "step": 10 * i, key: value} for i, value in enumerate(values)]
    path.write_text(json.dumps({**json.loads(path.read_text()), "sessions": sessions}))
    cells = load_cells(study)
    print_sessions(Report(study, cells, (), ()))
    line = f"plain seed=0 went on at step 10: {key.replace('_', ' ')} {values[0]}, then {values[1]}"
    assert line in capfd.readouterr().out
    page = write_page(Report(study, cells.assign(versions=None), (), ()), study.directory)
    assert line in page.read_text()


@pytest.mark.parametrize("steps, word", [(2000, "extend"), (500, "not more")])
def test_a_study_extends_its_cells(
    ran: Callable[..., Study], steps: int, word: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (cell,) = ran(base=["optim.schedule=rsqrt"]).cells
    (cell.directory / "checkpoints").mkdir()
    (cell.directory / "checkpoints" / "last.ckpt").write_text("whole")
    ran(base=["optim.schedule=rsqrt", f"trainer.max_steps={steps}"])
    code = main(["run", "./mine.yaml", "--extend", "--dry-run"])
    captured = capfd.readouterr()
    assert code == (0 if word == "extend" else 2) and word in captured.out + captured.err
    assert main(["run", "./mine.yaml", "--extend"]) == code
    kept = cell.directory / "result.at-step-1000.json"
    assert kept.exists() == (word == "extend")
    if kept.exists():
        assert json.loads(kept.read_text())["loss_nats"] == OLD
        assert load_results(ran(base=["optim.schedule=rsqrt", "trainer.max_steps=2000"]))[
            "loss_nats"
        ].tolist() == [1.5]


def test_a_cosine_study_says_why_it_is_not_extended(
    ran: Callable[..., Study], capfd: pytest.CaptureFixture[str]
) -> None:
    ran(base=["optim.schedule=cosine"])
    ran(base=["optim.schedule=cosine", "trainer.max_steps=2000"])
    assert main(["run", "./mine.yaml", "--extend"]) == 2
    assert "optim.schedule=cosine falls to 0" in capfd.readouterr().err
