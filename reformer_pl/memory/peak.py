"""Peak memory of a block of work, counted the same way for every variant."""

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

GIB = 2**30
# The profiler otherwise writes its start and stop to stderr.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")


class PeakMemory:
    """Peak memory of a block of work, in bytes.

    Use it as `with PeakMemory(device, alive) as peak: ...`, then read `peak.bytes`.

    On CUDA it is torch.cuda.max_memory_allocated. On a CPU it is the bytes of the tensors in
    `alive`, which exist when the block begins, plus the peak of every later allocation minus its
    release, as torch's own allocator reports them. The tensors in `alive` must outlive the
    block. It is never RSS, which heap fragmentation falsifies.
    """

    bytes: int

    def __init__(self, device: torch.device, alive: Iterable[Tensor] = ()) -> None:
        self.device = device
        self.alive_bytes = storage_bytes(alive)

    def __enter__(self) -> "PeakMemory":
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            self.profile = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
            self.profile.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self.device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self.device)
            return
        self.profile.__exit__(*error)
        self.bytes = self.alive_bytes + _peak_of(self.profile)


def _peak_of(finished: profile) -> int:
    """The highest running sum over the profiler's allocation events."""
    events = [
        e
        for e in finished.profiler.kineto_results.events()
        if e.name() == "[memory]" and e.device_type() == torch.autograd.DeviceType.CPU
    ]
    events.sort(key=lambda e: e.start_ns())
    now = peak = 0
    for event in events:
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def storage_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the distinct storages behind tensors."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


def training_tensors(
    model: nn.Module, optimizers: Iterable[torch.optim.Optimizer]
) -> Iterator[Tensor]:
    """What a model keeps between two steps: parameters, buffers, gradients, optimiser state."""
    for tensor in chain(model.parameters(), model.buffers()):
        yield tensor
        if tensor.grad is not None:
            yield tensor.grad
    for optimizer in optimizers:
        for state in optimizer.state.values():
            yield from (value for value in state.values() if isinstance(value, Tensor))
