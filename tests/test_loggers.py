"""trainer.loggers: what Lightning's loggers get of a run, and what is refused.

The files of the run stay the same.
"""

import csv
import sys
from pathlib import Path
from typing import Any

import pytest
from lightning import Callback
from lightning.pytorch.loggers import Logger

from experiments import train
from experiments.compose import compose
from experiments.training import fit, loggers
from experiments.training.export_run import send_run
from processes import result, rows, timeless
from reformer_pl.config import ConfigError, RunConfig, changes, load, to_dict

RUN = ["experiment=smoke", "trainer.accelerator=cpu", "trainer.threads=1", "trainer.max_steps=6"]
RUN += ["trainer.eval_every_steps=3", "trainer.log_every_steps=2", "task.eval_sequences=8"]
RUN += ["+evaluations={Full:['model.attention=shared_full']}"]


class Recorder(Logger):
    """A logger that keeps what it gets."""

    name, version = "recorder", 0

    def __init__(self, *place: Any) -> None:
        super().__init__()
        self.place, self.config, self.points, self.status = place, {}, [], ""

    def log_hyperparams(self, params: dict[str, Any]) -> None:
        self.config = params

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.points.append((step, metrics))

    def finalize(self, status: str) -> None:
        self.status = status

    @property
    def experiment(self) -> Any:
        return self

    def finish(self) -> None:
        self.status += ", finished"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the default, our own TensorBoard file."""
    directory = tmp_path_factory.mktemp("plain")
    assert train.main([*RUN, f"out_dir={directory}"]) == 0
    return directory


def without_time(directory: Path) -> tuple[Any, ...]:
    return timeless(result(directory)), [timeless(row) for row in rows(directory)]


def test_csv_has_the_rows_of_the_metrics_file_and_nothing_of_the_evaluations(
    plain: Path, tmp_path: Path
) -> None:
    assert train.main([*RUN, "trainer.loggers=[csv]", f"out_dir={tmp_path}"]) == 0
    assert without_time(tmp_path) == without_time(plain)
    assert not list(tmp_path.glob("events.*")), "tensorboard was not asked for"
    (folder,) = (tmp_path / "csv").iterdir()
    assert "model.lsh.n_hashes: 2\n" in (folder / "hparams.yaml").read_text()
    with (folder / "metrics.csv").open() as file:
        lines = list(csv.DictReader(file))
    for split in ("train", "valid"):
        column = f"{split}/loss_nats"
        points = [(int(line["step"]) + 1, line[column]) for line in lines if line[column]]
        expected = [(row["step"], row["loss_nats"]) for row in rows(tmp_path, split)]
        assert [step for step, _ in points] == [step for step, _ in expected]
        assert [float(value) for _, value in points] == pytest.approx(
            [value for _, value in expected]
        )


@pytest.mark.parametrize("part", [4, 0])
def test_the_last_that_a_logger_gets_are_the_numbers_of_the_result(
    part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    monkeypatch.setattr(fit, "build_loggers", lambda *place: [recorder])
    config = compose([*RUN, f"task.curve_sequences={part}", f"out_dir={tmp_path}"])
    result = fit.train(config, tmp_path)
    (_, curve), (step, final) = recorder.points[-2:]
    assert step == 5 and final["final/loss_nats"] == result["loss_nats"]
    assert final["final/peak_memory_gib"] == result["peak_memory_gib"]
    is_whole = curve["valid/loss_nats"] == pytest.approx(result["loss_nats"], rel=1e-5)
    assert is_whole == (part == 0)


def test_no_logger_leaves_the_files_of_the_run_alone(plain: Path, tmp_path: Path) -> None:
    assert train.main([*RUN, "trainer.loggers=[]", f"out_dir={tmp_path}"]) == 0
    assert without_time(tmp_path) == without_time(plain)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {path.name for path in plain.iterdir() if "tfevents" not in path.name}


def test_another_logger_makes_no_other_run(plain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor does a config.yaml from before there was the key."""
    config = compose([*RUN, f"out_dir={plain}"])
    values = to_dict(config)
    del values["trainer"]["loggers"]
    assert load(values).trainer.loggers == ["tensorboard"]
    assert changes(load(values), compose([*RUN, "trainer.loggers=[csv]"])) == ""
    assert train.main([*RUN, "trainer.loggers=[csv]", f"out_dir={plain}"]) == 0
    assert "already done" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["wandb", "mlflow"])
def test_a_missing_package_is_one_line_before_anything_is_trained(
    word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = {"wandb": "wandb", "mlflow": "mlflow, sqlalchemy, alembic"}[word]
    monkeypatch.setattr("reformer_pl.config.loading.find_spec", lambda name: None)
    directory = tmp_path / "run"
    assert train.main([*RUN, f"trainer.loggers=[csv,{word}]", f"out_dir={directory}"]) == 2
    error = capsys.readouterr().err
    assert error == f"error: {word} needs {packages}: pip install '.[{word}]'\n"
    assert not directory.exists()
    with pytest.raises(ConfigError, match=f"{word} needs"):
        send_run(tmp_path, "study", "cell", word)


@pytest.mark.parametrize(
    "words, reason",
    [("[neptune]", "choose tensorboard, csv, wandb, mlflow"), ("[csv,csv]", "names csv twice")],
)
def test_what_is_no_logger_is_refused(words: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        compose([f"trainer.loggers={words}"])
    with pytest.raises(ConfigError, match="choose tensorboard, csv, wandb, mlflow"):
        loggers.build_logger("neptune", Path(), "", "")


@pytest.mark.parametrize("mode", [None, "online"])
def test_lightnings_loggers_get_the_name_and_the_place_of_the_run(
    mode: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """wandb stays offline and mlflow in the run's directory, unless the environment says more."""
    calls = {}
    for name in ("WandbLogger", "MLFlowLogger"):
        monkeypatch.setattr(
            loggers, name, lambda *args, name=name, **more: calls.update({name: (args, more)})
        )
    for name, value in (("WANDB_MODE", mode), ("MLFLOW_TRACKING_URI", mode and "http://host")):
        monkeypatch.delenv(name, raising=False)
        if value:
            monkeypatch.setenv(name, value)
    directory = tmp_path / "a study" / "LSH-2" / "seed=3"
    config = load({"trainer": {"loggers": ["tensorboard", "wandb", "mlflow"]}})
    assert len(loggers.build_loggers(config, directory)) == 2
    folder = directory / "mlflow"
    place = {
        "tracking_uri": f"sqlite:///{folder}/mlflow.db",
        "artifact_location": f"{folder}/artifacts",
    }
    if mode:
        place = {"tracking_uri": "http://host"}
    assert calls == {
        "WandbLogger": (
            ("LSH-2/seed=3", directory),
            {"offline": mode is None, "project": "a-study"},
        ),
        "MLFlowLogger": (("a study",), {"run_name": "LSH-2/seed=3", **place}),
    }


@pytest.mark.parametrize("to", ["wandb", "mlflow"])
def test_a_finished_run_is_sent_whole(
    to: str, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorders = []
    monkeypatch.setattr("reformer_pl.config.loading.find_spec", lambda name: True)
    monkeypatch.setattr(
        loggers, "build_logger", lambda *place: recorders.append(Recorder(*place)) or recorders[0]
    )
    before = {path: path.read_bytes() for path in plain.rglob("*") if path.is_file()}
    send_run(plain, "my_study", "LSH-2/seed=0", to)
    (recorder,) = recorders
    assert recorder.place == (to, plain, "my_study", "LSH-2/seed=0")
    assert recorder.config["model.lsh.n_hashes"] == 2
    *points, (step, final) = recorder.points
    assert [(at, values) for at, values in points] == [
        (
            row["step"],
            {
                f"{row['split']}/{name}": value
                for name, value in row.items()
                if name not in ("step", "split")
            },
        )
        for row in rows(plain)
    ]
    assert step == 6 and final["final/parameters"] == result(plain)["parameters"]
    assert recorder.status == ("success, finished" if to == "wandb" else "success")
    after = {path: path.read_bytes() for path in plain.rglob("*") if path.is_file()}
    assert before == after
    with pytest.raises(ConfigError, match="is sent when it has ended"):
        send_run(tmp_path, "study", "cell", to)


class Counter(Callback):
    """A callback of the user, whose state lives in the checkpoint."""

    steps = 0

    def on_train_batch_end(self, *_: Any) -> None:
        self.steps += 1

    def state_dict(self) -> dict[str, int]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.steps = state["steps"]


def test_callbacks_of_the_user_see_every_step_and_resume(tmp_path: Path) -> None:
    def trained(max_steps: int) -> int:
        config: RunConfig = compose([*RUN, f"trainer.max_steps={max_steps}"])
        counter = Counter()
        assert fit.train(config, tmp_path, callbacks=[counter])["status"] == "ok"
        return counter.steps

    assert (trained(3), trained(6)) == (3, 6)


def test_no_tracker_is_imported_unless_asked_for() -> None:
    assert not {"wandb", "mlflow"} & set(sys.modules)
