"""What `run` shows while it runs, and `status` the same later: how far, how fast, how long still, at what overhead, and why it failed."""

import json
from collections.abc import Callable

import pytest

from ablations.__main__ import main
from ablations.launch.pace import seconds_left
from ablations.study import Study
from fake_cells import driver, pids


def test_status_shows_pace_counts_overhead_and_last_words(
    study_of: Callable[..., Study], capfd: pytest.CaptureFixture[str]
) -> None:
    study = study_of("fine", "fails", "hangs", "waits")
    running = driver("run", "./mine.yaml")
    pids(study.cells[2])
    fine = study.cells[0].directory / "result.json"
    fine.write_text(
        json.dumps(json.loads(fine.read_text()) | {"startup_seconds": 8.25, "closing_seconds": 1.5})
    )
    assert main(["status", "./mine.yaml"]) == 0
    running.terminate()  # not kill: that would leave the cell's child, which ignores SIGINT
    running.communicate()
    said = capfd.readouterr().out
    row = next(line for line in said.splitlines() if "hangs" in line)
    assert all(word in row for word in ("running", "20/1000", "1.5000", "0.100", "1:38"))
    assert "1 ok, 1 failed, 1 running, 1 waiting" in said
    assert (
        "a cell takes 8.25 s from its start to the first step and 1.50 s from the last step to its result (medians of 1)"
        in said
    )
    assert (
        "fails seed=0: failed: exit code 1" in said
        and "  | RuntimeError: shapes do not fit" in said
    )


def test_status_of_a_cell_that_wants_an_evaluation(
    study_of: Callable[..., Study], capfd: pytest.CaptureFixture[str]
) -> None:
    """Trained, but its study has gained an evaluation, or one failed. And a description is text, whatever rich would make of it."""
    study = study_of(
        "fine",
        evaluations={"LSH-1": ["model.lsh.n_hashes=1"]},
        description="loss [/nats] of [local local lsh]",
    )
    assert main(["run", "./mine.yaml"]) == 0
    capfd.readouterr()
    assert main(["status", "./mine.yaml"]) == 0
    said = capfd.readouterr().out
    assert (
        "1 unevaluated" in said
        and "fine seed=0: trained, without LSH-1, which the next run makes" in said
        and "  | ok" in said
    )
    assert "loss [/nats] of [local local lsh]" in said
    path = study.cells[0].directory / "evaluations" / "LSH-1.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"overrides": ["model.lsh.n_hashes=1"], "loss_nats": 1.5}))
    assert main(["status", "./mine.yaml"]) == 0 and "1 ok" in capfd.readouterr().out


def test_the_time_left_of_a_study() -> None:
    assert seconds_left([], None, 5, 2) is None, "nothing runs"
    assert seconds_left([(10.0, None)], None, 0, 1) is None, "nothing is known"
    assert seconds_left([(10.0, 30.0)], None, 0, 1) == 30, "the last cell"
    assert seconds_left([(10.0, 30.0)], None, 2, 1) == 30 + 2 * 40, (
        "the others are taken to be like it"
    )
    assert seconds_left([(10.0, 30.0)], 50.0, 2, 1) == 30 + 2 * 50, "or like those that have ended"
    assert seconds_left([(10.0, None), (0.0, 20.0)], 50.0, 2, 2) == (40 + 20 + 100) / 2
    assert seconds_left([(90.0, None)], 50.0, 0, 1) == 0, "it takes longer than the others"
    assert seconds_left([(0.0, 100.0), (0.0, 10.0)], None, 0, 2) == 100, "the longest decides"
