"""The promise of the runner, kept with real training: a study whose driver is SIGKILLed in the middle, twice, ends in the same table."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import pandas as pd
import yaml

from ablations.report.parts.train_eval import score_table
from ablations.report.writers.markdown import markdown
from ablations.result_columns import COSTS
from ablations.results import load_cells, load_results
from ablations.study import Study, load_study
from ablations.study.cell import Cell
from fake_cells import ROOT
from processes import exit_code, rows, timeless, wait_until
from warm import start_command

STEPS = 30
PATIENCE = 900  # seconds, on a machine that is busy with other work
STUDY = {
    "base": [
        *("experiment=smoke", "model.d_model=16", "model.d_ff=16", "task.batch_size=4", "task.eval_sequences=4", "optim.lr=0.01"),
        *(f"trainer.max_steps={STEPS}", "trainer.eval_every_steps=3", "trainer.log_every_steps=2"),
        *("trainer.threads=1", "trainer.accelerator=cpu"),
    ],
    "axes": {
        "train": {
            "LSH": ["model.attention=lsh"],
            "LSH, reversible": ["model.attention=lsh", "model.residual=reversible", "model.dropout=0.1"],
            "LSH, counted": ["model.attention=lsh", "model.lsh.dedupe=false"],
            "Local, LSH": ["model.attention=local lsh"],
        },
        "model.lsh.n_hashes": [1, 2, 4],
    },
    "seeds": [0, 1],
    "evaluations": {"LSH-8": ["model.lsh.n_hashes=8"]},
    "report": ["train_eval", "learning_curves"],
}  # fmt: skip


@contextmanager
def running(path: Path, study: Study) -> Iterator[BaseProcess]:
    """A driver, which does not outlive its test."""
    place = study.directory.parent
    place.mkdir(exist_ok=True)
    arguments = ["run", str(path), "--parallel", "2", "--runs-dir", str(place)]
    driver = start_command(["-m", "ablations", *arguments], ROOT, place / "driver.txt")
    try:
        yield driver
    finally:
        driver.kill()
        driver.join()


def done(study: Study) -> list[Cell]:
    return [cell for cell in study.cells if (cell.directory / "result.json").exists()]


def half_trained(study: Study) -> list[Cell]:
    """The cells that have saved a checkpoint and are not yet half way through: one that runs does so for a while yet."""
    ended = set(done(study))
    saved = [
        cell
        for cell in study.cells
        if cell not in ended and (cell.directory / "checkpoints/last.ckpt").exists()
    ]
    return [cell for cell in saved if rows(cell.directory)[-1]["step"] < STEPS / 2]


def processes_of(study: Study) -> list[str]:
    """Those, zombies without, that write into a file below the study's runs directory."""
    outputs = []
    for path in Path("/proc").glob("[0-9]*/fd/1"):
        try:
            outputs.append(os.readlink(path))
        except OSError:  # it has ended, or is somebody else's
            continue
    return [output for output in outputs if output.startswith(f"{study.directory.parent}/")]


def kill_in_the_middle(path: Path, study: Study, at_least_done: int) -> dict[Cell, str]:
    """Run the study until so many cells are done and another one trains, SIGKILL the driver, and return what the cells it hit had said."""
    while True:
        with running(path, study) as driver:
            wait_until(lambda: len(done(study)) >= at_least_done and half_trained(study), PATIENCE)
            assert len(processes_of(study)) >= 2, "the driver and a cell are not seen"
            driver.kill()
            assert exit_code(driver) == -signal.SIGKILL, "the study had ended"
        wait_until(lambda: not processes_of(study))
        hit = {cell: (cell.directory / "log.txt").read_text() for cell in half_trained(study)}
        if hit:  # else this process slept while that cell ran to its end
            return hit


def test_a_study_of_24_cells_survives_two_sigkills_of_its_driver(tmp_path: Path) -> None:
    """4 variants x 3 rounds x 2 seeds. Cells die with the driver and resume from their last checkpoint; those that are done stay so."""
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(STUDY, sort_keys=False))
    study, whole = (load_study(path, tmp_path / name) for name in ("killed", "undisturbed"))
    assert len(study.cells) == 24

    hit, finished = [], {}
    for at_least in (0, 9):
        hit.append(kill_in_the_middle(path, study, at_least))
        finished |= {
            cell: (cell.directory / "log.txt").read_bytes()
            for cell in done(study)
            if cell not in finished
        }
    assert 9 <= len(finished) < 24 and not hit[1].keys() & finished.keys()
    for one in (study, whole):
        with running(path, one) as driver:
            assert exit_code(driver, PATIENCE) == 0
    assert not processes_of(study) and not processes_of(whole)

    for cell, log in finished.items():
        assert (cell.directory / "log.txt").read_bytes() == log, (
            f"{cell} was done, and was started again"
        )
    for cell, log in [pair for cells in hit for pair in cells.items()]:
        said = (cell.directory / "log.txt").read_text()
        assert said.startswith(log) and re.search(
            rf"training from step \d+ of {STEPS}", said.removeprefix(log)
        ), f"{cell} did not resume"
    for cell, other in zip(study.cells, whole.cells, strict=True):
        steps = [(row["step"], row["split"]) for row in rows(cell.directory)]
        assert len(set(steps)) == len(steps) and max(steps)[0] == STEPS, (
            f"{cell} trained a step twice, or not at all"
        )
        assert list(map(timeless, rows(cell.directory))) == list(
            map(timeless, rows(other.directory))
        )
        assert "training from" not in (other.directory / "log.txt").read_text()

    ours, theirs = (
        load_results(one).drop(columns=[*COSTS, "finished_at", "directory"])
        for one in (study, whole)
    )
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    assert set(ours["status"]) == {"ok"} and ours["loss_nats"].nunique() > 20, (
        "or the cells would not tell one run from another"
    )
    assert table(study) == table(whole)


def table(study: Study) -> str:
    return markdown(score_table(study, load_cells(study)))
