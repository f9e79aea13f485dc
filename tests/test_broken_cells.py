"""One cell's broken files are its own failed row, and the sweep goes on."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ablations.__main__ import main
from ablations.launch.local import sweep
from ablations.study import Study
from ablations.study.cell import Cell
from experiments.compose import compose
from experiments.run_dir.files import config_text
from fake_cells import result

FINE = """echo '{"status": "ok", "error": null, "steps": 1, "loss_nats": 1.5}' > result.json"""
BREAKING = {  # what the cell itself does to its folder
    "removed": 'rm -r "$PWD"',
    "garbage": "echo '{' > result.json",
    "no-status": "echo '{}' > result.json",
    "of-text": """echo '{"status": "ok", "loss_nats": "low"}' > result.json""",
    "result-folder": "mkdir result.json",
    "log-folder": "rm log.txt; mkdir log.txt",
    "log-link": "rm log.txt; ln -s log.txt log.txt",
    "log-pipe": "rm log.txt; mkfifo log.txt",
    "metrics-folder": f"mkdir metrics.jsonl; {FINE}",
    "escapes": r"printf '\033]0;title\007\033[31mred\n'; exit 3",
}


@pytest.fixture
def broken(study_of: Callable[..., Study], monkeypatch: pytest.MonkeyPatch) -> Study:
    def command(cell: Cell) -> list[str]:
        script = BREAKING.get(cell.name, FINE)
        return ["sh", "-c", f'cd "{cell.directory}" && {script}']

    study = study_of(*BREAKING, "fine")
    monkeypatch.setattr(Cell, "command", command)
    return study


def test_what_a_cell_breaks_is_its_own_row(
    broken: Study, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "./mine.yaml"]) == 1
    output = capfd.readouterr().out
    assert "2 of 11 cells ok" in output and "Traceback" not in output and "\x1b" not in output
    assert "fine seed=0: ok" in output and "failed in 0:00, exit code 3: red" in output
    for name in ("garbage", "no-status", "of-text", "result-folder"):
        assert f"{name} seed=0: unreadable in" in output, output
    for command in (["status"], ["report"], ["run", "--dry-run"], ["run", "--retry"]):
        code = main([command[0], "./mine.yaml", *command[1:]])
        printed = capfd.readouterr()
        output = printed.out + printed.err
        assert code == (1 if "--retry" in command else 0), output
        assert "fine" in output or "--retry" in command, output
        assert "Traceback" not in output and "\x1b" not in output
    fine = next(cell for cell in broken.cells if cell.name == "fine")
    assert result(fine)["loss_nats"] == 1.5


@pytest.mark.parametrize("error", [OSError(98, "Address already in use"), OSError(24, "Too many")])
def test_no_free_port_is_the_row_of_one_cell(
    error: OSError,
    study_of: Callable[..., Study],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    axes = {"train": {"two": ["trainer.devices=2", "trainer.strategy=ddp"], "one": []}}
    study = study_of(axes=axes)
    monkeypatch.setattr(
        Cell, "command", lambda cell: ["sh", "-c", f"cd '{cell.directory}' && {FINE}"]
    )

    def no_port(taken: set[int]) -> int:
        raise error

    monkeypatch.setattr(sweep, "free_port", no_port)
    assert main(["run", "./mine.yaml"]) == 1
    output = capfd.readouterr().out
    assert f"two seed=0: failed to start: {error}" in output and "one seed=0: ok" in output
    assert not Path(study.cells[0].directory / "result.json").exists()


@pytest.mark.parametrize("end", ["kill -SEGV $$", "kill -ABRT $$", "exit 120"])
def test_a_crash_after_the_work_is_done_takes_nothing_back(
    end: str,
    study_of: Callable[..., Study],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A library that fails while its process ends, with the result, or the last evaluation, there."""
    overrides = ["model.lsh.n_hashes=8"]
    scored = f"""{{"name": "LSH-8", "overrides": {json.dumps(overrides)}, "accuracy": 0.5}}"""
    write = f"mkdir -p evaluations; echo '{scored}' > evaluations/LSH-8.json"
    study = study_of(
        axes={"train": {"whole": [], "unscored": ["optim.warmup_steps=1"]}},
        evaluations={"LSH-8": overrides},
    )

    def command(cell: Cell) -> list[str]:
        done = f"{write}; {FINE}" if cell.name == "whole" else FINE
        return ["sh", "-c", f"cd '{cell.directory}' && {done}; {end}"]

    monkeypatch.setattr(Cell, "command", command)
    assert main(["run", "./mine.yaml"]) == 1
    output = capfd.readouterr().out
    assert "whole seed=0: ok in" in output and "its process then ended with" in output
    assert "unscored seed=0: trained, but an evaluation failed" in output
    assert "1 of 2 cells ok" in output and len(study.cells) == 2


def test_only_what_retry_would_run_is_promised_to_it(
    study_of: Callable[..., Study],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A trained cell without its checkpoint gains no evaluation: the line says why."""
    monkeypatch.setattr(
        Cell, "command", lambda cell: ["sh", "-c", f"cd '{cell.directory}' && {FINE}"]
    )
    study_of("trained")
    assert main(["run", "./mine.yaml"]) == 0
    study = study_of("trained", evaluations={"LSH-8": ["model.lsh.n_hashes=8"]})
    (cell,) = study.cells
    (cell.directory / "config.yaml").write_text(config_text(compose(cell.overrides)))
    capfd.readouterr()
    for command in (["run"], ["run", "--retry"]):
        assert main([command[0], "./mine.yaml", *command[1:]]) == 1
        output = capfd.readouterr().out
        assert "last.ckpt is not there" in output and "--retry" not in output, output
    (cell.directory / "result.json").write_text("[1]")
    assert main(["run", "./mine.yaml"]) == 1
    output = capfd.readouterr().out
    assert "move it away" in output and "--retry" not in output, output
