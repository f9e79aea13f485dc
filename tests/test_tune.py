"""`tune:` chooses a value for each variant by its tuning cells, and runs nothing twice."""

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import ablations.__main__
from ablations.__main__ import main
from ablations.study import Study, compose_cells, load_study
from ablations.study.tune.choice import Choice, Option, choose, ends_of
from fake_cells import until
from reformer_pl.config import ConfigError
from reformer_pl.metrics import ACCURACY, BITS_PER_DIM

NAN = math.nan
LR = ("lr=0.001", "lr=0.002", "lr=0.004")


def options(*scores: tuple[float | None, ...]) -> list[Option]:
    return [Option((label,), of_seeds) for label, of_seeds in zip(LR, scores, strict=False)]


def chosen(choice: Choice) -> str:
    return str(choice.chosen)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([(0.1,), (0.3,), (0.2,)], "lr=0.002"),
        ([(0.1, 0.1), (0.9, 0.0), (0.2, 0.2)], "lr=0.002"),  # the mean over the seeds
        ([(0.3,), (0.3,), (0.2,)], "lr=0.001"),  # of equal ones the first
        ([(0.1,), (0.3,), (0.3,)], "lr=0.002"),
        ([(NAN,), (0.0,), (NAN,)], "lr=0.002"),  # a run that diverged or failed is worst
        ([(0.9, NAN), (0.1, 0.1), (0.0, 0.0)], "lr=0.002"),  # also in one seed of two
        ([(NAN, NAN), (NAN, 0.1), (NAN, 0.0)], "lr=0.002"),  # fewer failures are better
        ([(math.inf,), (0.2,), (0.1,)], "lr=0.002"),
        ([(NAN,), (NAN,), (NAN,)], "lr=0.001"),  # all failed: the failure is the result
        ([(0.1,), (0.3,), (None,)], "None"),  # one has not ended
        ([(0.1, 0.1), (0.3, None), (0.2, 0.2)], "None"),
        ([(None,), (None,), (None,)], "None"),
    ],
)
def test_the_best_mean_is_chosen(scores: list[tuple[float | None, ...]], expected: str) -> None:
    assert chosen(choose(options(*scores), ACCURACY)) == expected


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([(2.0,), (3.0,), (1.5,)], "lr=0.004"),
        ([(2.0,), (2.0,), (2.5,)], "lr=0.001"),
        ([(NAN,), (9.0,), (NAN,)], "lr=0.002"),
    ],
)
def test_of_bits_the_least_is_the_best(
    scores: list[tuple[float | None, ...]], expected: str
) -> None:
    assert chosen(choose(options(*scores), BITS_PER_DIM)) == expected


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ({"lr=0.001": 0.001, "lr=0.002": 0.002, "lr=0.004": 0.004}, {"lr=0.001", "lr=0.004"}),
        ({"lr=0.002": 0.002, "lr=0.001": 0.001, "lr=0.004": 0.004}, {"lr=0.001", "lr=0.004"}),
        ({"a": "a", "b": "b", "c": "c"}, {"a", "c"}),
        ({"lr=0.001": 0.001}, set()),
        ({}, set()),
    ],
)
def test_the_ends_of_a_list(values: dict[str, str | int | float], ends: set[str]) -> None:
    assert ends_of(values) == ends


def test_a_choice_at_the_edge_is_marked() -> None:
    edges = [frozenset({"lr=0.001", "lr=0.004"})]
    assert choose(options((0.1,), (0.3,), (0.2,)), ACCURACY, edges).edges == ()
    assert choose(options((0.1,), (0.2,), (0.3,)), ACCURACY, edges).edges == ("lr=0.004",)
    alone = choose(options((0.1,)), ACCURACY, [frozenset()])
    assert chosen(alone) == "lr=0.001" and alone.edges == ()


# In the place of experiments.train: scores that follow from the variant and the learning rate. Each
# start adds a line to `starts`; where the file `hang` names a cell, it waits to be interrupted.
FAKE = """
import json, pathlib, signal, sys, time
name, place = sys.argv[1], pathlib.Path(sys.argv[2])
runs = place.parent.parent
with open(runs / "starts", "a") as file:
    print(place.parent.name, place.name, file=file)
config = json.loads(next(place.glob("*asked*")).read_text())
(place / "config.yaml").write_text(json.dumps(config))
(place / "metrics.jsonl").write_text('{"step": 1, "split": "train", "loss_nats": 1.0, "seconds": 1}\\n')
hang = runs / "hang"
if hang.exists() and hang.read_text() == f"{place.parent.name} {place.name}":
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    (runs / "hangs").touch()
    time.sleep(600)
rate, attention = config["optim"]["lr"], config["model"]["attention"]
best = {"full": 0.002, "shared_full": 0.004}.get(attention, 0.001)
failed = attention == "local" and rate > 0.001
better = (runs / "better").exists() and rate == 0.004
score = 1.0 if better else 0.9 - 10 * abs(rate - best) - 0.001 * config["seed"]
result = {"status": "failed" if failed else "ok", "error": "diverged" if failed else None}
result |= {"steps": 1, "loss_nats": None if failed else 1.0, "accuracy": None if failed else score}
(place / "result.json").write_text(json.dumps(result))
sys.exit(failed)
"""
AXES = {"train": {"Full": ["model.attention=full"], "Shared": ["model.attention=shared_full"]}}


class NoPredictions:
    """A prediction of the memory takes seconds."""

    def __init__(self, for_gpu: bool) -> None:
        pass

    def of(self, config: object) -> None:
        return None


@pytest.fixture
def tuned(
    study_of: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Study]:
    """A study that tunes, of cells that take no time to train."""
    study_of("none")
    script = tmp_path / "fake_cell.py"
    script.write_text(FAKE)
    monkeypatch.setattr(ablations.__main__, "Predictions", NoPredictions)

    def study(**values: object) -> Study:
        written = {"base": ["experiment=duplication"], "axes": AXES, "seeds": [0, 1]}
        written |= {"tune": {"optim.lr": [0.001, 0.002, 0.004]}} | values
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(written, sort_keys=False))
        return load_study("./mine.yaml")

    return study


def starts() -> list[str]:
    return Path("runs/mine/starts").read_text().splitlines()


TRIED = [f"{variant}_{label} seed=0" for variant in ("Full", "Shared") for label in LR]


def test_each_variant_gets_its_value_and_nothing_runs_twice(
    tuned: Callable[..., Study], capfd: pytest.CaptureFixture[str]
) -> None:
    study = tuned()
    assert [str(cell) for cell in study.tuning.grid.cells] == TRIED
    assert all(study.is_open(cell) for cell in study.cells)
    assert main(["plan", "./mine.yaml"]) == 0
    planned = capfd.readouterr().out
    assert "6 tuning cells choose optim.lr for 2 variants; 4 final cells, 0 known" in planned
    assert planned.count("fake_cell.py") == 6, "a command without its value"
    assert main(["run", "./mine.yaml", "--dry-run"]) == 0
    assert "4 final cells, 0 known, 4 to come" in capfd.readouterr().out

    assert main(["run", "./mine.yaml", "--parallel", "2"]) == 0
    assert "Shared: lr=0.004, at the edge of its list" in capfd.readouterr().out
    assert sorted(starts()) == sorted([*TRIED, "Full seed=1", "Shared seed=1"])
    study = tuned()
    assert [str(cell.directory) for cell in study.cells] == [
        "runs/mine/Full_lr=0.002/seed=0",
        "runs/mine/Shared_lr=0.004/seed=0",
        "runs/mine/Full/seed=1",
        "runs/mine/Shared/seed=1",
    ]
    assert [config.optim.lr for config in compose_cells(study)] == [0.002, 0.004, 0.002, 0.004]
    for command in ("run", "status"):
        assert main([command, "./mine.yaml"]) == 0
    assert len(starts()) == 8
    assert "4 cells: 4 ok" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("stopped", "end"),
    [("Shared_lr=0.002 seed=0", signal.SIGKILL), ("Full seed=1", signal.SIGTERM)],
)
def test_a_driver_that_was_killed_goes_on(
    tuned: Callable[..., Study], tmp_path: Path, stopped: str, end: signal.Signals
) -> None:
    tuned()
    Path("runs/mine").mkdir(parents=True)
    Path("runs/mine/hang").write_text(stopped)
    running = subprocess.Popen([sys.executable, "driver.py", "run", "./mine.yaml"])
    until(Path("runs/mine/hangs").exists)
    os.kill(running.pid, end)
    running.wait(timeout=60)
    Path("runs/mine/hang").unlink()
    assert main(["run", "./mine.yaml"]) == 0
    again = [*TRIED, "Full seed=1", "Shared seed=1", stopped]
    assert sorted(starts()) == sorted(again), "only the cell that was stopped starts again"


def test_a_failed_value_is_not_chosen_and_no_failure_of_the_study(
    tuned: Callable[..., Study], capfd: pytest.CaptureFixture[str]
) -> None:
    axes = {"train": {"Local": ["model.attention=local"]}}
    tuned(axes=axes)
    assert main(["run", "./mine.yaml"]) == 0
    assert "Local: lr=0.001, at the edge of its list" in capfd.readouterr().out
    assert main(["run", "./mine.yaml", "--retry"]) == 0
    tried = ["Local_lr=0.002 seed=0", "Local_lr=0.004 seed=0"]
    assert sorted(starts()) == sorted(["Local_lr=0.001 seed=0", "Local seed=1", *tried, *tried]), (
        "--retry runs the failed ones alone"
    )


def test_where_every_value_fails_the_row_says_so(tuned: Callable[..., Study]) -> None:
    axes = {"train": {"Local": ["model.attention=local"]}}
    values = {"axes": axes, "tune": {"optim.lr": [0.002, 0.004]}}
    tuned(**values)
    assert main(["run", "./mine.yaml"]) == 1
    assert starts() == ["Local_lr=0.002 seed=0", "Local_lr=0.004 seed=0", "Local seed=1"]
    assert main(["run", "./mine.yaml", "--retry"]) == 1
    assert len(starts()) == 6, "the failed cells once each"


def test_a_choice_never_flips_in_silence(
    tuned: Callable[..., Study], capfd: pytest.CaptureFixture[str]
) -> None:
    tuned()
    assert main(["run", "./mine.yaml"]) == 0
    shared = Path("runs/mine/Full_lr=0.004/seed=0/result.json")
    result = json.loads(shared.read_text())
    shared.write_text(json.dumps(result | {"accuracy": 0.99}))
    capfd.readouterr()
    for dry in ([], ["--dry-run"]):
        assert main(["run", "./mine.yaml", *dry]) == 2
        text = "".join(capfd.readouterr())
        assert "Full/seed=1" in text or "Full seed=1" in text
        assert "optim.lr" in text and "0.002" in text and "0.004" in text
    assert main(["status", "./mine.yaml"]) == 0
    assert "1 changed" in capfd.readouterr().out
    assert len(starts()) == 8


def test_runs_of_before_the_tuning_are_refused_at_once(
    tuned: Callable[..., Study], capfd: pytest.CaptureFixture[str]
) -> None:
    axes = {"train": {"Full": ["model.attention=full"]}}
    written = {"axes": axes, "seeds": [1], "tune_seeds": [0]}
    tuned(**written, tune={"optim.lr": [0.03]})  # one value: nothing to choose
    assert main(["run", "./mine.yaml"]) == 0
    tuned(**written)
    capfd.readouterr()
    assert main(["run", "./mine.yaml"]) == 2
    error = capfd.readouterr().err
    assert "runs/mine/Full/seed=1 holds a run of another config than any that tune" in error
    assert error.count("\n") == 1 and starts() == ["Full seed=1"]
    tuned(**written, tune={"optim.lr": [0.03, 0.002]})
    assert main(["run", "./mine.yaml"]) == 2, "another value than that of the run is best"
    assert len(starts()) == 3


def test_a_longer_list_waits_for_its_new_values(
    tuned: Callable[..., Study], capfd: pytest.CaptureFixture[str]
) -> None:
    tuned()
    assert main(["run", "./mine.yaml"]) == 0
    study = tuned(tune={"optim.lr": [0.001, 0.002, 0.004, 0.008]})
    assert all(study.is_open(cell) for cell in study.cells)
    capfd.readouterr()
    assert main(["run", "./mine.yaml"]) == 0
    assert "at the edge" not in capfd.readouterr().out
    assert starts()[8:] == ["Full_lr=0.008 seed=0", "Shared_lr=0.008 seed=0"]


def test_force_starts_all_over_once(tuned: Callable[..., Study]) -> None:
    tuned()
    assert main(["run", "./mine.yaml"]) == 0
    Path("runs/mine/better").touch()
    assert main(["run", "./mine.yaml", "--force"]) == 0
    assert sorted(starts()[8:]) == sorted(starts()[:8]) and len(starts()) == 16
    assert tuned().tuning.choices["Full"].chosen.labels == ("lr=0.004",)


def test_keys_with_labels_seeds_of_their_own_and_conditions(tuned: Callable[..., Study]) -> None:
    study = tuned(
        tune={
            "optim.lr": [0.001, 0.002],
            "recipe": {"warm": ["optim.warmup_steps=9"], "cold": ["optim.warmup_steps=0"]},
        },
        tune_seeds=[7, 8],
        when={"optim.lr": {"train": ["Full"]}, "recipe": {"train": ["Full"]}},
    )
    tuning = study.tuning
    assert [str(cell) for cell in tuning.grid.cells] == [
        f"Full_{label} seed={seed}"
        for seed in (7, 8)
        for label in ("lr=0.001_warm", "lr=0.001_cold", "lr=0.002_warm", "lr=0.002_cold")
    ]
    opened = {cell.train for cell in study.cells if study.is_open(cell)}
    assert opened == {"Full"}, "a variant without tuned keys waits for nothing"
    assert main(["run", "./mine.yaml"]) == 0
    assert starts()[8:] == [f"{name} seed={seed}" for seed in (0, 1) for name in ("Full", "Shared")]
    full, shared, *_ = compose_cells(load_study("./mine.yaml"))
    assert (full.optim.lr, full.optim.warmup_steps) == (0.002, 9)
    assert shared.optim.lr == compose_cells(study)[1].optim.lr


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"tune": {}, "tune_seeds": [1]}, "tune_seeds are of tune"),
        ({"tune": {"optim.lr": []}}, "axis optim.lr has no entry"),
        ({"tune": {"train": {"a": []}}}, "train is an axis of the grid as well"),
        ({"tune": {"seed": [1, 2]}}, "seed is set by the study itself"),
        ({"tune_seeds": []}, "seeds has no entry"),
        ({"tune_seeds": [1, 1]}, "seeds has 1 twice"),
        ({"tune": [1]}, "tune must be a mapping"),
        ({"measure": "step"}, "these cells measure"),
        (
            {"axes": {"train": {"A": [], "A_lr=0.001": ["model.attention=full"]}}},
            "would share the folder A_lr=0.001",
        ),
    ],
)
def test_what_cannot_be_tuned_is_refused(
    tuned: Callable[..., Study], values: dict[str, object], reason: str
) -> None:
    with pytest.raises(ConfigError, match=f"study mine: .*{reason}"):
        tuned(**values)
