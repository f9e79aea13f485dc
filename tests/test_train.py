"""One run under real faults: killed, interrupted, fed nonsense, out of memory.

The same command always ends with the same numbers.
"""

import errno
import io
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from experiments import evaluate, train
from experiments.compose import compose
from experiments.run_dir import lock
from processes import PATIENCE_SECONDS, Fault, exit_code, result, rows, start, timeless, wait_until
from reformer_pl.module import LitSequenceModel, held_out_seed
from reformer_pl.tasks import build_task

SMOKE = ["experiment=smoke", "trainer.accelerator=cpu", "trainer.threads=1"]
STEPS = [
    "trainer.max_steps=14",
    "trainer.eval_every_steps=4",
    "trainer.log_every_steps=2",
]  # evaluated after steps 4, 8, 12 and 14
RUN = [
    *SMOKE,
    *STEPS,
    "model.residual=reversible",
    "model.dropout=0.1",
    "+evaluations={Full:['model.attention=shared_full']}",
]
BATCH_END = ("experiments.training.callbacks", "MetricsFile.on_train_batch_end")
KEYS = {
    "status", "error", "steps", "loss_nats", "accuracy", "bits_per_dim", "keys_per_token", "peak_memory_gib",
    "step_seconds", "tokens_per_second", "parameters", "train_seconds", "startup_seconds",
    "sessions", "closing_seconds", "n_timed_steps", "step_seconds_q1", "step_seconds_q3", "waited_share",
    "involuntary_switches", "device_is_shared", "baseline", "count_models", "device", "threads", "versions", "git_commit", "finished_at",
}  # fmt: skip
NUMBERS = (
    "steps",
    "loss_nats",
    "accuracy",
    "bits_per_dim",
    "peak_memory_gib",
    "step_seconds",
    "tokens_per_second",
    "parameters",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbs."""
    directory = tmp_path_factory.mktemp("whole")
    assert train.main([*RUN, f"out_dir={directory}"]) == 0
    return directory


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def assert_same_run(one: Path, two: Path, train_rows: bool = True) -> None:
    """Bit for bit, times aside."""
    assert timeless(result(one)) == timeless(result(two))
    assert (one / "evaluations" / "Full.json").read_bytes() == (
        two / "evaluations" / "Full.json"
    ).read_bytes()
    for split in ("valid", "train") if train_rows else ("valid",):
        assert [timeless(row) for row in rows(one, split)] == [
            timeless(row) for row in rows(two, split)
        ]
    assert [row["step"] for row in rows(one, "valid")] == [4, 8, 12, 14]
    assert [row["step"] for row in rows(one, "train")] == [2, 4, 6, 8, 10, 12, 14]
    seconds = [row["seconds"] for row in rows(one)]
    assert seconds == sorted(seconds)
    a, b = weights(one), weights(two)
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    assert not list(one.rglob("*.partial"))


KILLS = {
    "before any checkpoint": (*BATCH_END, 3),
    "just after a checkpoint": (*BATCH_END, 5),
    "in the middle": (*BATCH_END, 11),
    "between a row and its checkpoint": (
        "experiments.training.callbacks",
        "Checkpoints.on_validation_end",
        2,
    ),
    "while a checkpoint is replaced": ("experiments.training.callbacks", "os.replace", 2),
    "in the evaluations at the end": ("experiments.training.fit", "score", 2),
    "before the result": ("experiments.run_dir.outcome", "write_result", 1),
}


@pytest.mark.parametrize("n_sequences", [17, 24])
def test_the_held_out_score_is_the_mean_over_tokens(n_sequences: int, tmp_path: Path) -> None:
    """The last of 17 sequences is a batch of its own, and counts as much as each of the others."""
    arguments = [
        *SMOKE,
        "trainer.precision=64-true",
        "trainer.max_steps=1",
        f"task.eval_sequences={n_sequences}",
        f"out_dir={tmp_path}",
    ]
    assert train.main(arguments) == 0
    config = compose(arguments)
    data = build_task(config)
    module = LitSequenceModel(config, data.vocab_size)
    module.load_state_dict(weights(tmp_path))
    with torch.no_grad():
        losses = [
            module.model.loss(*data.eval_batch(i), hash_seed=held_out_seed(0)) for i in range(3)
        ]
    nats, correct, tokens = (
        sum(float(each) for each in sums) for sums in zip(*losses, strict=True)
    )
    assert tokens == 15 * n_sequences
    done = result(tmp_path)
    assert done["loss_nats"] == pytest.approx(nats / tokens, rel=1e-6) and done[
        "accuracy"
    ] == pytest.approx(correct / tokens, rel=1e-6)
    assert done["bits_per_dim"] == pytest.approx(nats / tokens / math.log(2), rel=1e-6)


def test_a_row_has_the_rate_of_its_own_step(whole: Path) -> None:
    optim = compose(RUN).optim
    assert optim.warmup_steps > 4, "the rate changes"
    assert {row["step"]: row["lr"] for row in rows(whole, "train")} == {
        step: optim.lr * min(1.0, step / optim.warmup_steps) for step in range(2, 15, 2)
    }


def test_a_directory_has_one_run_at_a_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one is told, whoever started the first: here somebody pasted a cell's command."""
    monkeypatch.setattr(lock, "PATIENCE_SECONDS", 0.05)
    arguments = [*RUN, f"out_dir={tmp_path}"]
    with lock.locked(tmp_path):
        assert lock.is_running(tmp_path)
        assert train.main(arguments) == 2
        assert f"another process runs in {tmp_path}: wait for it, or stop it" in one_line(capsys)
        assert {path.name for path in tmp_path.iterdir()} == {"log.txt", ".owner"}, (
            "it wrote its config beside the other's results"
        )
    assert train.main([*arguments, "trainer.max_steps=1"]) == 0


@pytest.mark.parametrize("when", KILLS)
def test_a_killed_run_resumes_bit_for_bit(whole: Path, tmp_path: Path, when: str) -> None:
    arguments = [*RUN, f"out_dir={tmp_path}"]
    assert (
        exit_code(
            start(
                "experiments.train",
                arguments,
                tmp_path / "log.txt",
                (Fault(signal.SIGKILL, *KILLS[when]),),
            )
        )
        == -signal.SIGKILL
    )
    assert not (tmp_path / "result.json").exists()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 12, "spl')  # a row that the crash cut short
    assert train.main(arguments) == 0
    assert_same_run(tmp_path, whole)


@pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="looks for a stopped process in /proc"
)
def test_a_run_killed_from_outside_again_and_again_resumes_bit_for_bit(
    whole: Path, tmp_path: Path
) -> None:
    arguments = [*RUN, f"out_dir={tmp_path}"]
    for nth in (
        7,
        6,
    ):  # it stops itself in steps 7 and 10, each after a further checkpoint
        process = start(
            "experiments.train",
            arguments,
            tmp_path / "log.txt",
            (Fault(signal.SIGSTOP, *BATCH_END, nth),),
        )
        wait_until(
            lambda stat=Path(f"/proc/{process.pid}/stat"): (
                stat.read_text().rpartition(")")[2].split()[0] == "T"
            )
        )
        process.kill()
        assert exit_code(process) == -signal.SIGKILL
    assert not (tmp_path / "result.json").exists()
    assert train.main(arguments) == 0
    assert_same_run(tmp_path, whole)


CTRL_C = {
    "between evaluations": [(*BATCH_END, 7)],
    "before any checkpoint": [(*BATCH_END, 3)],
    "in the step before an evaluation": [(*BATCH_END, 8)],
    "in the last step": [(*BATCH_END, 14)],
    "in an evaluation": [("reformer_pl.module", "LitSequenceModel.validation_step", 3)],
    "in the evaluations at the end": [
        ("reformer_pl.module", "LitSequenceModel.validation_step", 10)
    ],
    "before the result": [("experiments.run_dir.outcome", "write_result", 1)],
    "twice": [(*BATCH_END, 7), (*BATCH_END, 7)],
    "before it began": [("experiments.train", "claim_directory", 1)],
}


@pytest.mark.parametrize("when", CTRL_C)
def test_an_interrupted_run_resumes_bit_for_bit(whole: Path, tmp_path: Path, when: str) -> None:
    arguments = [*RUN, f"out_dir={tmp_path}"]
    faults = tuple(Fault(signal.SIGINT, *place) for place in CTRL_C[when])
    assert exit_code(start("experiments.train", arguments, tmp_path / "log.txt", faults)) == 130, (
        tmp_path / "log.txt"
    ).read_text()
    said = (tmp_path / "log.txt").read_text()
    assert "resumes" in said and "Traceback" not in said
    assert not (tmp_path / "result.json").exists()
    if when in ("between evaluations", "before any checkpoint"):
        step = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
        assert step == CTRL_C[when][0][2]  # no step is lost
    assert train.main(arguments) == 0
    assert_same_run(
        tmp_path, whole, train_rows=when not in ("between evaluations", "before any checkpoint")
    )


def test_ctrl_c_on_the_command_line(whole: Path, tmp_path: Path) -> None:
    arguments = [*RUN, f"out_dir={tmp_path}"]
    command = [sys.executable, "-m", "experiments.train", *arguments]
    with (tmp_path / "log.txt").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until(lambda: rows(tmp_path, "valid"))
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) == 130
    finally:
        process.kill()
    assert not (tmp_path / "result.json").exists()
    assert train.main(arguments) == 0
    assert_same_run(tmp_path, whole, train_rows=False)


def test_a_run_in_float64_resumes_bit_for_bit(tmp_path: Path) -> None:
    arguments = [*SMOKE, *STEPS, "trainer.precision=64-true"]
    assert train.main([*arguments, f"out_dir={tmp_path / 'one'}"]) == 0
    arguments.append(f"out_dir={tmp_path / 'two'}")
    (tmp_path / "two").mkdir()
    faults = (Fault(signal.SIGINT, *BATCH_END, 7),)
    assert exit_code(start("experiments.train", arguments, tmp_path / "log.txt", faults)) == 130
    assert train.main(arguments) == 0
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one["model.head.weight"].dtype == torch.float64
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_result_has_every_key_and_a_log(whole: Path) -> None:
    assert "step 4/14: held out" in (whole / "log.txt").read_text()
    done = result(whole)
    assert done.keys() == KEYS
    assert (done["status"], done["error"], done["steps"]) == ("ok", None, 14)
    assert all(
        isinstance(done[name], int | float) and done[name] > 0
        for name in NUMBERS
        if name != "accuracy"
    )
    assert done["baseline"].keys() == {"name", "loss_nats", "bits_per_dim", "accuracy"}
    assert done["loss_nats"] == rows(whole, "valid")[-1]["loss_nats"]
    assert done["bits_per_dim"] == pytest.approx(done["loss_nats"] / math.log(2))
    assert rows(whole, "train")[-1]["tokens"] == 14 * 8 * 32


def test_a_finished_run_is_not_trained_again(
    whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    assert train.main([*RUN, f"out_dir={whole}"]) == 0
    said = capsys.readouterr().out
    assert "already done" in said and f"loss_nats {result(whole)['loss_nats']:.4g}" in said
    assert before == {path: path.stat().st_mtime_ns for path in whole.rglob("*")}


def test_a_finished_run_gains_an_evaluation_without_training(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "run"
    shutil.copytree(whole, directory)
    kept = {
        path: path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name not in ("config.yaml", "log.txt")
    }
    more = "+evaluations={Full:['model.attention=shared_full'],LSH-8:['model.lsh.n_hashes=8']}"
    assert train.main([*RUN[:-1], more, f"out_dir={directory}"]) == 0
    assert "already done" in capsys.readouterr().out
    made = json.loads((directory / "evaluations" / "LSH-8.json").read_text())
    scores = {name: value for name, value in made.items() if name not in ("name", "overrides")}
    assert scores == evaluate.evaluate(whole, ["model.lsh.n_hashes=8"])
    assert (
        kept.items()
        <= {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}.items()
    )
    assert (
        train.main([*RUN[:-1], more.replace("=8", "=4"), f"out_dir={directory}"]) == 0
    )  # made again under other overrides
    assert json.loads((directory / "evaluations" / "LSH-8.json").read_text())["overrides"] == [
        "model.lsh.n_hashes=4"
    ]


def test_an_evaluation_repeats_and_leaves_the_result_alone(
    whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (whole / "result.json").read_bytes()
    said = set()
    for _ in range(2):
        assert evaluate.main([str(whole), "model.lsh.n_hashes=4"]) == 0
        said.add(capsys.readouterr().out)
    assert len(said) == 1 and "loss_nats" in said.pop()
    scored = json.loads((whole / "evaluations" / "model.lsh.n_hashes=4.json").read_text())
    assert (scored["name"], scored["overrides"]) == (
        "model.lsh.n_hashes=4",
        ["model.lsh.n_hashes=4"],
    )
    assert (whole / "result.json").read_bytes() == before


def test_an_evaluation_in_the_run_equals_one_afterwards(whole: Path) -> None:
    own = evaluate.evaluate(whole, [])
    assert {name: own[name] for name in ("loss_nats", "accuracy", "bits_per_dim")} == {
        name: result(whole)[name] for name in ("loss_nats", "accuracy", "bits_per_dim")
    }
    within = json.loads((whole / "evaluations" / "Full.json").read_text())
    after = evaluate.evaluate(whole, ["model.attention=shared_full"])
    assert {name: within[name] for name in after} == after
    assert after["loss_nats"] != own["loss_nats"]


def test_shared_full_is_scored_as_lsh_but_full_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("shared_full", "full"):
        assert (
            train.main(
                [
                    *SMOKE,
                    "trainer.max_steps=2",
                    f"model.attention={kind}",
                    f"out_dir={tmp_path / kind}",
                ]
            )
            == 0
        )
    assert evaluate.main([str(tmp_path / "shared_full"), "model.attention=lsh"]) == 0
    capsys.readouterr()
    assert evaluate.main([str(tmp_path / "full"), "model.attention=lsh"]) == 2
    assert "an evaluation keeps the weights" in one_line(capsys)
    assert not (tmp_path / "full" / "evaluations").exists()


BAD = {
    "unknown key": (["model.n_hash=2"], "n_hash"),
    "unknown added key": (["+model.lsh.n_hash=2"], "n_hash"),
    "unknown word": (["model.residual=revers"], "reversible"),
    "unknown pattern": (["model.attention='local lhs'"], "shared_full"),
    "unknown preset": (["experiment=smok"], "smoke"),
    "wrong type": (["model.d_model=wide"], "d_model"),
    "heads that do not divide": (["model.n_heads=3"], "n_heads 3"),
    "odd buckets": (["model.lsh.n_buckets=3"], "even"),
    "an illegal mode": (["model.lsh.window=wrap"], "dedupe=false"),
    "rotary": (
        ["model.positions=rotary", "model.d_model=6", "model.n_heads=2"],
        "model.d_model / model.n_heads = 3 must be even",
    ),
    "axial": (["model.positions=axial", "model.axial.shape=[5,7]"], "not a multiple"),
    "evaluations": (["+evaluations={a:['model.lsh.n_hash=1']}"], "n_hash"),
    "an evaluation of other weights": (
        ["+evaluations={a:['model.attention=full']}"],
        "an evaluation keeps the weights",
    ),
    "missing data": (["task.name=enwik8", "task.source={tmp}/none"], "not a file"),
    "empty data": (["task.name=enwik8", "task.source={tmp}/empty"], "empty"),
    "short data": (["task.name=enwik8", "task.source={tmp}/short"], "longer file"),
    "a directory as data": (["task.name=enwik8", "task.source={tmp}"], "not a file"),
    "broken data": (["task.name=enwik8", "task.source={tmp}/broken.gz"], "fetch"),
    "too few GPUs": (
        ["trainer=ddp", "trainer.accelerator=gpu", "trainer.devices=64", "task.batch_size=64"],
        "cannot be had here",
    ),
    "below a file": (["out_dir={tmp}/short/run"], "out_dir"),
    "a file": (["out_dir={tmp}/short"], "out_dir"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    (tmp_path / "empty").touch()
    for name in ("short", "broken.gz"):
        (tmp_path / name).write_bytes(b"0123456789" * 6)
    overrides, reason = BAD[what]
    directory = tmp_path / "run"
    assert (
        train.main(
            [
                *SMOKE,
                f"out_dir={directory}",
                *(text.replace("{tmp}", str(tmp_path)) for text in overrides),
            ]
        )
        == 2
    )
    assert reason in one_line(capsys)
    assert not (directory / "result.json").exists() and not (directory / "metrics.jsonl").exists()
    assert (tmp_path / "short").read_bytes() == b"0123456789" * 6
    if directory.exists():  # the corrected command may use it
        assert train.main([*SMOKE, f"out_dir={directory}", "trainer.max_steps=1"]) == 0


def test_a_directory_of_another_run_is_refused_and_kept(
    whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    assert train.main([*RUN, f"out_dir={whole}", "model.dropout=0.2"]) == 2
    assert "model.dropout 0.1 -> 0.2" in one_line(capsys)
    assert before == {path: path.stat().st_mtime_ns for path in whole.rglob("*")}


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


CORRUPT: dict[str, Callable[[bytes], bytes]] = {
    "cut short": _cut,
    "empty": lambda data: b"",
    "text": lambda data: b"hello, world\n",
    "zeros": lambda data: bytes(len(data)),
    "another zip": lambda data: _saved([1, 2]),
    "weights alone": lambda data: _saved({"state_dict": {}}),
}


def _saved(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


@pytest.mark.parametrize("how", CORRUPT)
def test_a_corrupt_checkpoint_is_refused_and_kept(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    directory = tmp_path / "run"
    shutil.copytree(whole, directory)
    (directory / "result.json").unlink()
    path = directory / "checkpoints" / "last.ckpt"
    path.write_bytes(CORRUPT[how](path.read_bytes()))
    config = yaml.safe_load((whole / "config.yaml").read_text())
    (directory / "config.yaml").write_text(yaml.safe_dump({**config, "out_dir": str(directory)}))
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    for main, arguments in (
        (train.main, [*RUN, f"out_dir={directory}"]),
        (evaluate.main, [str(directory)]),
    ):
        assert main(arguments) == 2
        assert "last.ckpt" in (said := one_line(capsys)) and "train again" in said
    assert before == {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_evaluate_refuses_what_is_no_run(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main([str(tmp_path / "none")]) == 2
    assert "no run directory" in one_line(capsys)
    (tmp_path / "config.yaml").write_bytes((whole / "config.yaml").read_bytes())
    assert evaluate.main([str(tmp_path)]) == 2
    assert "train the run first" in one_line(capsys)
    for override, reason in (
        ("model.lsh.n_hash=2", "n_hash"),
        ("n_hashes", "key=value"),
        ("model.d_model=64", "whose shapes follow from model.d_model"),
        ("model.n_heads=4", "trained with model.n_heads="),
        ("model.residual=standard", "reversible layers have two streams"),
    ):
        assert evaluate.main([str(whole), override]) == 2
        assert reason in one_line(capsys)
    for text in ("{", "", "- 1"):
        (tmp_path / "config.yaml").write_text(text)
        assert evaluate.main([str(tmp_path)]) == 2
        assert "config.yaml" in one_line(capsys)


FAILING = {
    "not finite": (["optim.lr=1e30"], "failed", "optim.lr"),
    "not finite while memory is measured": (
        ["optim.lr=1e30", "optim.warmup_steps=0", "trainer.log_every_steps=2"],
        "failed",
        "optim.lr",
    ),
    "out of memory, weights": (
        ["model.d_ff=17592186044416"],
        "oom",
        "memory",
    ),  # more than any address space, refused at once
    "out of memory, a step": (["task.batch_size=17592186044416"], "oom", "memory"),
}


def test_a_run_that_diverges_after_its_last_row_is_not_ok(tmp_path: Path) -> None:
    diverging = [
        "optim.lr=1e30",
        "optim.warmup_steps=0",
        "trainer.max_steps=4",
    ]  # a row comes with every fifth step
    assert train.main([*SMOKE, *diverging, f"out_dir={tmp_path}"]) == 1
    assert (
        result(tmp_path)["status"] == "failed"
        and "the held-out loss_nats is nan" in result(tmp_path)["error"]
    )


@pytest.mark.parametrize("what", FAILING)
def test_a_failing_run_says_so_in_its_result(tmp_path: Path, what: str) -> None:
    overrides, status, reason = FAILING[what]
    for _ in range(2):  # the second time it fails again
        assert train.main([*SMOKE, *overrides, f"out_dir={tmp_path}"]) == 1
        done = result(tmp_path)
        assert (
            done.keys() >= KEYS - {"baseline", "count_models", "device", "threads", "sessions"}
            and done["status"] == status
            and reason in done["error"]
        )
        assert all(done[name] is None for name in NUMBERS)
        assert "\n" not in done["error"]
        assert (
            not torch.autograd._profiler_enabled()
        )  # or the process would end with a segmentation fault
    if status == "failed":  # Ctrl-C in a third try leaves no result
        faults = (Fault(signal.SIGINT, *BATCH_END),)
        assert (
            exit_code(
                start(
                    "experiments.train",
                    [*SMOKE, *overrides, f"out_dir={tmp_path}"],
                    tmp_path / "log.txt",
                    faults,
                )
            )
            == 130
        )
        assert not (tmp_path / "result.json").exists()


def test_a_full_disk_costs_no_checkpoint(whole: Path, tmp_path: Path) -> None:
    """The second checkpoint cannot be written; the first is whole.

    The run goes on from it once there is room.
    """
    arguments, log = [*RUN, f"out_dir={tmp_path}"], tmp_path / "log.txt"
    assert (
        exit_code(
            start("experiments.train", arguments, log, (Fault(signal.SIGKILL, *BATCH_END, 6),))
        )
        == -signal.SIGKILL
    )
    checkpoint = tmp_path / "checkpoints" / "last.ckpt"
    before = checkpoint.read_bytes()
    assert len(before) > 65536
    assert exit_code(start("experiments.train", arguments, log, file_bytes=65536)) == 1
    done = result(tmp_path)
    assert done["status"] == "failed" and done["error"].startswith(
        "OSError: [Errno 27] File too large"
    )
    assert checkpoint.read_bytes() == before
    assert train.main(arguments) == 0
    assert_same_run(tmp_path, whole)


def test_a_result_that_cannot_be_written_leaves_the_run_to_be_resumed(
    whole: Path, tmp_path: Path
) -> None:
    arguments, log = [*RUN, f"out_dir={tmp_path}"], tmp_path / "log.txt"
    fault = Fault(
        OSError(errno.ENOSPC, "No space left on device"),
        "experiments.run_dir.outcome",
        "write_result",
    )
    assert exit_code(start("experiments.train", arguments, log, (fault,))) == 1
    assert not (tmp_path / "result.json").exists() and "No space left on device" in log.read_text()
    assert train.main(arguments) == 0
    assert_same_run(tmp_path, whole)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What was said on stderr: one line, and nothing on stdout."""
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: ") and said.err.count("\n") == 1, said.err
    return said.err
