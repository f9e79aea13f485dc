"""`export --to`: which runs are sent, and what is refused. What a tracker is sent is tested with training."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from ablations.__main__ import main
from ablations.study import Study


def test_runs_that_ended_well_are_sent(
    study_of: Callable[..., Study],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sent: list[tuple[Path, str, str, str]] = []
    stub = ModuleType("experiments.training.export_run")
    stub.send_run = lambda directory, study, cell, to: sent.append((directory, study, cell, to))
    monkeypatch.setitem(sys.modules, stub.__name__, stub)
    study = study_of("fine", "fails")
    assert main(["export", "./mine.yaml", "--to", "wandb"]) == 2 and not sent
    assert "there is none to send" in capsys.readouterr().err
    assert main(["run", "./mine.yaml"]) == 1
    capsys.readouterr()
    assert main(["export", "./mine.yaml", "--to", "wandb"]) == 0
    assert sent == [(study.cells[0].directory, "mine", "fine seed=0", "wandb")]
    assert capsys.readouterr().out == "1 runs sent to wandb\n"


@pytest.mark.parametrize("options", [[], ["--to", "mlflow", "--out", "a.csv"]])
def test_a_file_or_a_tracker(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["export", "smoke", *options])
    assert ended.value.code == 2
    assert "--out" in capsys.readouterr().err
