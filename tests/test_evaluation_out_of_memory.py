"""A trained model that is out of memory in an evaluation stays trained, and the others are made."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from experiments import train
from experiments.training import fit
from reformer_pl.module import LitSequenceModel

NAMES = ["LSH-1", "LSH-8", "Full"]
RUN = [
    "experiment=smoke", "trainer.accelerator=cpu", "trainer.threads=1", "trainer.max_steps=1",
    "trainer.loggers=[]", "task.eval_sequences=2", "model.attention=lsh",
    "+evaluations={LSH-1:['model.lsh.n_hashes=1'],LSH-8:['model.lsh.n_hashes=8'],"
    "Full:['model.attention=shared_full']}",
]  # fmt: skip
ALLOC_FAILED = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception, *names: str) -> None:
    """These evaluations raise in their first batch."""
    step = LitSequenceModel.validation_step

    def validation_step(module: LitSequenceModel, batch: object, index: int) -> None:
        model = module.config.model
        name = "Full" if model.attention == "shared_full" else f"LSH-{model.lsh.n_hashes}"
        if name in names:
            raise error
        step(module, batch, index)

    monkeypatch.setattr(LitSequenceModel, "validation_step", validation_step)


def made(directory: Path) -> list[str]:
    return sorted(path.stem for path in (directory / "evaluations").glob("*.json"))


@pytest.mark.parametrize(
    ("error", "names"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), ["Full"]),
        (RuntimeError(ALLOC_FAILED), ["LSH-1", "Full"]),
    ],
    ids=["the last", "two"],
)
def test_the_training_result_stays_and_the_same_command_makes_what_is_missing(
    error: Exception,
    names: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    arguments = [*RUN, f"out_dir={tmp_path}"]
    with monkeypatch.context() as patch:
        failing(patch, error, *names)
        assert train.main(arguments) == 1
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["status"] == "ok" and result["error"] is None and result["steps"] == 1
    assert result["accuracy"] is not None and result["finished_at"]
    assert made(tmp_path) == sorted(set(NAMES) - set(names))
    log = capfd.readouterr().err.splitlines()
    assert log[-1] == f"an evaluation failed: {type(error).__name__}: {error}"
    assert [line.split(":")[0] for line in log if line.startswith("evaluation ")] == [
        f"evaluation {name}" for name in names
    ]
    assert train.main(arguments) == 0
    assert made(tmp_path) == sorted(NAMES)
    assert json.loads((tmp_path / "result.json").read_text()) == result


def test_an_evaluation_that_fails_otherwise_is_a_failure_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, RuntimeError("shapes do not fit"), "Full")
    assert train.main([*RUN, f"out_dir={tmp_path}"]) == 1
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "failed"


@pytest.mark.parametrize("first", [True, False])
def test_of_several_ranks_the_one_that_is_out_of_memory_leaves_the_result(
    first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be any, for the others wait for it and are ended."""
    from experiments.run_dir import outcome

    monkeypatch.setattr(outcome, "first_rank", lambda: first)

    def work() -> None:
        raise outcome.NotEvaluated({"status": "ok", "error": None, "steps": 3}) from MemoryError()

    assert outcome.record(work, tmp_path, {})["status"] == "ok"
    assert json.loads((tmp_path / "result.json").read_text())["steps"] == 3


def test_several_processes_go_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def score(*arguments: object) -> Callable[[], None]:
        asked.append("once")
        raise MemoryError

    monkeypatch.setattr(fit, "score", score)
    monkeypatch.setattr(fit, "load_weights", lambda *arguments: None)
    monkeypatch.setattr(fit, "LitSequenceModel", lambda *arguments: None)
    config = type("C", (), {"task": None})
    monkeypatch.setattr(fit, "load_named_evaluation", lambda *arguments: config)
    for world_size, times in ((1, 3), (2, 1)):
        asked.clear()
        trainer = type("T", (), {"world_size": world_size})
        data = type("D", (), {"vocab_size": 3})
        left_out = fit.evaluate(trainer, config, data, {}, Path(), NAMES)
        assert isinstance(left_out, MemoryError) and len(asked) == times
