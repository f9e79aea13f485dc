"""A run stops at the first evaluation whose loss is not finite, and no file holds a bare NaN."""

import json
from pathlib import Path

import pytest
import torch

from experiments import evaluate, train
from experiments.run_dir.files import METRICS, RESULT, checkpoint_path, json_text
from reformer_pl.module import LitSequenceModel

RUN = [
    "experiment=smoke", "model.n_layers=1", "trainer.max_steps=6", "trainer.eval_every_steps=2",
    "trainer.log_every_steps=2", "trainer.loggers=[]", "trainer.threads=1",
]  # fmt: skip


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_run_fails_at_the_first_evaluation_that_is_not_finite(
    value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = LitSequenceModel.validation_step

    def broken(self: LitSequenceModel, batch: object, index: int) -> None:
        if self.global_step == 4:
            with torch.no_grad():
                self.model.head.bias[0] = value
        whole(self, batch, index)

    monkeypatch.setattr(LitSequenceModel, "validation_step", broken)
    assert train.main([*RUN, f"out_dir={tmp_path}"]) == 1
    done = json.loads((tmp_path / RESULT).read_text())
    assert done["status"] == "failed" and "at step 4: lower optim.lr" in done["error"]
    rows = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert [row["step"] for row in rows if row["split"] == "valid"] == [2]
    assert "NaN" not in (tmp_path / METRICS).read_text()


def test_an_evaluation_of_broken_weights_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main([*RUN, f"out_dir={tmp_path}"]) == 0
    path = checkpoint_path(tmp_path)
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["state_dict"]["model.head.bias"][3] = float("nan")
    torch.save(checkpoint, path)
    capsys.readouterr()
    assert evaluate.main([str(tmp_path)]) == 1
    assert "error: the held-out loss_nats is nan" in capsys.readouterr().err
    assert not (tmp_path / "evaluations").exists()


def test_the_one_json_writer_leaves_null_wherever_a_number_is_not_finite() -> None:
    values = {"a": float("nan"), "b": [1.5, float("inf"), {"c": -float("inf")}], "d": (2, "NaN")}
    assert json.loads(json_text(values)) == {
        "a": None,
        "b": [1.5, None, {"c": None}],
        "d": [2, "NaN"],
    }
