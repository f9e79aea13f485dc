"""What a run costs: peak memory and time, counted the same way for every variant."""

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from reformer_pl.config import RunConfig
from reformer_pl.coverage import attention_coverage as attention_coverage
from reformer_pl.rules import PEER_PACKAGES

GIB = 2**30
os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler otherwise writes its start and stop to stderr


class PeakMemory:
    """Peak memory of a block of work, in bytes: `with PeakMemory(device, held) as peak: ...`, then `peak.bytes`.

    CUDA: torch.cuda.max_memory_allocated. CPU: the bytes of the tensors in `held` (what lives when the block begins) plus the peak of
    every later allocation minus its release, as torch's own allocator reports them; what is held must outlive the block. Never RSS, which
    heap fragmentation falsifies.
    """

    bytes: int

    def __init__(self, device: torch.device, held: Iterable[Tensor] = ()) -> None:
        self.device = device
        self.held_bytes = storage_bytes(held)

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
        self.bytes = self.held_bytes + _peak_of(self.profile)


def _peak_of(finished: profile) -> int:
    """The highest running sum over the profiler's allocation events."""
    events = [
        e for e in finished.profiler.kineto_results.events() if e.name() == "[memory]" and e.device_type() == torch.autograd.DeviceType.CPU
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


def training_tensors(model: nn.Module, optimizers: Iterable[torch.optim.Optimizer]) -> Iterator[Tensor]:
    """Everything a model holds between two steps: parameters, buffers, gradients and optimiser state."""
    for tensor in chain(model.parameters(), model.buffers()):
        yield tensor
        if tensor.grad is not None:
            yield tensor.grad
    for optimizer in optimizers:
        for state in optimizer.state.values():
            yield from (value for value in state.values() if isinstance(value, Tensor))


def predict_memory(config: RunConfig) -> dict[str, float]:
    """GiB of one training step of one process, on a CPU, at the moment of its peak, without running it: seconds at any size, no data read.

    parameters   the model's
    gradients    those that a parameter already has; with trainer.devices > 1 also DDP's buckets, which hold a second copy of all
    optimizer    its state, which exists from the second step on
    activations  what the forward pass leaves for backward, and the batch
    temporary    the rest: whatever lived for a while, in backward what it recomputes, and what fused kernels take within themselves
    total        the sum: what `PeakMemory` counts in the real step (DDP's buckets aside, which it does not see)

    A GPU runs other kernels, with larger tiles: there the prediction is the CPU's.
    """
    from reformer_pl.predict import predict_step  # builds models, and so imports much that a process which only measures does not need

    return predict_step(config)


def predict_attention_memory(config: RunConfig) -> dict[str, float]:
    """The same of one attention, forward and backward, above its inputs and weights: the kernel with benchmark.measure=attention
    (hash and sort included, naive with benchmark.peer=naive), MultiHeadAttention with benchmark.measure=layer."""
    from reformer_pl.predict import predict_attention

    return predict_attention(config)


def predict_run(config: RunConfig) -> dict[str, float] | None:
    """Of whichever the config runs: a training step, or the attention that a benchmark measures; None for a public Reformer."""
    if config.benchmark.peer in PEER_PACKAGES:
        return None
    return (predict_attention_memory if config.benchmark.measure in ("attention", "layer") else predict_memory)(config)
