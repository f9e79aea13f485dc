"""Two processes train as one: the same numbers, one set of files, and no process left behind."""

import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from experiments import train
from experiments.compose import compose
from processes import (
    CONTEXT,
    Fault,
    exit_code,
    result,
    rows,
    start,
    timeless,
    wait_until,
)
from reformer_pl.model import SequenceModel
from reformer_pl.residual import ReversibleLayer
from reformer_pl.tasks import build_task
from warm import output_of, start_command

ROOT = Path(__file__).resolve().parent.parent
STEPS = [
    "trainer.max_steps=8",
    "trainer.eval_every_steps=3",
    "trainer.log_every_steps=2",
]  # evaluated after steps 3, 6 and 8
SMOKE = ["experiment=smoke", "trainer.accelerator=cpu", "trainer.threads=1"]
RUN = [*SMOKE, *STEPS, "model.residual=reversible"]
RUN += ["+evaluations={Full:['model.attention=shared_full']}"]
RUN += ["trainer.coverage_every_steps=4"]  # the first rank's work alone, for which the other waits
RUN += [
    "trainer.precision=64-true"
]  # in float32 a rounding may move a token to another bucket, and the runs part
DDP = ["trainer=ddp", "trainer.devices=2"]
BATCH_END = "MetricsFile.on_train_batch_end"
KINDS = {
    f"{residual}, {attention}": [f"model.residual={residual}", f"model.attention={attention}"]
    for residual in ("standard", "checkpoint", "reversible")
    for attention in ("lsh", "full")
} | {
    "chunks": [
        "model.residual=reversible",
        "model.merge=concat",
        "model.ff_chunks=4",
        "model.loss_chunks=4",
        "model.positions=axial",
    ]
}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def loss_of(kind: str) -> tuple[SequenceModel, tuple[torch.Tensor, torch.Tensor]]:
    """The same model and batch in every process."""
    config = compose(["experiment=smoke", *KINDS[kind]])
    task = build_task(config)
    torch.manual_seed(0)
    return SequenceModel(
        config.model, task.vocab_size, config.task.length
    ).double(), task.train_batch(0)


class Loss(torch.nn.Module):
    """DDP wraps a module's forward, so the loss is one."""

    def __init__(self, model: SequenceModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: torch.Tensor, scored: torch.Tensor) -> torch.Tensor:
        return self.model.loss(tokens, scored, hash_seed=7).mean()


def gradients_of_a_rank(rank: int, directory: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{directory}/rendezvous", rank=rank, world_size=2
    )
    for i, kind in enumerate(KINDS):
        model, (tokens, scored) = loss_of(kind)
        parallel = DistributedDataParallel(
            Loss(model), bucket_cap_mb=0.01
        )  # several buckets, as a large model has
        for _ in range(2):  # the second pass finds the buckets in the order in which gradients came
            parallel.zero_grad()
            parallel(tokens[rank::2], scored[rank::2]).backward()
        torch.save(
            {name: p.grad for name, p in model.named_parameters()}, directory / f"{i}-{rank}.pt"
        )
        del parallel  # before the process group, or the threads of gloo may never end
    dist.destroy_process_group()


def overlap_of_a_rank(rank: int, directory: Path) -> None:
    """Write down the order of events.

    They are: a layer's backward has ended, a bucket of gradients starts its all-reduce.
    """
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{directory}/rendezvous", rank=rank, world_size=2
    )
    config = compose(
        ["experiment=smoke", "model.residual=reversible", "model.attention=lsh", "model.n_layers=4"]
    )
    task = build_task(config)
    model = SequenceModel(config.model, task.vocab_size, config.task.length)
    layer_bytes = sum(p.nbytes for p in model.layers[0].parameters())
    parallel = DistributedDataParallel(Loss(model), bucket_cap_mb=layer_bytes / 2**20)
    events: list[str] = []

    def reduce(_: None, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        events.append("bucket")
        return allreduce_hook(dist.group.WORLD, bucket)

    parallel.register_comm_hook(None, reduce)
    backward = ReversibleLayer.backward

    def noted(ctx: Any, *grads: torch.Tensor) -> Any:
        gradients = backward(ctx, *grads)
        events.append(f"layer {ctx.depth}")
        return gradients

    ReversibleLayer.backward = staticmethod(noted)
    tokens, scored = task.train_batch(0)
    for _ in range(2):
        events.clear()
        parallel(tokens[rank::2], scored[rank::2]).backward()
    (directory / f"events-{rank}.json").write_text(json.dumps(events))
    del parallel
    dist.destroy_process_group()


def test_gradients_are_reduced_while_earlier_layers_run_backward(tmp_path: Path) -> None:
    ranks = [CONTEXT.Process(target=overlap_of_a_rank, args=(rank, tmp_path)) for rank in range(2)]
    for process in ranks:
        process.start()
    assert [exit_code(process) for process in ranks] == [0, 0]
    for rank in range(2):
        events = json.loads((tmp_path / f"events-{rank}.json").read_text())
        assert [event for event in events if event != "bucket"] == [
            "layer 3",
            "layer 2",
            "layer 1",
            "layer 0",
        ]
        before = events[: events.index("layer 0")].count("bucket")
        assert before >= 3 and before >= events.count("bucket") / 2, (
            events
        )  # at most a layer behind


def test_two_processes_have_the_gradients_of_one(tmp_path: Path) -> None:
    ranks = [
        CONTEXT.Process(target=gradients_of_a_rank, args=(rank, tmp_path)) for rank in range(2)
    ]
    for process in ranks:
        process.start()
    assert [exit_code(process) for process in ranks] == [0, 0]
    for i, kind in enumerate(KINDS):
        model, batch = loss_of(kind)
        Loss(model)(*batch).backward()
        for rank in range(2):
            found = torch.load(tmp_path / f"{i}-{rank}.pt")
            for name, parameter in model.named_parameters():
                assert parameter.grad is not None and parameter.grad.abs().max() > 0, (
                    f"{kind}: {name}"
                )
                assert torch.allclose(found[name], parameter.grad, rtol=1e-10, atol=1e-13), (
                    f"{kind}: {name} on rank {rank}"
                )


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run in one process."""
    directory = tmp_path_factory.mktemp("alone")
    assert train.main([*RUN, f"out_dir={directory}"]) == 0
    return directory


def both_ranks(
    module: str, arguments: list[str], log: Path, faults_of_the_second: tuple[Fault, ...] = ()
) -> list[int | None]:
    """Exit codes of two ranks started as a cluster would start them."""
    environment = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": "2",
        "NODE_RANK": "0",
    }
    faults: tuple[tuple[Fault, ...], ...] = ((), faults_of_the_second)
    ranks = [
        start(module, arguments, log, faults[rank], LOCAL_RANK=str(rank), **environment)
        for rank in range(2)
    ]
    return [exit_code(process) for process in ranks]


def assert_like(two: Path, one: Path) -> None:
    """The same numbers to 1e-5; every row once."""
    assert result(two)["device"].startswith("2 x ")
    for name in ("loss_nats", "accuracy", "bits_per_dim", "parameters", "steps"):
        assert result(two)[name] == pytest.approx(result(one)[name], abs=1e-5), name
    assert [(row["step"], row["split"]) for row in rows(two)] == [
        (row["step"], row["split"]) for row in rows(one)
    ]
    for split in ("train", "valid"):
        found, wanted = rows(two, split), rows(one, split)
        for a, b in zip(found, wanted, strict=True):
            assert timeless(a) == pytest.approx(timeless(b), abs=1e-5)
    measured = [
        [json.loads(line) for line in (run / "coverage.jsonl").read_text().splitlines()]
        for run in (two, one)
    ]
    steps_of_two, steps_of_one = ([row["step"] for row in found] for found in measured)
    assert steps_of_two == steps_of_one and set(steps_of_one) == {
        *range(0, steps_of_one[-1] + 1, 4)
    }
    assert file_names(two) == file_names(one)
    assert evaluation(two) == pytest.approx(evaluation(one), abs=1e-5)


def file_names(directory: Path) -> set[str]:
    """TensorBoard's files, one for each start, without their time."""
    return {path.name.partition(".out.tfevents")[0] for path in directory.iterdir()}


def evaluation(directory: Path) -> dict[str, Any]:
    values = json.loads((directory / "evaluations" / "Full.json").read_text())
    return {name: value for name, value in values.items() if isinstance(value, float)}


def test_a_run_on_two_processes_ends_like_one(alone: Path, tmp_path: Path) -> None:
    assert both_ranks(
        "experiments.train", [*RUN, *DDP, f"out_dir={tmp_path}"], tmp_path / "log.txt"
    ) == [0, 0]
    assert_like(tmp_path, alone)
    assert (tmp_path / "log.txt").read_text().count("ok: ") == 1


@pytest.mark.parametrize("sequences", [1, 8, 17])
def test_held_out_batches_need_not_be_a_multiple_of_the_ranks(
    tmp_path: Path, sequences: int
) -> None:
    arguments = [
        *SMOKE,
        "trainer.max_steps=1",
        f"task.eval_sequences={sequences}",
        "trainer.precision=64-true",
    ]
    assert train.main([*arguments, f"out_dir={tmp_path / 'one'}"]) == 0
    assert both_ranks(
        "experiments.train", [*arguments, *DDP, f"out_dir={tmp_path / 'two'}"], tmp_path / "log.txt"
    ) == [0, 0]
    for number in ("loss_nats", "keys_per_token"):
        assert result(tmp_path / "two")[number] == pytest.approx(
            result(tmp_path / "one")[number], abs=1e-5
        )


def test_a_failing_run_on_two_processes_says_so(tmp_path: Path) -> None:
    assert both_ranks(
        "experiments.train",
        [*RUN, *DDP, "optim.lr=1e30", f"out_dir={tmp_path}"],
        tmp_path / "log.txt",
    ) == [1, 1]
    assert result(tmp_path)["status"] == "failed" and "optim.lr" in result(tmp_path)["error"]


def test_a_rank_that_alone_runs_out_of_memory_is_recorded_and_the_run_resumes(
    alone: Path, tmp_path: Path
) -> None:
    """The first rank only learns that the second is gone, but the result says why.

    With memory enough the run ends as if undisturbed.
    """
    arguments, log = [*RUN, *DDP, f"out_dir={tmp_path}"], tmp_path / "log.txt"
    fault = Fault(
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        "experiments.training.callbacks",
        BATCH_END,
        5,
    )
    codes = both_ranks("experiments.train", arguments, log, (fault,))
    assert 0 not in codes and result(tmp_path)["status"] == "oom", log.read_text()
    assert (
        result(tmp_path)["error"].startswith("OutOfMemoryError: CUDA out of memory")
        and result(tmp_path)["loss_nats"] is None
    )
    assert both_ranks("experiments.train", arguments, log) == [0, 0]
    assert_like(tmp_path, alone)


def group_is_gone(group: int) -> bool:
    """Whether no process of the group is left, zombies aside."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = status.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # it ended meanwhile
            continue
        if int(its_group) == group and state != "Z":
            return False
    return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_ctrl_c_on_the_command_line_ends_both_processes_and_resumes(tmp_path: Path) -> None:
    arguments = [*RUN, "trainer.max_steps=24", "trainer.eval_every_steps=8"]
    assert train.main([*arguments, f"out_dir={tmp_path / 'one'}"]) == 0
    directory = tmp_path / "two"
    directory.mkdir()
    command = ["-m", "experiments.train", *arguments, *DDP, f"out_dir={directory}"]
    codes = []
    for interrupt in (True, False):
        process = start_command(command, ROOT, directory / "log.txt")
        try:
            if interrupt:
                wait_until(lambda: rows(directory))
                os.killpg(process.pid, signal.SIGINT)
            codes.append(exit_code(process))
            wait_until(lambda group=process.pid: group_is_gone(group), 10)
        finally:
            if not group_is_gone(process.pid):
                os.killpg(process.pid, signal.SIGKILL)
        assert (directory / "result.json").exists() != interrupt
    assert codes == [130, 0], (directory / "log.txt").read_text()
    assert_like(directory, tmp_path / "one")


def test_a_cell_of_a_study_runs_on_two_processes_and_is_evaluated_on_two(tmp_path: Path) -> None:
    """By the real drivers.

    The second evaluation, by its own command, prints one line with the numbers of the first.
    """
    study = tmp_path / "pair.yaml"
    base = [*(word for word in RUN if not word.startswith("+evaluations")), *DDP]
    evaluations = {"Full": ["model.attention=shared_full"]}
    study.write_text(
        json.dumps({"base": base, "axes": {"model.attention": ["lsh"]}, "evaluations": evaluations})
    )
    log = tmp_path / "driver.txt"
    output_of(["-m", "ablations", "run", str(study), "--runs-dir", str(tmp_path)], ROOT, log)
    directory = tmp_path / "pair" / "lsh" / "seed=0"
    assert result(directory)["device"].startswith("2 x ")
    command = ["-m", "experiments.evaluate", str(directory), "model.attention=shared_full"]
    printed = output_of(command, ROOT, tmp_path / "evaluate.txt")
    assert printed.count("loss_nats") == 1, printed
    again = json.loads((directory / "evaluations" / "model.attention=shared_full.json").read_text())
    assert {name: again[name] for name in evaluation(directory)} == evaluation(directory)
