"""Causal multi-head self-attention: one module for the projections, one function per kernel.

Shapes: B batch, H heads, L length, D head size, C chunks, m chunk_len.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reformer_pl.compiled import compilable
from reformer_pl.config import ModelConfig
from reformer_pl.config.rules import ATTENTIONS, ConfigError, bucket_factors
from reformer_pl.lsh import attend, draw_rotations, plan_attention
from reformer_pl.lsh.plan import Plan
from reformer_pl.positions import rotate
from reformer_pl.sparse.blocks import blocks
from reformer_pl.sparse.sinks import sinks
from reformer_pl.sparse.topk import topk


class Memo(NamedTuple):
    """What a sublayer needs to do the same thing twice: the hash seed, and the sort order.

    The first pass fills in the sort order. A second pass that gets it back hashes nothing.
    """

    hash_seed: int
    plan: Plan | None = None  # 8 bytes per token, head and round
    rotations: Tensor | None = None  # where they are on the GPU already: `copy_rotations`


def build_attention(config: ModelConfig, word: str) -> nn.Module:
    """The attention that one word of `model.attention` names.

    It is a module, (x (B, L, d_model), memo) -> (y of the same shape, memo). SHARED_QK ones have
    `shared_qk`. Raises ConfigError for an unknown word.
    """
    match word:
        case "full":
            return MultiHeadAttention(config, full)
        case "shared_full":
            return MultiHeadAttention(config, shared_full, shared_qk=True)
        case "local":
            return MultiHeadAttention(config, partial(local, chunk_len=config.local.chunk_len))
        case "lsh":
            return LSHAttention(config)
        case "sinks":
            return MultiHeadAttention(config, partial(sinks, **asdict(config.sinks)))
        case "blocks":
            return MultiHeadAttention(config, partial(blocks, **asdict(config.blocks)))
        case "topk":
            return MultiHeadAttention(config, partial(topk, **asdict(config.topk)))
        case _:
            raise ConfigError(
                f"model.attention={word} has no case in build_attention: "
                f"choose {', '.join(ATTENTIONS)}, or add one"
            )


class MultiHeadAttention(nn.Module):
    """Projections around a kernel: q, k, v, out, or qk, v, out where queries are the keys.

    The kernel takes (q, k, v), or (qk, v) with `shared_qk`, of shape (B, H, L, D), and returns the
    same shape. Modules that share queries and keys have parameters of the same names, and so have
    those that do not: a checkpoint of one loads strictly into another (paper, section 2).
    """

    draws_itself = False

    def __init__(
        self, config: ModelConfig, kernel: Callable[..., Tensor], *, shared_qk: bool = False
    ) -> None:
        super().__init__()
        self.n_heads, self.kernel, self.shared_qk = config.n_heads, kernel, shared_qk
        self.is_rotary = config.positions == "rotary"
        d = config.d_model
        if shared_qk:
            self.qk = nn.Linear(d, d, bias=False)
        else:
            self.q, self.k = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
        self.v, self.out = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)

    def forward(self, x: Tensor, memo: Memo) -> tuple[Tensor, Memo]:
        """x (B, L, d_model) -> (y (B, L, d_model), memo, with the sort order if this hashes)."""
        y, memo = self.run_kernel(self._project(x), memo)
        return self._merge(y), memo

    def run_kernel(self, inputs: tuple[Tensor, ...], memo: Memo) -> tuple[Tensor, Memo]:
        """The kernel alone, on (q, k, v) or (qk, v), each (B, H, L, D)."""
        return self.kernel(*inputs), memo

    @compilable
    def _project(self, x: Tensor) -> tuple[Tensor, ...]:
        """(q, k, v), or (qk, v) where they are shared; each (B, H, L, D)."""
        v = self._heads(self.v(x))
        if self.shared_qk:
            return self.place(self.qk(x)), v
        return self.place(self.q(x)), self.place(self.k(x)), v

    def place(self, x: Tensor) -> Tensor:
        """Projected queries or keys (B, L, d_model) -> (B, H, L, D), turned by rotary positions.

        What is hashed are the turned vectors: they are the ones whose products attention takes, and
        a turn keeps their lengths. So tokens share a bucket where their score is large.
        """
        return rotate(self._heads(x)) if self.is_rotary else self._heads(x)

    @compilable
    def _merge(self, y: Tensor) -> Tensor:
        """The heads (B, H, L, D) joined and projected: (B, L, d_model)."""
        return self.out(y.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        """(B, L, d_model) -> (B, H, L, D)."""
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)


class LSHAttention(MultiHeadAttention):
    """The one kernel that has something to remember: its sort order (paper, section 2)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, attend, shared_qk=True)
        self.config, self.head_size = config.lsh, config.d_model // config.n_heads

    def run_kernel(self, inputs: tuple[Tensor, ...], memo: Memo) -> tuple[Tensor, Memo]:
        """Hash and sort unless the memo has the order already, then attend."""
        qk, v = inputs
        if memo.plan is None:
            rotations = memo.rotations
            if rotations is None:
                rotations = self.draw_rotations(memo.hash_seed, qk.shape[2])
            plan, _ = plan_attention(qk, causal=True, rotations=rotations, **self.config.options())
            memo = memo._replace(plan=plan, rotations=None)
        return self.kernel(qk, v, memo.plan), memo

    def draw_rotations(self, hash_seed: int, length: int) -> Tensor:
        """(H, D, R, S), drawn on the CPU: equal on every rank and device."""
        config, generator = self.config, torch.Generator().manual_seed(hash_seed)
        factors = bucket_factors(config.n_buckets, length, config.chunk_len)
        return draw_rotations(self.n_heads, self.head_size, config.n_hashes, factors, generator)


def copy_rotations(
    attentions: Sequence[nn.Module], memos: Sequence[Memo], length: int, device: torch.device
) -> list[Memo]:
    """The memos with the rotations of all layers, drawn at once and brought to a GPU in one copy.

    The copy is from pinned memory, so that the CPU does not wait for the GPU. A copy for each layer
    would wait each time.
    """
    drawn = {
        place: attention.draw_rotations(memo.hash_seed, length)
        for place, (attention, memo) in enumerate(zip(attentions, memos, strict=True))
        if isinstance(attention, LSHAttention)
    }
    if not drawn:
        return list(memos)
    together = torch.cat([rotations.flatten() for rotations in drawn.values()])
    parts = (
        together.pin_memory()
        .to(device, non_blocking=True)
        .split([rotations.numel() for rotations in drawn.values()])
    )
    copied = {
        place: part.view(rotations.shape)
        for (place, rotations), part in zip(drawn.items(), parts, strict=True)
    }
    return [memo._replace(rotations=copied.get(place)) for place, memo in enumerate(memos)]


def full(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention to every token before and to itself; (B, H, L, D)."""
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def shared_full(qk: Tensor, v: Tensor) -> Tensor:
    """Causal attention with shared QK: logits q . k/|k|, no self. (B, H, L, D) -> (B, H, L, D).

    Token i sees the tokens before it, so queries 1.. over keys ..L-2 are a plain causal triangle,
    which needs no mask tensor. Token 0 is alone and sees exactly itself.
    """
    k = F.normalize(qk, dim=-1).to(qk.dtype)
    rest = F.scaled_dot_product_attention(
        qk[:, :, 1:], k[:, :, :-1], v[:, :, :-1].to(qk.dtype), is_causal=True, scale=1.0
    )
    return torch.cat([v[:, :, :1].to(qk.dtype), rest], 2)


def local(q: Tensor, k: Tensor, v: Tensor, chunk_len: int) -> Tensor:
    """Causal attention to the own chunk and the one before; (B, H, L, D), any L.

    The published code calls it TimeBin attention.
    """
    length, m = q.shape[2], chunk_len
    if length <= m:
        return full(q, k, v)
    first = full(q[:, :, :m], k[:, :, :m], v[:, :, :m])
    if length % m:  # padded keys lie in the future of every real query
        q, k, v = (F.pad(x, (0, 0, 0, -length % m)) for x in (q, k, v))
    q, k, v = (x.unflatten(2, (-1, m)) for x in (q, k, v))  # (B, H, C, m, D)
    # Slices and a copy, not `unfold`: its backward takes longer than the attention.
    # Both are (B*H, C-1, 2m, D).
    keys, values = (torch.cat([x[:, :, :-1], x[:, :, 1:]], 3).flatten(0, 1) for x in (k, v))
    mask = torch.ones(m, 2 * m, dtype=torch.bool, device=q.device).tril(m)
    rest = F.scaled_dot_product_attention(q[:, :, 1:].flatten(0, 1), keys, values, attn_mask=mask)
    return torch.cat([first, rest.unflatten(0, q.shape[:2]).flatten(2, 3)], 2)[:, :, :length]
