"""What is asked of SLURM, without one: sbatch, squeue and scontrol are small scripts here. make test-slurm has the real one."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ablations.__main__ import main
from ablations.launch import jobs as launch_jobs
from ablations.launch import run as launch_run
from ablations.launch.options import Options
from ablations.launch.slurm import launcher as slurm_launcher
from ablations.launch.slurm.queue import read_jobs
from ablations.launch.slurm.settings import Slurm, load_slurm
from ablations.study import Study
from ablations.study.cell import Cell
from experiments.compose import CONFIG_DIR
from fake_cells import result
from reformer_pl.config import ConfigError

EXAMPLE = CONFIG_DIR / "launcher" / "slurm.yaml"
SBATCH = """#!/bin/sh
test -e refuse && grep -q "$(cat refuse)" "$1" && { echo 'sbatch: error: invalid partition specified' >&2; exit 1; }
n=$(($(cat submitted 2>/dev/null || echo 100) + 1))
echo $n > submitted
cp "$1" script.$n
test -e timeout && { echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1; }
echo "Submitted batch job $n"
"""
SQUEUE = """#!/bin/sh
echo "$@" >> squeue.calls
test -e squeue.error && { cat squeue.error >&2; exit 1; }
cat queue 2>/dev/null || true
"""
SCONTROL = "#!/bin/sh\necho 'MaxArraySize            = 3'\n"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The commands of a cluster on PATH, whose arrays have at most 3 cells."""
    for name, script in {
        "sbatch": SBATCH,
        "squeue": SQUEUE,
        "scontrol": SCONTROL,
        "srun": "#!/bin/sh\n",
    }.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(script)
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path


def queue(**states: tuple[Cell, str, str]) -> None:
    """What squeue says: name=(cell, state, reason)."""
    lines = []
    for cell, state, reason in states.values():
        record = json.loads((cell.directory / "slurm.json").read_text())
        task = "N/A" if record["task"] is None else record["task"]
        lines.append(
            f"{record['name']}|{task}|{state}|{int(state == 'PENDING' and reason == 'BeginTime')}|{reason}|\n"
        )
    Path("queue").write_text("".join(lines))


def script(number: int) -> dict[str, str]:
    """The options of a submitted script, and its command."""
    text = Path(f"script.{number}").read_text()
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", text, re.M))
    return options | {
        "command": next(line for line in text.splitlines() if line.startswith("srun ")),
        "text": text,
    }


def submit(*arguments: str) -> int:
    return main(["run", "./mine.yaml", "--launcher", "slurm", *arguments])


# the YAML


def test_the_shipped_example_loads_and_every_word_reaches_sbatch(
    cluster: Path, study_of: Callable[..., Study]
) -> None:
    example = load_slurm(EXAMPLE)
    assert yaml.safe_load(EXAMPLE.read_text()).keys() == set(Slurm.__dataclass_fields__)
    study = study_of("a", "b", base=["trainer.accelerator=cpu"])
    assert submit("--slurm", str(EXAMPLE)) == 0
    found = script(101)
    assert {key: found[key] for key in ("partition", "account", "nodes", "gpus-per-node", "cpus-per-task", "mem", "time", "qos")} == {
        "partition": "gpu", "account": "my_project", "nodes": "1", "gpus-per-node": "1", "cpus-per-task": "8", "mem": "32G",
        "time": "240", "qos": "normal",
    }  # fmt: skip
    assert (
        found["signal"] == f"USR1@{example.save_seconds}"
        and found["array"] == "0-1%2"
        and "--cpus-per-task=8" in found["command"]
    )
    assert "\nulimit -n 4096\n" in found["text"] and "requeue" in found
    assert sorted(path.name for path in study.directory.iterdir()) == [".lock", ".slurm", "a", "b"]


def test_without_a_yaml_only_the_shape_of_a_cell_reaches_sbatch(
    cluster: Path, study_of: Callable[..., Study]
) -> None:
    study_of("a", "b", "c")
    assert submit() == 0
    said = script(101)
    ours = {
        "array",
        "job-name",
        "nodes",
        "ntasks-per-node",
        "open-mode",
        "output",
        "requeue",
        "signal",
    }
    assert said.keys() - {"command", "text"} == ours
    assert (
        said["array"] == "0-2%3"
        and re.fullmatch(r"mine\.[0-9a-f]{8}", said["job-name"])
        and "# setup" not in said["text"]
    )


REFUSED = {
    "no mapping": ("[gpu]", "must be a mapping with the keys partition, account, "),
    "no YAML": ("{a: ", "is not readable YAML: "),
    "a typing error": ("partitoin: gpu", "unknown key partitoin: choose partition, account, nodes"),
    "a word for a number": ("nodes: two", "nodes must be a whole number of at least 1, not 'two'"),
    "nothing for a number": ("time: 0", "time must be a whole number of at least 1, not 0"),
    "true for a number": ("gpus: true", "gpus must be a whole number"),
    "half a GPU": ("gpus: 0.5", "gpus must be a whole number"),
    "no time at all": ("save_seconds: null", "save_seconds must be a whole number"),
    "a number for a word": ("account: 12", "account must be a word, not 12"),
    "one line for several": ("setup: module load cuda", "setup must be a list of shell lines"),
    "what a cell is": ("sbatch: {ntasks_per_node: 3}", "sbatch must be without ntasks_per_node"),
    "a key of our own": (
        "sbatch: {mem: 4G}",
        "sbatch must be without mem: give memory_gib beside it",
    ),
    "a job that is over before it trains": (
        "{time: 3, save_seconds: 120}",
        "save_seconds: 120: give time: 4 or more",
    ),
    "a list for a word": ("sbatch: {qos: [a]}", "sbatch must be a mapping"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_yaml_that_cannot_be_is_refused_in_one_line(
    what: str, cluster: Path, study_of: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_of("a")
    text, reason = REFUSED[what]
    Path("cluster.yaml").write_text(text)
    assert submit("--slurm", "cluster.yaml") == 2
    said = capsys.readouterr()
    assert reason in said.err and said.err.count("\n") == 1 and said.out == ""
    assert not study.directory.exists() and not Path("submitted").exists()


def test_a_missing_yaml_is_named(
    cluster: Path, study_of: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    study_of("a")
    assert submit("--slurm", "nowhere.yaml") == 2
    assert (
        capsys.readouterr().err
        == "error: --slurm nowhere.yaml cannot be read: No such file or directory\n"
    )


MIXED = {
    "--parallel": (["--launcher", "slurm", "--parallel", "2"], "--parallel is of --launcher local"),
    "--gpus": (["--launcher", "slurm", "--gpus", "0"], "--gpus is of --launcher local"),
    "--timeout": (["--launcher", "slurm", "--timeout", "9"], "--timeout is of --launcher local"),
    "--slurm": (["--slurm", "x.yaml"], "--slurm is of --launcher slurm"),
    "--wait": (["--wait"], "--wait is of --launcher slurm"),
}


@pytest.mark.parametrize("option", MIXED)
def test_the_options_of_the_two_launchers_do_not_mix(
    option: str, cluster: Path, study_of: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    study_of("a")
    arguments, reason = MIXED[option]
    assert main(["run", "./mine.yaml", *arguments]) == 2
    said = capsys.readouterr().err
    assert reason in said and said.count("\n") == 1 and not Path("submitted").exists()


SHAPES: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "nodes that do not divide": (
        {"nodes": 2},
        ["trainer=ddp", "trainer.devices=3", "task.batch_size=6"],
        "nodes: 2 does not divide",
    ),
    "fewer processes than nodes": (
        {"nodes": 2},
        [],
        "trainer.devices=1, which nodes: 2 does not divide",
    ),
    "too few GPUs": (
        {"gpus": 1},
        ["trainer=ddp", "trainer.devices=2"],
        "2 processes on a node and gpus: 1: give gpus: 2",
    ),
}


@pytest.mark.parametrize("what", SHAPES)
def test_cells_that_do_not_fit_on_their_nodes_are_refused(
    what: str, cluster: Path, study_of: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    values, base, reason = SHAPES[what]
    study_of("a", base=base)
    Path("cluster.yaml").write_text(yaml.safe_dump(values))
    for more in ([], ["--dry-run"]):
        assert submit("--slurm", "cluster.yaml", *more) == 2
        said = capsys.readouterr().err
        assert reason in said and said.count("\n") == 1 and not Path("submitted").exists()


def test_a_timed_study_wants_nodes_of_its_own(
    cluster: Path, study_of: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    study_of("a", "b", timed=True)
    Path("cluster.yaml").write_text(
        "at_once: 1"
    )  # of each array: two studies are two, and other users have theirs
    Path("user.yaml").write_text("sbatch: {exclusive: user}")
    for asked in ([], ["--slurm", "cluster.yaml"], ["--slurm", "user.yaml"]):
        assert submit(*asked) == 2 and "sbatch: {exclusive: true}" in capsys.readouterr().err
    Path("cluster.yaml").write_text("sbatch: {exclusive: true}")
    assert submit("--slurm", "cluster.yaml") == 0, capsys.readouterr().err
    assert script(101)["array"] == "0-1%2" and "exclusive" in script(101)


def test_without_slurm_or_submitit_it_is_said(
    cluster: Path,
    study_of: Callable[..., Study],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study_of("a")
    monkeypatch.setattr(slurm_launcher, "find_spec", lambda name: None)
    assert submit() == 2 and "pip install -e '.[slurm]'" in capsys.readouterr().err
    (cluster / "bin" / "sbatch").unlink()
    monkeypatch.setenv("PATH", str(cluster / "bin"))
    assert submit() == 2 and "there is no sbatch here" in capsys.readouterr().err


# arrays


def test_one_sbatch_for_each_array_of_equal_cells(
    cluster: Path, study_of: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    """Five cells of one process and two of four on two nodes, where an array may have three."""
    names = [*"abcde", "pair", "other"]
    own = {name: ["trainer=ddp", f"optim.warmup_steps={i}"] for i, name in enumerate(names)}
    axes = {
        "train": {
            name: [*own[name], f"trainer.devices={2 if name in 'abcde' else 4}"] for name in names
        }
    }
    study = study_of("a", axes=axes)
    Path("cluster.yaml").write_text("{nodes: 2, at_once: 2}")
    assert submit("--slurm", "cluster.yaml") == 0
    said = capsys.readouterr().out
    assert (
        "mine: 7 cells, 0 already done, 0 with SLURM, 7 to submit" in said
        and "scancel 101 102 103 ends them" in said
    )
    assert [(script(n)["array"], script(n)["ntasks-per-node"], script(n)["nodes"]) for n in (101, 102, 103)] == [
        ("0-2%2", "1", "2"), ("0-1%2", "1", "2"), ("0-1%2", "2", "2"),
    ]  # fmt: skip
    assert Path("submitted").read_text().strip() == "103"
    records = [json.loads((cell.directory / "slurm.json").read_text()) for cell in study.cells]
    assert [record["job"] for record in records] == [
        "101_0",
        "101_1",
        "101_2",
        "102_0",
        "102_1",
        "103_0",
        "103_1",
    ]
    assert [record["name"] for record in records[:3]] == 3 * [script(101)["job-name"]]


def test_what_sbatch_refuses_keeps_its_result_and_may_be_submitted_again(
    cluster: Path, study_of: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_of("fails", "fine")
    assert main(["run", "./mine.yaml"]) == 1
    before = (study.cells[0].directory / "result.json").read_bytes()
    Path("refuse").touch()
    capsys.readouterr()
    assert submit("--retry") == 2
    assert "sbatch refuses: sbatch: error: invalid partition specified" in capsys.readouterr().err
    assert (study.cells[0].directory / "result.json").read_bytes() == before
    Path("refuse").unlink()
    assert submit("--retry") == 0 and Path("submitted").read_text().strip() == "101"


def test_of_two_arrays_one_may_be_refused(
    cluster: Path, study_of: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    """What was submitted before is named, and left alone when the same command is typed again."""
    study_of(axes={"train": {"a": [], "pair": ["trainer=ddp", "trainer.devices=2"]}})
    Path("refuse").write_text("ntasks-per-node=2")
    assert submit() == 2
    said = capsys.readouterr()
    assert (
        "sbatch refuses: " in said.err
        and "the jobs before it run: scancel 101 ends them" in said.err
    )
    Path("refuse").unlink()
    record = json.loads(Path("runs/mine/a/seed=0/slurm.json").read_text())
    Path("queue").write_text(f"{record['name']}|N/A|RUNNING|0|None|\n")
    assert submit() == 0 and "1 with SLURM, 1 to submit" in capsys.readouterr().out


def test_a_job_that_sbatch_took_and_denied_is_not_submitted_twice(
    cluster: Path, study_of: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_of("a")
    Path("timeout").touch()
    assert submit() == 2 and "Socket timed out" in capsys.readouterr().err
    Path("timeout").unlink()
    queue(a=(study.cells[0], "RUNNING", "None"))
    assert submit() == 0 and "1 with SLURM, 0 to submit" in capsys.readouterr().out
    assert Path("submitted").read_text().strip() == "101"


def test_another_user_s_job_is_not_judged_by_what_squeue_shows(
    cluster: Path, study_of: Callable[..., Study]
) -> None:
    study = study_of("a")
    assert submit() == 0
    path = study.cells[0].directory / "slurm.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"user": os.getuid() + 1}))
    assert [job.state for job in read_jobs(study.cells).values()] == ["unknown"]
    assert (
        main(["status", "./mine.yaml"]) == 0
        and not (study.cells[0].directory / "result.json").exists()
    )


def test_what_is_done_is_done_where_squeue_does_not_answer(
    cluster: Path, study_of: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_of("fine")
    assert main(["run", "./mine.yaml"]) == 0
    assert submit("--force") == 0
    (study.cells[0].directory / "result.json").write_text('{"status": "ok"}')
    Path("squeue.error").touch()
    capsys.readouterr()
    assert (
        main(["run", "./mine.yaml"]) == 0 and "1 already done, 0 to run" in capsys.readouterr().out
    )


def test_a_directory_that_cannot_be_written_is_told_before_anything_is_submitted(
    cluster: Path, study_of: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_of("fine", "barred")
    study.directory.mkdir(parents=True)
    (study.directory / "barred").write_text("a file where the cell's directory should be")
    assert submit() == 2
    said = capsys.readouterr().err
    assert "study mine: cannot be written: " in said and "barred" in said and said.count("\n") == 1
    assert not Path("submitted").exists() and not list(study.directory.rglob("slurm.json"))


# the queue


def test_cells_are_submitted_once_and_judged_by_the_queue(
    cluster: Path, study_of: Callable[..., Study], capfd: pytest.CaptureFixture[str]
) -> None:
    study = study_of("waits", "runs", "again", "cancelled", "forgotten", "memory")
    waits, runs, again, cancelled, forgotten, memory = study.cells
    assert submit() == 0
    (runs.directory / "log.txt").write_text("training\n")
    (runs.directory / "metrics.jsonl").write_text(
        json.dumps({"split": "train", "step": 20, "loss_nats": 1.5, "seconds": 2.0}) + "\n"
    )
    (cancelled.directory / "log.txt").write_text("training\nstopped: the same command resumes\n")
    queue(
        a=(waits, "PENDING", "JobHeldUser"), b=(runs, "RUNNING", "None"), c=(again, "PENDING", "BeginTime"),
        d=(cancelled, "CANCELLED", "None"), e=(memory, "OUT_OF_MEMORY", "OutOfMemory"),
    )  # fmt: skip
    capfd.readouterr()
    assert submit("--dry-run") == 0
    said = capfd.readouterr().out
    assert (
        "waits seed=0: skip (it is queued as SLURM job 101_0: JobHeldUser)" in said
        and "runs seed=0: skip (it is running as " in said
    )
    assert "cancelled seed=0: skip (failed, --retry runs it again)" in said
    assert not list(study.directory.rglob("result.json"))

    Path("squeue.calls").unlink()
    assert submit() == 1, "not all is well"
    said = capfd.readouterr().out
    assert "mine: 6 cells, 0 already done, 3 with SLURM, 0 to submit" in said
    assert (
        "not ok: cancelled seed=0 (failed), forgotten seed=0 (failed), memory seed=0 (oom); --retry submits them again"
        in said
    )
    assert (
        len(Path("squeue.calls").read_text().splitlines()) == 1
        and Path("submitted").read_text().strip() == "102"
    )
    assert (
        result(cancelled)["error"]
        == "SLURM job 102_0 ended without a result (CANCELLED): stopped: the same command resumes"
    )
    assert (result(cancelled)["status"], result(memory)["status"]) == ("failed", "oom")
    assert (result(forgotten)["status"], result(forgotten)["error"]) == (
        "failed",
        "SLURM job 102_1 ended without a result",
    )

    assert main(["status", "./mine.yaml"]) == 0
    said = capfd.readouterr().out
    assert (
        "1 queued, 1 running, 1 requeued, 2 failed, 1 oom" in said
        and "waits seed=0: queued as SLURM job 101_0: JobHeldUser" in said
    )
    assert "scancel 101 ends what SLURM has of it" in said and "20/1000" in said

    assert main(["run", "./mine.yaml"]) == 2
    said = capfd.readouterr().err
    assert (
        main(["run", "./mine.yaml", "--dry-run"]) == 2 and capfd.readouterr().err == said
    )  # as it would be
    assert (
        "waits seed=0 is queued as SLURM job 101_0: JobHeldUser: wait for it, or scancel 101_0 before it runs here"
        in said
    )
    assert submit("--force") == 2 and "before starting over" in capfd.readouterr().err
    assert submit("--retry") == 0 and "3 with SLURM, 3 to submit" in capfd.readouterr().out
    assert (
        not (cancelled.directory / "result.json").exists()
        and (waits.directory / "slurm.json").exists()
    )


def test_a_result_that_comes_after_the_queue_was_asked_stays(
    cluster: Path, study_of: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of("late")
    assert submit() == 0
    (cell,) = study.cells
    write_failure = launch_jobs.write_failure

    def late(*arguments: Any, **more: Any) -> None:
        (cell.directory / "result.json").write_text('{"status": "ok"}')
        write_failure(*arguments, **more)

    monkeypatch.setattr(launch_jobs, "write_failure", late)
    launch_jobs.settle(study.cells)
    assert result(cell) == {"status": "ok"} and not list(study.directory.rglob("*.partial"))


def test_nothing_is_judged_while_the_queue_does_not_answer(
    cluster: Path,
    study_of: Callable[..., Study],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    study = study_of("a")
    assert submit() == 0
    Path("squeue.error").write_text("slurm_load_jobs error: Unable to contact slurm controller\n")
    capfd.readouterr()
    for launcher in ("slurm", "local"):
        assert main(["run", "./mine.yaml", "--launcher", launcher]) == 2
        said = capfd.readouterr().err
        assert (
            "nobody knows whether it still runs (slurm_load_jobs error: Unable to contact" in said
            and said.count("\n") == 1
        )
    assert main(["status", "./mine.yaml"]) == 0 and "1 unknown" in capfd.readouterr().out
    monkeypatch.setenv("PATH", "/nowhere")
    assert (
        main(["status", "./mine.yaml"]) == 0 and "there is no squeue here" in capfd.readouterr().out
    )
    assert not (study.cells[0].directory / "result.json").exists()


def test_a_driver_that_died_before_or_after_sbatch_loses_nothing_and_doubles_nothing(
    cluster: Path, study_of: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_of("a", "b")
    assert submit() == 0
    path = study.cells[0].directory / "slurm.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"job": None})
    )  # as it stands before sbatch has answered
    queue(a=(study.cells[0], "RUNNING", "None"), b=(study.cells[1], "RUNNING", "None"))
    capsys.readouterr()
    assert submit() == 0 and "2 with SLURM, 0 to submit" in capsys.readouterr().out
    queue(b=(study.cells[1], "RUNNING", "None"))
    assert submit() == 0 and "1 with SLURM, 1 to submit" in capsys.readouterr().out


def test_a_cell_that_slurm_lost_can_be_run_here(
    cluster: Path, study_of: Callable[..., Study]
) -> None:
    study = study_of("fine")
    assert submit() == 0
    assert main(["run", "./mine.yaml"]) == 1 and result(study.cells[0])["status"] == "failed"
    assert main(["run", "./mine.yaml", "--retry"]) == 0
    assert read_jobs(study.cells) == {}


def test_waiting_ends_with_the_last_cell_and_ctrl_c_cancels_nothing(
    cluster: Path,
    study_of: Callable[..., Study],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = study_of("a", "b")
    asleep = 0

    def sleep(seconds: float) -> None:
        nonlocal asleep
        asleep += 1
        if asleep == 2:
            raise KeyboardInterrupt
        for cell in study.cells[: asleep // 2]:
            (cell.directory / "result.json").write_text('{"status": "ok"}')
        queue(
            **{
                cell.name: (cell, "COMPLETED" if asleep > 3 else "RUNNING", "None")
                for cell in study.cells
            }
        )

    Path("queue").write_text("")
    monkeypatch.setattr(
        launch_run.time, "sleep", lambda seconds: None
    )  # submitit's, between two submissions
    launch_run.run([study], Options(), slurm_launcher.OnSlurm())
    queue(**{cell.name: (cell, "PENDING", "Priority") for cell in study.cells})
    monkeypatch.setattr(launch_run.time, "sleep", sleep)
    capsys.readouterr()
    assert launch_run.wait([study]) == 130
    said = capsys.readouterr().out
    assert (
        "2 queued" in said
        and "2 running" in said
        and said.endswith("the jobs go on; scancel 101 ends them\n")
    )
    assert launch_run.wait([study]) == 0
    assert capsys.readouterr().out.rstrip().endswith("2 ok")


def test_words_for_one_cell_on_gpus() -> None:
    study = Slurm(gpus=4).words(4)
    assert (study["gpus_per_node"], study["ntasks_per_node"], study["nodes"]) == (4, 4, 1)
    with pytest.raises(ConfigError):
        load_slurm(Path("/nowhere"))
