"""Causal multi-head self-attention: one module for the projections, one function per kernel.

Shapes: B batch, H heads, L length, D head size, C chunks, m chunk_len.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reformer_pl.config import ModelConfig
from reformer_pl.lsh import attend, draw_rotations, hash_buckets
from reformer_pl.lsh_plan import Plan, make_plan
from reformer_pl.rules import ATTENTIONS, ConfigError, bucket_factors


class Memo(NamedTuple):
    """What a sublayer must be handed again to do the same thing twice: the hash seed, and the sort order once it exists."""

    hash_seed: int
    plan: Plan | None = None  # 8 bytes per token, head and round


class MultiHeadAttention(nn.Module):
    """Projections around the kernel that `kind` names. `full` and `local` have q, k, v; `shared_full` and `lsh` have qk, v,
    under the same names, so that a checkpoint of one loads strictly into the other (paper, section 2)."""

    def __init__(self, config: ModelConfig, kind: str) -> None:
        super().__init__()
        self.config, self.kind = config, kind
        d = config.d_model
        match kind:
            case "full" | "local":
                self.q, self.k = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
            case "shared_full" | "lsh":
                self.qk = nn.Linear(d, d, bias=False)
            case _:
                raise ConfigError(f"model.attention={kind} is unknown: choose {', '.join(ATTENTIONS)}")
        self.v, self.out = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)

    def forward(self, x: Tensor, memo: Memo) -> tuple[Tensor, Memo]:
        """x (B, L, d_model) -> (y (B, L, d_model), memo with the sort order, if this kind hashes)."""
        v = self._heads(self.v(x))
        match self.kind:
            case "full":
                y = F.scaled_dot_product_attention(self._heads(self.q(x)), self._heads(self.k(x)), v, is_causal=True)
            case "local":
                y = local(self._heads(self.q(x)), self._heads(self.k(x)), v, self.config.local.chunk_len)
            case "shared_full":
                y = shared_full(self._heads(self.qk(x)), v)
            case "lsh":
                y, memo = self._lsh(self._heads(self.qk(x)), v, memo)
        return self.out(y.transpose(1, 2).flatten(2)), memo

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.config.n_heads, -1)).transpose(1, 2)  # (B, L, d_model) -> (B, H, L, D)

    def _lsh(self, qk: Tensor, v: Tensor, memo: Memo) -> tuple[Tensor, Memo]:
        lsh = self.config.lsh
        if memo.plan is None:
            factors = bucket_factors(lsh.n_buckets, qk.shape[2], lsh.chunk_len)
            generator = torch.Generator().manual_seed(memo.hash_seed)  # on the CPU: equal on every rank and device
            rotations = draw_rotations(qk.shape[1], qk.shape[3], lsh.n_hashes, factors, generator)
            buckets = hash_buckets(qk.detach(), rotations, factors)
            plan = make_plan(buckets, math.prod(factors), lsh.chunk_len, True, lsh.bucket_mask, lsh.dedupe, lsh.window)
            memo = memo._replace(plan=plan)
        return attend(qk, v, memo.plan), memo


def shared_full(qk: Tensor, v: Tensor) -> Tensor:
    """Causal attention with shared QK: logits q . k/|k|, no self. (B, H, L, D) -> (B, H, L, D).

    Token i sees the tokens before it, so queries 1.. over keys ..L-2 are a plain causal triangle, which needs no mask tensor. Token 0 is
    alone and sees exactly itself.
    """
    k = F.normalize(qk, dim=-1).to(qk.dtype)
    rest = F.scaled_dot_product_attention(qk[:, :, 1:], k[:, :, :-1], v[:, :, :-1].to(qk.dtype), is_causal=True, scale=1.0)
    return torch.cat([v[:, :, :1].to(qk.dtype), rest], 2)


def local(q: Tensor, k: Tensor, v: Tensor, chunk_len: int) -> Tensor:
    """Causal attention to the own chunk and the one before; (B, H, L, D), any L. The published code's TimeBin attention."""
    length, m = q.shape[2], chunk_len
    if length <= m:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    first = F.scaled_dot_product_attention(q[:, :, :m], k[:, :, :m], v[:, :, :m], is_causal=True)
    if length % m:  # padded keys lie in the future of every real query
        q, k, v = (F.pad(x, (0, 0, 0, -length % m)) for x in (q, k, v))
    q, k, v = (x.unflatten(2, (-1, m)) for x in (q, k, v))  # (B, H, C, m, D)
    # Slices and a copy, not `unfold`: its backward takes longer than the attention.
    keys, values = (torch.cat([x[:, :, :-1], x[:, :, 1:]], 3).flatten(0, 1) for x in (k, v))  # (B*H, C-1, 2m, D)
    mask = torch.ones(m, 2 * m, dtype=torch.bool, device=q.device).tril(m)
    rest = F.scaled_dot_product_attention(q[:, :, 1:].flatten(0, 1), keys, values, attn_mask=mask)
    return torch.cat([first, rest.unflatten(0, q.shape[:2]).flatten(2, 3)], 2)[:, :, :length]
