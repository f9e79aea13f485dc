"""Timed studies are measured in rounds, all cells in turn, and a disturbed round is measured again."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from ablations.__main__ import main
from ablations.launch.local import quiet as quiet_module
from ablations.launch.local import rounds as driver
from ablations.launch.local.quiet import QuietWait, busy_share
from ablations.launch.local.round_order import FEWEST_ROUNDS, MOST_ROUNDS, next_turn
from ablations.launch.local.stop import Stop
from ablations.results import load_results
from ablations.study import Study
from ablations.study.cell import Cell
from ablations.study.ratio_base import ratio_bases
from experiments.benchmarking import measure_round
from experiments.run_dir.rounds import append_round, over_rounds, ratios, read_rounds
from reformer_pl.config import ConfigError

A, B, C = (Cell(name, name, 0, (), Path(name), (name,), "experiments.train") for name in "ABC")
BASES = {A: A, B: A, C: A}


def row(number: int, seconds: float, waited: float = 0.0, **more: Any) -> dict[str, Any]:
    return {
        "round": number, "step_seconds": seconds, "step_seconds_q1": 0.99 * seconds,
        "step_seconds_q3": 1.01 * seconds, "waited_share": waited, "n_repeats": 5,
        "involuntary_switches": 1, "wall_seconds": 1.0, **more,
    }  # fmt: skip


def play(
    measure: Callable[[Cell, int], dict[str, Any]], minutes: float = 60.0
) -> tuple[str, dict[Cell, list[dict[str, Any]]]]:
    """The turns that are taken, such as "A1 B1 C1", and the rows that they leave."""
    rounds: dict[Cell, list[dict[str, Any]]] = {A: [], B: [], C: []}
    turns = []
    while turn := next_turn(BASES, rounds, minutes):
        turns.append(f"{turn.cell.name}{turn.number}")
        rounds[turn.cell].append(measure(turn.cell, turn.number))
    return " ".join(turns), rounds


def test_three_quiet_rounds_in_turn_are_enough() -> None:
    turns, rounds = play(lambda cell, number: row(number, {A: 1.0, B: 1.5, C: 2.0}[cell]))
    assert turns == "A1 B1 C1 A2 B2 C2 A3 B3 C3"
    assert next_turn(BASES, rounds, 60) is None


def test_a_disturbed_round_is_measured_again_with_its_base_alone() -> None:
    turns, rounds = play(
        lambda cell, number: row(number, 1.0, 0.3 if (cell, number) == (C, 2) else 0)
    )
    assert turns == "A1 B1 C1 A2 B2 C2 A3 B3 C3 A4 C4"
    assert ratios(rounds[C], rounds[A]) == ([1.0, 1.0, 1.0], False)


def test_a_disturbed_base_is_measured_again_with_all_that_stand_on_it() -> None:
    turns, _ = play(lambda cell, number: row(number, 1.0, 0.3 if (cell, number) == (A, 2) else 0))
    assert turns.endswith("A3 B3 C3 A4 B4 C4")


def test_ratios_that_do_not_agree_are_measured_on_until_they_do() -> None:
    seconds = {1: 1.5, 2: 1.7, 3: 1.9, 4: 1.7, 5: 1.7, 6: 1.7, 7: 1.7}
    turns, rounds = play(lambda cell, number: row(number, seconds[number] if cell == B else 1.0))
    assert turns.endswith("C3 A4 B4 A5 B5 A6 B6") or turns.endswith("C3 A4 B4 A5 B5")
    assert median(ratios(rounds[B], rounds[A])[0]) == 1.7


@pytest.mark.parametrize("waited", [0.021, 0.5])
def test_on_a_machine_that_is_never_quiet_it_ends(waited: float) -> None:
    turns, rounds = play(lambda cell, number: row(number, 1.0, waited))
    assert turns.split()[-1] == f"C{MOST_ROUNDS}" and len(turns.split()) == 3 * MOST_ROUNDS
    assert ratios(rounds[B], rounds[A]) == ([1.0] * MOST_ROUNDS, True)


@pytest.mark.parametrize(
    ("minutes", "turns"),
    [(0, "A1 B1 C1"), (4 / 60, "A1 B1 C1 A2"), (9 / 60, "A1 B1 C1 A2 B2 C2 A3 B3 C3")],
)
def test_the_first_round_ends_in_any_case_and_the_others_within_the_minutes(
    minutes: float, turns: str
) -> None:
    assert play(lambda cell, number: row(number, 1.0, 0.5), minutes)[0] == turns


def test_a_cell_that_fails_is_left_out_and_one_without_its_base_goes_on_alone() -> None:
    turns, _ = play(
        lambda cell, number: {"round": number, "error": "x"} if cell == B else row(number, 1)
    )
    assert turns == "A1 B1 C1 A2 C2 A3 C3"
    turns, _ = play(
        lambda cell, number: {"round": number, "error": "x"} if cell == A else row(number, 1)
    )
    assert turns == "A1 B1 C1 B2 C2 B3 C3"


def test_where_a_driver_was_killed_the_next_one_goes_on() -> None:
    rounds = {A: [row(1, 1.0), row(2, 1.0)], B: [row(1, 1.0)], C: [row(1, 1.0)]}
    turn = next_turn(BASES, rounds, 60)
    assert turn is not None and (turn.cell, turn.number) == (B, 2)


TRAINED = {
    "status": "ok", "step_seconds": 9.0, "step_seconds_q1": 8.0, "step_seconds_q3": 10.0,
    "waited_share": 0.4, "tokens_per_second": 100.0, "n_timed_steps": 80, "involuntary_switches": 9,
}  # fmt: skip


def test_the_times_of_a_cell_are_medians_over_its_quiet_rounds() -> None:
    rows = [row(1, 1.0), row(2, 3.0), row(3, 2.0), row(4, 50.0, waited=0.5)]
    result = over_rounds(TRAINED, rows)
    assert result["step_seconds"] == 2.0 and result["waited_share"] == 0.0
    assert result["tokens_per_second"] == 100.0 * 9.0 / 2.0
    assert result["n_timed_steps"] == 15 and result["n_rounds"] == 3
    assert result["disturbed"] is False and result["training_is_disturbed"] is True
    alone = over_rounds(TRAINED, [row(1, 4.0, waited=0.5)])
    assert alone["step_seconds"] == 4.0 and alone["disturbed"] is True
    never = over_rounds(TRAINED, [])
    assert never["step_seconds"] == 9.0 and never["n_rounds"] is None and never["disturbed"] is True


def test_a_ratio_is_of_rounds_that_both_have_and_nothing_disturbed() -> None:
    base = [row(1, 1.0), row(2, 2.0), row(3, 1.0, waited=0.9)]
    assert ratios([row(1, 3.0), row(2, 8.0), row(3, 9.0), row(4, 9.0)], base) == ([3.0, 4.0], False)
    assert ratios([row(3, 9.0)], base) == ([9.0], True)
    assert ratios([row(7, 9.0)], base) == ([], False)


@pytest.mark.parametrize("rest", ["", '{"rou', '{"round": 2, "step_seconds": 1.0}', "\u2026"])
def test_half_a_row_of_a_killed_process_goes(tmp_path: Path, rest: str) -> None:
    append_round(tmp_path, row(1, 1.0))
    with (tmp_path / "rounds.jsonl").open("a") as file:
        file.write(rest)
    append_round(tmp_path, row(2, 2.0))
    assert read_rounds(tmp_path, {"status": "ok"}) == [row(1, 1.0), row(2, 2.0)]


# The driver, with programs of milliseconds in the place of training and measuring.
PROGRAM = """
import json, pathlib, sys
program, name, place, number = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]), sys.argv[4]
log = place.parent.parent / "turns"
if program == "experiments.train":
    result = {"status": "ok", "error": None, "loss_nats": 1.5, "step_seconds": 9.0}
    (place / "result.json").write_text(json.dumps(result))
    sys.exit()
with log.open("a") as f:
    print(name + number, file=f)
if name == "dies":
    sys.exit("OSError: no more memory")
row = {"round": int(number), "step_seconds": 2.0 if name == "b" else 1.0, "waited_share": 0.0,
       "step_seconds_q1": 1.0, "step_seconds_q3": 1.0, "n_repeats": 5, "wall_seconds": 0.1}
with (place / "rounds.jsonl").open("a") as f:
    print(json.dumps(row), file=f)
"""


@pytest.fixture
def timed_study(
    study_of: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Study]:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)

    def command(cell: Cell) -> list[str]:
        first = cell.overrides[0].removeprefix("--round=")
        words = [cell.program, cell.name, str(cell.directory), first]
        return [sys.executable, str(script), *words]

    monkeypatch.setattr(Cell, "command", command)
    monkeypatch.setattr(driver, "POLL_SECONDS", 0.02)
    return lambda *names, **values: study_of(*names, **{"timed": True} | values)


def turns_of(study: Study) -> list[str]:
    path = study.directory / "turns"
    return path.read_text().split() if path.exists() else []


def test_run_measures_in_rounds_once_and_then_nothing_again(
    timed_study: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    study = timed_study("a", "b")
    assert main(["run", "./mine.yaml"]) == 0
    assert turns_of(study) == [f"{name}{n}" for n in range(1, FEWEST_ROUNDS + 1) for name in "ab"]
    assert "b seed=0: round 3, 2.00 s/step" in capsys.readouterr().out
    assert main(["run", "./mine.yaml"]) == 0
    assert len(turns_of(study)) == 2 * FEWEST_ROUNDS
    assert "round" not in capsys.readouterr().out.replace("rounds of", "")
    table = load_results(study).set_index("train")
    assert list(table["step_seconds"]) == [1.0, 2.0] and list(table["n_rounds"]) == [3, 3]


def test_rounds_that_a_killed_driver_left_are_kept(timed_study: Callable[..., Study]) -> None:
    study = timed_study("a", "b")
    assert main(["run", "./mine.yaml"]) == 0
    path = study.cells[1].directory / "rounds.jsonl"
    path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines()[:1]))
    (study.directory / "turns").unlink()
    assert main(["run", "./mine.yaml"]) == 0
    assert turns_of(study) == ["b2", "b3"]


def test_a_round_that_fails_is_recorded_and_retried_only_when_asked(
    timed_study: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    study = timed_study("a", "dies")
    assert main(["run", "./mine.yaml"]) == 1
    assert "dies seed=0: round 1 failed: OSError: no more memory, log in" in capsys.readouterr().out
    n_turns = len(turns_of(study))
    assert turns_of(study).count("dies1") == 1
    assert main(["run", "./mine.yaml"]) == 0 and len(turns_of(study)) == n_turns
    assert main(["run", "./mine.yaml", "--retry"]) == 1
    assert turns_of(study).count("dies1") == 2


def test_cells_of_several_processes_are_timed_as_they_train(
    timed_study: Callable[..., Study],
) -> None:
    study = timed_study("a", "b", base=["trainer=ddp", "trainer.devices=2"])
    assert main(["run", "./mine.yaml"]) == 0 and turns_of(study) == []
    table = load_results(study)
    assert list(table["step_seconds"]) == [9.0, 9.0] and table["n_rounds"].isna().all()


def test_a_study_that_is_not_timed_has_no_rounds(timed_study: Callable[..., Study]) -> None:
    study = timed_study("a", "b", timed=False)
    assert main(["run", "./mine.yaml"]) == 0 and turns_of(study) == []


@pytest.mark.parametrize("option", ["--round-minutes", "--until-quiet"])
@pytest.mark.parametrize("minutes", ["-1", "inf", "nan"])
def test_minutes_are_numbers(
    timed_study: Callable[..., Study], option: str, minutes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    timed_study("a")
    assert main(["run", "./mine.yaml", option, minutes]) == 2
    assert f"{option} must be a number of minutes" in capsys.readouterr().err


STAT = "cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 2 3\n"


@pytest.mark.parametrize(
    ("before", "after", "share"),
    [
        ((0, 0), (50, 150), 0.25),
        ((9, 9), (9, 109), 0.0),
        ((0, 0), (7, 0), 1.0),
        ((1, 1), (1, 1), 0),
    ],
)
def test_busy_share_of_made_up_ticks(
    before: tuple[int, int], after: tuple[int, int], share: float
) -> None:
    texts = (STAT.format(busy=busy, idle=idle) for busy, idle in (before, after))
    assert busy_share(*texts) == share


def test_until_quiet_waits_for_its_minutes_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat, lines, ticks = tmp_path / "stat", [], [0, 0]
    stat.write_text(STAT.format(busy=0, idle=0))

    def sleep(seconds: float) -> None:
        ticks[0 if busy else 1] += 100
        stat.write_text(STAT.format(busy=ticks[0], idle=ticks[1]))

    monkeypatch.setattr(quiet_module.time, "sleep", sleep)
    busy, wait = True, QuietWait(0.1, stat)
    wait.wait(Stop(), lines.append)
    assert wait.seconds_waited == 6.0 and "100 % busy" in lines[0] and "going on" in lines[1]
    busy, quiet = False, QuietWait(0.1, stat)
    quiet.wait(Stop(), lines.append)
    assert quiet.seconds_waited == 0 and len(lines) == 2
    with pytest.raises(ConfigError, match="--until-quiet reads"):
        QuietWait(1.0, tmp_path / "none")


def test_a_round_of_a_cell_that_trains_is_a_training_step_of_its_config(tmp_path: Path) -> None:
    small = ["experiment=smoke", "model.n_layers=1", "benchmark.seconds=0.01", "trainer.threads=1"]
    overrides = [*small, f"out_dir={tmp_path}"]
    for number in (1, 2):
        assert measure_round.main([f"--round={number}", *overrides]) == 0
    rows = [json.loads(line) for line in (tmp_path / "rounds.jsonl").read_text().splitlines()]
    assert [each["round"] for each in rows] == [1, 2] and rows[0]["n_repeats"] >= 5
    assert 0 < rows[0]["step_seconds_q1"] <= rows[0]["step_seconds"]
    assert read_rounds(tmp_path, {"status": "ok"}) == rows
    assert read_rounds(tmp_path, {"status": "failed"}) == []


def test_a_round_that_raises_leaves_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("shapes do not fit\nmore")

    monkeypatch.setattr("experiments.benchmarking.timing.warm_works", fail)
    assert measure_round.main(["--round=4", "experiment=smoke", f"out_dir={tmp_path}"]) == 1
    line = json.loads((tmp_path / "rounds.jsonl").read_text())
    assert line["error"] == "RuntimeError: shapes do not fit" and line["round"] == 4


def test_the_base_of_a_ratio_is_the_first_variant_of_the_same_seed(
    study_of: Callable[..., Study],
) -> None:
    study = study_of("a", "b", seeds=[0, 1])
    labels = {str(cell): str(base) for cell, base in ratio_bases(study).items()}
    assert labels == {
        "a seed=0": "a seed=0", "a seed=1": "a seed=1",
        "b seed=0": "a seed=0", "b seed=1": "a seed=1",
    }  # fmt: skip


def test_the_run_of_a_benchmark_is_a_round_like_any_other(tmp_path: Path) -> None:
    """Its result.json says "error": null."""
    result = {"status": "ok", "error": None, "measure": "step", **row(1, 1.0)}
    rows = read_rounds(tmp_path, result)
    turn = next_turn({A: A}, {A: rows}, 60)
    assert turn is not None and (turn.cell, turn.number) == (A, 2)
