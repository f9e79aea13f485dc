"""Output is never a reason to die: closed terminals, readers that end, full disks, poor encodings."""

import contextlib
import fcntl
import io
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ablations.__main__ import main
from ablations.launch.local import progress
from ablations.study import Study
from experiments import train
from experiments.log import Output
from fake_cells import ROOT, pids, result
from processes import exit_code, start, wait_until

SMALL_RUN = [
    *("experiment=smoke", "model.d_model=16", "model.d_ff=16", "task.batch_size=2"),
    *("task.eval_sequences=2", "trainer.max_steps=2", "trainer.eval_every_steps=1"),
    *("trainer.threads=1", "trainer.accelerator=cpu"),
]  # fmt: skip
BROKEN = ("reader that ended", "terminal that closed", "full disk", "closed stdout")


@contextlib.contextmanager
def broken(what: str) -> Iterator[io.TextIOWrapper]:
    """A stream whose every write fails as `what` does."""
    match what:
        case "reader that ended":
            reader, number = os.pipe()
            os.close(reader)
        case "terminal that closed":
            master, number = pty.openpty()
            os.close(master)
        case "full disk":
            number = os.open("/dev/full", os.O_WRONLY)
        case _:
            reader, number = os.pipe()
            os.close(reader)
    stream = os.fdopen(number, "w", encoding="utf-8", closefd=False)
    if what == "closed stdout":
        stream.close()
    yield stream
    os.close(number)


@pytest.mark.parametrize("what", BROKEN)
def test_a_sweep_goes_on_when_nobody_reads_it(
    study_of: Callable[..., Study], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(progress, "HEARTBEAT_SECONDS", 0)
    study = study_of("hangs", "fails", "fine")
    with broken(what) as out, broken(what) as err:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        assert main(["run", "./mine.yaml", "--parallel", "2", "--timeout", "1.5"]) == 1
        assert main(["run", "./nowhere.yaml"]) == 2
    assert (study.cells[0].directory / "saved").exists(), "killed without a checkpoint"
    assert [result(cell)["status"] for cell in study.cells] == ["timeout", "failed", "ok"]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_label_that_the_encoding_lacks_is_escaped(
    study_of: Callable[..., Study], monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    study_of("数据", "Ünï→")
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    for command in ("run", "status", "report"):
        assert main([command, "./mine.yaml"]) == 0
    assert sys.stdout.errors == "strict", "the stream of a caller stays as it was"
    assert rb"\u6570\u636e seed=0: ok" in written.getvalue()


def in_a_terminal(*arguments: str) -> tuple[subprocess.Popen[bytes], int]:
    """A driver that leads the session of a terminal, and the terminal's other side."""
    master, slave = pty.openpty()

    def child() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    process = subprocess.Popen(
        [sys.executable, "driver.py", *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        preexec_fn=child,
    )
    os.close(slave)
    return process, master


def test_a_closed_terminal_saves_as_ctrl_c_does(study_of: Callable[..., Study]) -> None:
    """SIGHUP comes with the EIO, and a second one from the shell: it is no second Ctrl-C."""
    study = study_of("hangs", "hangs-too", "fine")
    process, master = in_a_terminal("run", "./mine.yaml", "--parallel", "2")
    for cell in study.cells[:2]:
        pids(cell)
    os.close(master)
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 128 + signal.SIGHUP
    assert [(cell.directory / "saved").exists() for cell in study.cells] == [True, True, False]
    (study.directory / "go").touch()
    assert main(["run", "./mine.yaml"]) == 0


def test_a_driver_that_fails_lets_its_cells_save(
    study_of: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of("hangs")

    def fails(*_: object) -> None:
        if (study.cells[0].directory / "pids").exists():
            raise MemoryError("of the driver")

    monkeypatch.setattr(progress.Progress, "show", fails)
    with pytest.raises(MemoryError):
        main(["run", "./mine.yaml"])
    assert (study.cells[0].directory / "saved").exists()


@pytest.mark.parametrize("what", BROKEN)
def test_a_run_goes_on_when_nobody_reads_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str
) -> None:
    """Its progress bar, too, for which the stream is a terminal."""
    with broken(what) as out, broken(what) as err:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        monkeypatch.setattr(Output, "isatty", lambda self: True, raising=False)
        assert train.main([*SMALL_RUN, f"out_dir={tmp_path / 'run'}"]) == 0
        assert train.main([*SMALL_RUN, f"out_dir={tmp_path / 'run'}"]) == 0  # already done
        assert train.main([*SMALL_RUN, "model.n_heads=3"]) == 2
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "training for 2 steps" in log and "step 2/2: held out" in log and "ok: loss" in log


@pytest.mark.parametrize("when", ["alone", "twice", "after Ctrl-C"])
def test_a_hang_up_saves_a_run(tmp_path: Path, when: str) -> None:
    place = tmp_path / "run"
    arguments = [*SMALL_RUN, f"out_dir={place}", "trainer.max_steps=100000"]
    process = start("experiments.train", arguments, tmp_path / "printed.txt")
    assert process.pid is not None
    wait_until(lambda: (place / "metrics.jsonl").exists())
    first = signal.SIGINT if when == "after Ctrl-C" else signal.SIGHUP
    os.kill(process.pid, first)
    if when != "alone":
        wait_until(lambda: "interrupted: saving" in (tmp_path / "printed.txt").read_text())
        os.kill(process.pid, signal.SIGHUP)
    assert exit_code(process, 60) == 130
    assert "the same command resumes" in (tmp_path / "printed.txt").read_text()
    assert (place / "checkpoints" / "last.ckpt").exists() and not (place / "result.json").exists()


SHOWN = {
    "help": ["ablations", "run", "--help"],
    "dry run": ["ablations", "run", "smoke", "--dry-run"],
    "config": ["experiments.train", "experiment=smoke", "--cfg", "job"],
}


@pytest.mark.parametrize("what", SHOWN)
@pytest.mark.parametrize("out", ["reader", "disk"])
def test_a_command_that_shows_ends_with_its_reader(tmp_path: Path, what: str, out: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    full = os.open("/dev/full", os.O_WRONLY)
    done = subprocess.run(
        [sys.executable, "-m", *SHOWN[what]],
        cwd=ROOT,
        stdout=writer if out == "reader" else full,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    os.close(full)
    if out == "reader":
        assert (done.returncode, done.stderr) == (141, "")
    else:
        error = "error: the output cannot be written: No space left on device\n"
        assert (done.returncode, done.stderr) == (2, error)


@pytest.mark.parametrize("command", ["plan", "status", "report", "export", "compare"])
def test_every_reader_of_a_study_ends_with_its_reader(
    study_of: Callable[..., Study],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    command: str,
) -> None:
    study_of("fine", "other")
    assert main(["run", "./mine.yaml"]) == 0
    capfd.readouterr()
    arguments = {"export": ["--out", "all.csv"], "compare": ["./mine.yaml"]}.get(command, [])
    for what, code in (("reader that ended", 141), ("full disk", 2)):
        with broken(what) as out:
            monkeypatch.setattr(sys, "stdout", out)
            with pytest.raises(SystemExit) as end:
                main([command, "./mine.yaml", *arguments])
        assert end.value.code == code
        error = capfd.readouterr().err
        assert error.count("\n") == (code == 2) and "Traceback" not in error


def test_an_export_into_a_pipe_ends_with_its_reader(study_of: Callable[..., Study]) -> None:
    study_of("fine")
    assert main(["run", "./mine.yaml"]) == 0
    with broken("reader that ended") as out:
        assert main(["export", "./mine.yaml", "--out", f"/dev/fd/{out.fileno()}"]) == 141


@pytest.mark.parametrize("closed", ["1", "2", "12"])
def test_closed_streams_are_no_files(study_of: Callable[..., Study], closed: str) -> None:
    """Without stdout, the next file that is opened would be number 1, and be printed into."""
    study = study_of("fine")
    closing = " ".join(f"{number}>&-" for number in closed)
    command = f'exec "$0" driver.py run ./mine.yaml {closing}'
    done = subprocess.run(["bash", "-c", command, sys.executable], capture_output=True)
    assert done.returncode == 0 and result(study.cells[0])["status"] == "ok"
    lock = (study.directory / ".lock").read_text()
    assert lock.isdecimal(), "the driver printed into its lock"
