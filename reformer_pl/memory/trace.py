"""Which tensors live when: the results of operators, in bytes, until their last reference goes.

For fake tensors, which have shapes and lifetimes but no data. So a step of any size is counted in
seconds.
"""

import weakref
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from reformer_pl.memory.workspaces import workspace_bytes

ATEN = torch.ops.aten


class MemoryTrace(TorchDispatchMode):
    """`with MemoryTrace(threads) as trace: ...` records each storage made, and when it is freed.

    `device` ("cpu" or "cuda") is whose kernels the fake CPU tensors stand for.

    Every storage has a kind, a word: "temporary" until `name` or `rename` says another.
    """

    def __init__(self, threads: int, device: str = "cpu") -> None:
        super().__init__()
        self.threads = threads  # of the CPU: each has a workspace of its own
        self.device = device
        self.kinds: list[str] = []  # of storage 0, 1, ...
        self.sizes: list[int] = []  # bytes
        self.events: list[int] = []  # i: storage i is made; ~i: it is freed
        self.alive: dict[int, tuple[int, weakref.ref]] = {}  # by address

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.prim.device.default and isinstance(args[0], FakeTensor):
            # Autograd asks so often that the long way would double the time.
            return args[0].fake_device
        if func is ATEN._local_scalar_dense.default:
            return 1  # a number is read: by Adafactor, and no shape depends on it
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, Tensor):
                self._see(value)
        size = workspace_bytes(func, args, self.threads, self.device)
        if size:
            self.kinds.append("temporary")
            self.sizes.append(size)
            self.events += (len(self.sizes) - 1, ~(len(self.sizes) - 1))
        return out

    def name(self, tensors: Iterable[Tensor], kind: str) -> None:
        """Say what kind of memory these are. What was there before the trace counts from now on."""
        for tensor in tensors:
            self.kinds[self._see(tensor)] = kind

    def rename(self, before: str, after: str) -> None:
        """Every living storage of one kind becomes another."""
        for index, _ in self.alive.values():
            if self.kinds[index] == before:
                self.kinds[index] = after

    def hear_gradients(self, model: nn.Module) -> None:
        """A parameter's gradient becomes one of the "gradients" when backward leaves it there."""
        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(lambda p: self.name([p.grad], "gradients"))

    def forget(self) -> None:
        """Count from here, above what lives now."""
        self.sizes = [0] * len(self.sizes)

    def peak(self) -> dict[str, int]:
        """Bytes by kind at the first moment at which all kinds together were most."""
        now = most = at = 0
        for place, event in enumerate(self.events, 1):
            now += self.sizes[event] if event >= 0 else -self.sizes[~event]
            if now > most:
                most, at = now, place
        totals: dict[str, int] = {}
        for event in self.events[:at]:
            index, sign = (event, 1) if event >= 0 else (~event, -1)
            totals[self.kinds[index]] = totals.get(self.kinds[index], 0) + sign * self.sizes[index]
        return totals

    def _see(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        address = storage._cdata
        if address in self.alive:
            return self.alive[address][0]
        index = len(self.sizes)
        self.kinds.append("temporary")
        self.sizes.append(storage.nbytes())
        self.events.append(index)
        self.alive[address] = index, weakref.ref(storage, partial(self._freed, address))
        return index

    def _freed(self, address: int, reference: weakref.ref) -> None:
        index, _ = self.alive.pop(address)
        self.events.append(~index)
