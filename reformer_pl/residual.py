"""Three ways to run one list of layers: standard, checkpoint, reversible (paper, section 3, eq. 7-9).

A layer is a list of sublayers, (x, memo) -> (y, memo), such as [attention, feed-forward]. Every x
and y is (B, L, d_model).

The reversible backward pass reconstructs each layer's input from its output. It is a chain of
autograd Functions, one per layer, that take their parameters as inputs and return the gradients. So
gradients become ready layer by layer, as DDP expects, and `torch.autograd.grad` inside never touches
the hooks of a parameter.

What runs a sublayer twice replays its random numbers, unless it is known to draw none: see
`may_draw`.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, get_device_states, set_device_states

from reformer_pl.attention import Memo

Layer = Sequence[nn.Module]

# Modules that draw no random number. Those of other types count as drawing, for example by F.dropout,
# unless they have `draws_itself = False`.
DRAW_NOTHING = (
    *(nn.Linear, nn.Conv1d, nn.Embedding, nn.LayerNorm, nn.RMSNorm, nn.ModuleList, nn.Sequential),
    *(nn.Identity, nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh),
)


def run_standard(layers: Sequence[Layer], x: Tensor, memos: Sequence[Memo]) -> Tensor:
    """x + f(x), every activation kept."""
    for layer, memo in zip(layers, memos, strict=True):
        x, _ = _layer(layer, x, [memo] * len(layer))
    return x


def run_checkpoint(layers: Sequence[Layer], x: Tensor, memos: Sequence[Memo]) -> Tensor:
    """x + f(x), keeping each layer's input alone: the honest rival of reversible layers.

    The second pass reuses the sort order of the first.
    """
    for layer, memo in zip(layers, memos, strict=True):
        kept: list[Memo] = [memo] * len(layer)

        def run(x: Tensor, layer: Layer = layer, kept: list[Memo] = kept) -> Tensor:
            y, kept[:] = _layer(layer, x, kept)
            return y

        x = (
            checkpoint(run, x, use_reentrant=False, preserve_rng_state=may_draw(layer))
            if torch.is_grad_enabled()
            else run(x)
        )
    return x


def run_reversible(
    layers: Sequence[Layer], x: Tensor, memos: Sequence[Memo]
) -> tuple[Tensor, Tensor]:
    """Two streams, both started as x: each sublayer adds its output of one stream to the other. Returns both."""
    streams = (x, x)
    tape = Tape()
    for depth, (layer, memo) in enumerate(zip(layers, memos, strict=True)):
        if torch.is_grad_enabled():
            parameters = [p for sublayer in layer for p in sublayer.parameters() if p.requires_grad]
            streams = ReversibleLayer.apply(
                *streams, layer, [memo] * len(layer), tape, depth, *parameters
            )
        else:
            for sublayer in layer:
                streams = _half(sublayer, streams, memo)[0]
    tape.streams, tape.depth = tuple(stream.detach() for stream in streams), len(layers) - 1
    return streams


class Tape:
    """The streams behind layer `depth`, the last that has not run backward yet.

    No other activation is kept.
    """

    streams: tuple[Tensor, ...] = ()
    depth: int = -1


class ReversibleLayer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x1: Tensor,
        x2: Tensor,
        layer: Layer,
        memos: list[Memo],
        tape: Tape,
        depth: int,
        *parameters: nn.Parameter,
    ) -> tuple[Tensor, Tensor]:
        ctx.layer, ctx.tape, ctx.depth = layer, tape, depth
        ctx.autocast = _autocast_state(x1)
        ctx.memos, ctx.rng = [], []
        streams = (x1, x2)
        for sublayer, memo in zip(layer, memos, strict=True):
            ctx.rng.append(RNGState(x1) if may_draw([sublayer]) else None)
            streams, memo = _half(sublayer, streams, memo)
            ctx.memos.append(memo)
        return streams

    @staticmethod
    def backward(ctx: Any, d1: Tensor, d2: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.tape.depth != ctx.depth:
            raise RuntimeError(
                "a reversible model keeps no activation: backward runs once, through the whole "
                "model, after its forward pass"
            )
        y1, y2 = ctx.tape.streams
        gradients: list[tuple[Tensor | None, ...]] = []
        for sublayer, memo, rng in zip(
            reversed(ctx.layer), reversed(ctx.memos), reversed(ctx.rng), strict=True
        ):
            # Forward was (a, c) -> (c, a + f(c)). Here y1 is c, y2 is a + f(c), and d1, d2 are their
            # gradients.
            with (
                torch.enable_grad(),
                _autocast_again(ctx.autocast),
                rng.replay() if rng else nullcontext(),
            ):
                c = y1.detach().requires_grad_()
                f, _ = sublayer(c, memo)
            parameters = [p for p in sublayer.parameters() if p.requires_grad]
            dc, *dp = torch.autograd.grad(f, [c, *parameters], d2.to(f.dtype))
            gradients.insert(0, tuple(dp))
            y1, y2 = y2 - f.detach(), c.detach()
            d1, d2 = d2, d1 + dc
        ctx.tape.streams, ctx.tape.depth = (y1, y2), ctx.depth - 1
        ctx.memos, ctx.rng = [], []
        return d1, d2, None, None, None, None, *(g for group in gradients for g in group)


class RNGState:
    """The dropout RNG of the CPU and of x's device, to be replayed."""

    def __init__(self, x: Tensor) -> None:
        self.cpu = torch.get_rng_state()
        self.devices, self.states = get_device_states(x)
        self.device_type = x.device.type

    @contextmanager
    def replay(self) -> Iterator[None]:
        with torch.random.fork_rng(
            self.devices, device_type=self.device_type if self.devices else "cuda"
        ):
            torch.set_rng_state(self.cpu)
            set_device_states(self.devices, self.states, device_type=self.device_type)
            yield


def _half(
    sublayer: nn.Module, streams: tuple[Tensor, Tensor], memo: Memo
) -> tuple[tuple[Tensor, Tensor], Memo]:
    """(a, c) -> (c, a + f(c)): a half-residual and a swap."""
    a, c = streams
    y, memo = sublayer(c, memo)
    return (c, a + y), memo


def _layer(layer: Layer, x: Tensor, memos: Sequence[Memo]) -> tuple[Tensor, list[Memo]]:
    kept = []
    for sublayer, memo in zip(layer, memos, strict=True):
        y, memo = sublayer(x, memo)
        kept.append(memo)
        x = x + y
    return x, kept


def may_draw(layer: Layer) -> bool:
    """Whether a sublayer may draw random numbers: all may that are not known to draw none."""
    return any(_may_draw_itself(m) for sublayer in layer for m in sublayer.modules())


def _may_draw_itself(module: nn.Module) -> bool:
    """Without the modules within it."""
    if isinstance(module, nn.Dropout):
        return module.p > 0 and module.training
    return type(module) not in DRAW_NOTHING and getattr(module, "draws_itself", True)


def _autocast_state(x: Tensor) -> dict[str, Any]:
    kind = x.device.type
    return {
        "device_type": kind,
        "enabled": torch.is_autocast_enabled(kind),
        "dtype": torch.get_autocast_dtype(kind),
    }


def _autocast_again(state: dict[str, Any]) -> AbstractContextManager[None]:
    return (
        torch.autocast(**state, cache_enabled=False)
        if state["enabled"]
        else torch.autocast(state["device_type"], enabled=False)
    )
