"""What is made for other programs: the old file or the new one, whole, whatever happens meanwhile."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from ablations.__main__ import main
from ablations.report.writers.csv_file import write_frame
from ablations.study import Study
from experiments.run_dir import durable
from fake_cells import until
from reformer_pl.config import ConfigError

N_ROWS = 3000  # of a table that takes long enough to be killed in


class Deadly:
    """A value at which its process is killed."""

    def __str__(self) -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        return ""


def frame(word: str) -> pd.DataFrame:
    return pd.DataFrame({"word": [word] * N_ROWS, "number": range(N_ROWS)})


@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
def test_a_process_that_is_killed_while_it_writes_leaves_the_old_table(
    suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"all.{suffix}"
    write_frame(frame("old"), path)
    old = path.read_bytes()
    for row in (0, N_ROWS // 2, N_ROWS - 1):
        child = os.fork()
        if child == 0:
            new = frame("new").astype({"word": object})
            new.loc[row, "word"] = Deadly()
            write_frame(new, path)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status)
        assert path.read_bytes() == old
    write_frame(frame("new"), path)
    assert pd.read_csv(path)["word"].eq("new").all() and os.listdir(tmp_path) == [path.name]


@pytest.fixture
def reported(study_of: Callable[..., Study], monkeypatch: pytest.MonkeyPatch) -> Iterator[Study]:
    from ablations.study.cell import Cell

    monkeypatch.setattr(
        Cell,
        "command",
        lambda cell: [
            "sh",
            "-c",
            f"cd '{cell.directory}' && "
            """echo '{"status": "ok", "error": null, "steps": 1, "loss_nats": 1.5}' > result.json""",
        ],
    )
    study = study_of("a", "b")
    assert main(["run", "./mine.yaml"]) == 0
    yield study


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


COMMANDS = {
    "report": ["report", "./mine.yaml"],
    "export": ["export", "./mine.yaml", "--out", "all.csv"],
    "compare": ["compare", "./mine.yaml", "./mine.yaml", "--out", "compared"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_leaves_every_old_file_and_no_rest(
    command: str,
    reported: Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main(COMMANDS[command]) == 0
    before, n_writes = files(Path.cwd()), 0

    def full(path: Path) -> None:
        nonlocal n_writes
        n_writes += 1
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "sync", full)
    capfd.readouterr()
    assert main(COMMANDS[command]) == 2
    printed = capfd.readouterr().err
    assert n_writes and "No space left on device" in printed and printed.count("\n") == 1
    assert files(Path.cwd()) == before


@pytest.mark.parametrize(
    "name", ["a.csv.GZ", "a.csv.bz2", "a.csv.xz", "a" * 245 + ".csv", "数" * 80]
)
def test_the_name_says_how_a_table_is_packed_and_its_mode_stays(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    write_frame(frame("old"), path)
    path.chmod(0o664)
    write_frame(frame("new"), path)
    kinds = {".GZ": "gzip", ".bz2": "bz2", ".xz": "xz"}
    assert pd.read_csv(path, compression=kinds.get(path.suffix))["word"].eq("new").all()
    assert path.stat().st_mode & 0o777 == 0o664
    content = path.read_bytes()
    write_frame(frame("new"), path)
    assert path.read_bytes() == content, "equal tables are equal bytes"


@pytest.mark.parametrize("suffix", ["zip", "tar", "zst"])
def test_a_packing_that_is_not_written_is_refused(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"end its name in \.csv"):
        write_frame(frame("new"), tmp_path / f"a.csv.{suffix}")
    assert os.listdir(tmp_path) == []


def test_a_link_stays_one_and_a_pipe_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "all.csv").symlink_to(tmp_path / "elsewhere" / "kept.csv")
    write_frame(frame("new"), tmp_path / "all.csv")
    assert (tmp_path / "all.csv").is_symlink()
    assert len(pd.read_csv(tmp_path / "elsewhere" / "kept.csv")) == N_ROWS
    reader, writer = os.pipe()
    durable.replace_text(Path(f"/dev/fd/{writer}"), "a table")
    assert os.read(reader, 100) == b"a table"


def test_what_dead_processes_left_goes_and_what_living_ones_write_stays(tmp_path: Path) -> None:
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    os.waitpid(dead, 0)
    names = [f"table.md.{dead}.partial", f"table.md.{os.getppid()}.partial", "table.md.my.partial"]
    for name in names:
        (tmp_path / name).touch()
    durable.replace_text(tmp_path / "table.md", "new")
    until(lambda: not (tmp_path / names[0]).exists(), seconds=1)
    assert sorted(os.listdir(tmp_path)) == sorted(["table.md", *names[1:]])
