"""What `run` does with each cell under each mode, and that --dry-run says the same and does nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from ablations.__main__ import main
from ablations.study import Study, compose_cells
from ablations.study.cell import Cell
from fake_cells import begun, driver, pids, result
from reformer_pl.config import to_dict

NAMES = ("fine", "fails", "half", "young", "fresh")


def leave(cell: Cell, study: Study, **changed: float) -> None:
    """The config.yaml that a real cell leaves, with other values for some keys of optim."""
    values = json.loads(json.dumps(to_dict(compose_cells(study)[study.cells.index(cell)])))
    values["optim"] |= changed
    cell.directory.mkdir(parents=True, exist_ok=True)
    (cell.directory / "config.yaml").write_text(yaml.safe_dump(values))


def dry_run(capfd: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict[str, str]]:
    """The exit code, and what is said of each cell."""
    capfd.readouterr()
    code = main(["run", "./mine.yaml", "--dry-run", *more])
    lines = capfd.readouterr().out.splitlines()[1:]
    return code, {line.split()[0]: line.split(": ", 1)[1] for line in lines}


def files(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_dry_run_says_what_would_happen_and_does_nothing(
    study_of: Callable[..., Study], capfd: pytest.CaptureFixture[str]
) -> None:
    study = study_of(*NAMES)
    fine, fails, half, young, *_ = study.cells
    assert dry_run(capfd) == (0, dict.fromkeys(NAMES, "run"))
    assert not study.directory.parent.exists()
    for cell in (half, young):  # killed, with and without a checkpoint
        leave(cell, study)
        (cell.directory / "metrics.jsonl").write_text("")
    (half.directory / "checkpoints").mkdir()
    torch.save(
        {"state_dict": {"w": torch.ones(3)}, "global_step": 40},
        half.directory / "checkpoints" / "last.ckpt",
    )
    study_of("fine", "fails")
    assert main(["run", "./mine.yaml"]) == 1
    study_of(*NAMES, evaluations={"LSH-8": ["model.lsh.n_hashes=8"]})
    assert dry_run(capfd)[1]["fine"] == "evaluate (trained, without LSH-8)"
    study_of(*NAMES)
    before = files(study.directory)
    expected = {
        "fine": "skip (ok)",
        "fails": "skip (failed, --retry runs it again)",
        "half": "resume from step 40 of 1000",
        "young": "resume from the start, for it left no checkpoint",
        "fresh": "run",
    }
    assert dry_run(capfd) == (0, expected)
    assert dry_run(capfd, "--retry") == (
        0,
        expected | {"fails": "retry (failed) from the start, for it left no checkpoint"},
    )
    over = "start over, and keep what is there as seed=0.before-TIME"
    assert dry_run(capfd, "--force") == (0, dict.fromkeys(expected, over) | {"fresh": "run"})
    code, said = dry_run(capfd, "--memory-limit", "0.000001")
    assert code == 0 and said["fine"] == "skip (ok)"
    assert all(
        said[name].startswith("refuse (predicted to need ") for name in ("half", "young", "fresh")
    )

    leave(half, study, lr=0.5)
    code, said = dry_run(capfd)
    assert code == 2 and said == expected | {
        "half": "refuse, for its config changed: optim.lr 0.5 -> 0.001"
    }
    (half.directory / "checkpoints" / "last.ckpt").write_bytes(b"hello")
    leave(half, study)
    assert "refused as corrupt" in dry_run(capfd)[1]["half"]
    before |= {path: path.read_bytes() for path in before if path.is_relative_to(half.directory)}
    assert files(study.directory) == before and begun(fails) == 1 and begun(fine) == 1


def test_a_dry_run_beside_a_running_driver(
    study_of: Callable[..., Study], capfd: pytest.CaptureFixture[str]
) -> None:
    study = study_of("hangs", "fine")
    running = driver("run", "./mine.yaml")
    pids(study.cells[0])
    assert dry_run(capfd) == (0, {"hangs": "skip (it is running now)", "fine": "run"})
    running.terminate()  # not kill: that would leave the cell's child, which ignores SIGINT
    running.communicate()


def test_force_starts_over_and_loses_nothing(
    study_of: Callable[..., Study], capfd: pytest.CaptureFixture[str]
) -> None:
    study = study_of("fine", "fails", "fresh")
    fine, fails, fresh = study.cells
    assert main(["run", "./mine.yaml"]) == 1
    before = files(study.directory)
    leave(fine, study, lr=0.5)  # a changed config is what one starts over for
    (study.directory / "go").touch()
    assert (
        main(["run", "./mine.yaml"]) == 2
        and "start all cells over with --force" in capfd.readouterr().err
    )
    assert main(["run", "./mine.yaml", "--force", "--parallel", "3"]) == 0
    assert all(begun(cell) == 1 and result(cell)["status"] == "ok" for cell in study.cells)
    kept = {path: data for path, data in files(study.directory).items() if ".before-" in str(path)}
    assert len({path.parent for path in kept}) == 3 and {path.parent.parent for path in kept} == {
        c.directory.parent for c in study.cells
    }
    for path, data in before.items():
        if path.parent in (fine.directory, fails.directory, fresh.directory):
            (moved,) = [
                other
                for other in kept
                if other.parent.parent == path.parent.parent and other.name == path.name
            ]
            assert kept[moved] == data


def test_force_keeps_what_a_memory_limit_refuses(study_of: Callable[..., Study]) -> None:
    study = study_of("fine")
    assert main(["run", "./mine.yaml"]) == 0
    assert main(["run", "./mine.yaml", "--force", "--memory-limit", "0.000001"]) == 1
    assert result(study.cells[0])["status"] == "would_not_fit"
    (kept,) = study.cells[0].directory.parent.glob("seed=0.before-*")
    assert json.loads((kept / "result.json").read_text())["status"] == "ok"


def test_force_and_retry_exclude_each_other(
    study_of: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    study_of("fine")
    with pytest.raises(SystemExit) as ended:
        main(["run", "./mine.yaml", "--force", "--retry"])
    assert ended.value.code == 2 and "not allowed with" in capsys.readouterr().err
