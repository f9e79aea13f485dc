"""On CUDA the next batch is made while the GPU works: the same batches, by a thread that pins them."""

import threading
from collections.abc import Iterator
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from reformer_pl.tasks import batches, build_task
from reformer_pl.tasks.batches import Batch
from tiny import tiny

CUDA = torch.device("cuda", 3)


class Pins:
    """Which thread pinned, on which device; this machine cannot."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.devices: list[torch.device] = []
        self.threads: set[int] = set()

        def pin_memory(tensor: Tensor) -> Tensor:
            self.threads.add(threading.get_ident())
            return tensor.clone()

        monkeypatch.setattr(Tensor, "pin_memory", pin_memory)
        monkeypatch.setattr(batches, "set_device", self.devices.append)


@pytest.fixture
def pins(monkeypatch: pytest.MonkeyPatch) -> Pins:
    return Pins(monkeypatch)


def loaders(
    device: torch.device, step: int = 0, rank: int = 0, fit: bool = True
) -> tuple[Any, Any]:
    task = build_task(tiny("task.eval_sequences=5", "task.batch_size=2"))
    task.trainer = SimpleNamespace(
        strategy=SimpleNamespace(root_device=device),
        global_step=step,
        accumulate_grad_batches=1,
        global_rank=rank,
        world_size=2 if rank else 1,
        state=SimpleNamespace(fn="fit" if fit else "validate"),
    )
    return task.train_dataloader(), task.val_dataloader()


@pytest.mark.parametrize(("step", "rank"), [(0, 0), (7, 0), (2, 1)])
def test_the_batches_are_the_same_bit_for_bit_and_after_a_resume_too(
    step: int, rank: int, pins: Pins
) -> None:
    taken, states = [], []
    for device in (torch.device("cpu"), CUDA):
        torch.manual_seed(0)
        taken.append([list(islice(loader, 4)) for loader in loaders(device, step, rank)])
        states.append(torch.get_rng_state())
    for plain, ahead in zip(*taken, strict=True):
        assert plain
        for one, other in zip(plain, ahead, strict=True):
            assert isinstance(other, Batch)
            assert torch.equal(one.tokens, other.tokens)
            assert torch.equal(one.scored, other.scored)
    assert torch.equal(*states)
    assert pins.devices == [CUDA, CUDA] and threading.get_ident() not in pins.threads


def test_the_next_batch_is_made_before_it_is_asked_for(pins: Pins) -> None:
    made = [threading.Event() for _ in range(4)]

    def numbered() -> Iterator[Batch]:
        for event in made:
            event.set()
            yield Batch(torch.zeros(1), torch.zeros(1))

    given = iter(batches._MadeAhead(numbered(), CUDA))
    next(given)
    assert made[1].wait(timeout=30), "it waits until it is asked for"
    assert not made[2].is_set(), "one ahead is enough: each takes memory"
    given.close()


def test_an_error_of_a_batch_reaches_the_training(pins: Pins) -> None:
    def broken() -> Iterator[Batch]:
        yield Batch(torch.zeros(1), torch.zeros(1))
        raise OSError("the text is gone")

    given = iter(batches._MadeAhead(broken(), CUDA))
    next(given)
    with pytest.raises(OSError, match="the text is gone"):
        next(given)


def test_on_a_cpu_there_is_no_thread(pins: Pins) -> None:
    for loader in loaders(torch.device("cpu")):
        next(iter(loader))
        assert not isinstance(loader.dataset, batches._MadeAhead)
    assert pins.devices == [] and pins.threads == set()
