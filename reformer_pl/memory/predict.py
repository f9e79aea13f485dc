"""Memory predicted before anything runs: one training step, or one attention, on fake tensors.

A fake tensor has a shape, a device and a lifetime but no data. So 64K tokens x 12 layers take
seconds and no memory, and no data set is read. The kernels and workspaces of the device are
counted, "cpu" or "cuda", as `measure.PeakMemory` counts them in a real step. Fake tensors are of
the CPU in both cases, so a machine without a GPU predicts for one.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from reformer_pl.config import RunConfig
from reformer_pl.config.rules import ConfigError, attention_pattern
from reformer_pl.lsh.budget import sizes_alone
from reformer_pl.memory.allocator import peaks
from reformer_pl.memory.one_layer import attention_call, layer_call
from reformer_pl.memory.peak import GIB, training_tensors
from reformer_pl.memory.trace import MemoryTrace
from reformer_pl.memory.workspaces import cublas_bytes
from reformer_pl.precision import autocast, dtypes

KINDS = ("parameters", "gradients", "optimizer", "activations", "temporary")


def predict_step(config: RunConfig, device: str = "cpu") -> dict[str, float]:
    """GiB by kind at the peak of one training step; `measure.predict_memory` explains the kinds."""
    # These import Lightning, which takes seconds that one attention does not need.
    from reformer_pl.model import SequenceModel
    from reformer_pl.optimizer import build_optimizer, update_weights
    from reformer_pl.tasks import task_class
    from reformer_pl.tasks.batches import Batch

    task, devices = config.task, config.trainer.devices
    kind = task_class(task.name)
    with traced_fakes(config, device) as trace:
        model = SequenceModel(config.model, kind.vocab_size, task.length)
        trace.name(model.parameters(), "parameters")
        optimizer = build_optimizer(config.optim, model.parameters())
        if device == "cuda" and config.optim.name in ("adam", "adamw"):
            for group in optimizer.param_groups:
                group["foreach"] = True  # torch's choice for such tensors
        for parameter in model.parameters():
            parameter.grad = torch.empty_like(parameter)
        trace.name((parameter.grad for parameter in model.parameters()), "gradients")
        # The first step leaves the optimiser's state. The second, which follows, is no smaller.
        optimizer.step()
        trace.name(training_tensors(nn.Module(), [optimizer]), "optimizer")
        optimizer.zero_grad()
        trace.hear_gradients(model)

        shape = task.batch_size, task.length
        whole = Batch(torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.bool))
        n_parts = config.optim.accumulate
        buckets: list[Tensor] = []
        if devices > 1:  # DDP's, which stay between steps
            buckets = [torch.empty_like(parameter) for parameter in model.parameters()]
            trace.name(buckets, "gradients")
        # Before the second micro-batch there are gradients. Those that follow need no more.
        for _ in range(min(n_parts, 2)):
            batch = whole.rows(0, devices * n_parts)
            if n_parts == 1:
                _use_buckets(model, buckets)
            with autocast(config, "cpu"):
                loss = model.loss(*batch, loss=kind.loss).mean()
            trace.rename("temporary", "activations")
            loss.backward()
            del loss  # and with it what the graph holds
        _use_buckets(model, buckets)
        update_weights(model, optimizer, config.optim.clip_norm)
    return _gib(trace, cublas_bytes() if device == "cuda" else 0)


def _use_buckets(model: nn.Module, buckets: list[Tensor]) -> None:
    """The gradients are views of DDP's buckets from here on, where there are any.

    Those that micro-batches leave are not, until the last one is reduced.
    """
    for parameter, bucket in zip(model.parameters(), buckets, strict=False):
        parameter.grad = bucket


def predict_attention(config: RunConfig, device: str = "cpu") -> dict[str, float]:
    """GiB by kind of one attention, forward and backward, above its inputs.

    `measure.predict_attention_memory` says which attention. Raises ConfigError for another measure.
    """
    cpu = torch.device("cpu")
    kind = attention_pattern(config.model.attention, config.model.n_layers)[0]
    with traced_fakes(config, device) as trace:
        match config.benchmark.measure:
            case "attention":
                function, inputs = attention_call(
                    config, "naive" if config.benchmark.peer == "naive" else kind, cpu
                )
            case "layer":
                function, inputs = layer_call(config, kind, cpu)
            case word:
                raise ConfigError(
                    f"benchmark.measure={word} is no single attention: choose attention or layer"
                )
        weights = list(function.parameters()) if isinstance(function, nn.Module) else []
        wanted = [value for value in inputs if isinstance(value, Tensor)] + weights
        # The output has its first input's shape.
        upstream = torch.randn(wanted[0].shape, dtype=dtypes(config).products)
        trace.forget()
        with autocast(config, "cpu"):
            out = function(*inputs)
        out = out if isinstance(out, Tensor) else out[0]
        trace.rename("temporary", "activations")
        trace.name(torch.autograd.grad(out, wanted, upstream), "gradients")
    return _gib(trace, 0)  # cuBLAS has its workspaces from the warm-up on


class DropoutOfGPU(TorchFunctionMode):
    """Dropout keeps one byte a number, as CUDA's kernel does; a CPU keeps a float."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.dropout:
            x, p, training, *_ = *args, *(kwargs[key] for key in ("p", "training") if key in kwargs)
            return torch.native_dropout(x, p, True)[0] if training and p > 0 else x
        return func(*args, **kwargs)


@contextmanager
def traced_fakes(config: RunConfig, device: str = "cpu") -> Iterator[MemoryTrace]:
    """Every tensor made inside is fake, of the config's precision, and traced.

    The caller's random numbers are left alone.
    """
    before = torch.get_default_dtype()
    threads = config.trainer.threads or torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.set_default_dtype(dtypes(config).weights)
        try:
            with FakeTensorMode(), sizes_alone(device), ExitStack() as stack:
                if device == "cuda":
                    stack.enter_context(DropoutOfGPU())
                    if dtypes(config).products == torch.float64:  # no fused kernel takes it
                        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
                yield stack.enter_context(MemoryTrace(threads, device))
        except RuntimeError as error:
            if "overflow" in str(error):
                raise ConfigError(
                    "no memory could hold a tensor of this config, of more than 2**63 bytes: "
                    f"{error}"
                ) from error
            raise
        finally:
            torch.set_default_dtype(before)


def _gib(trace: MemoryTrace, cublas: int) -> dict[str, float]:
    peak = trace.peak()
    kinds = {kind: peak.get(kind, 0) / GIB for kind in KINDS}
    if trace.device == "cpu":
        return kinds | {"total": sum(kinds.values())}
    layout = peaks(trace.sizes, trace.events)
    total = (layout.allocated + cublas) / GIB
    kinds["temporary"] += total - sum(kinds.values())  # what is rounded up, and of cuBLAS
    return kinds | {"total": total, "reserved": (layout.reserved + cublas) / GIB}
