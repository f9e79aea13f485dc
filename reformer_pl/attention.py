"""Causal multi-head self-attention: one module for the projections, one function per kernel.

Shapes: B batch, H heads, L length, D head size, C chunks, m chunk_len.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reformer_pl.config import LSHConfig, ModelConfig
from reformer_pl.config.rules import ATTENTIONS, SHARED_QK, ConfigError, check_word
from reformer_pl.lsh import attend, plan_attention
from reformer_pl.lsh.plan import Plan


class Memo(NamedTuple):
    """What a sublayer must be handed again to do the same thing twice: the hash seed, and the sort order once it exists."""

    hash_seed: int
    plan: Plan | None = None  # 8 bytes per token, head and round


class MultiHeadAttention(nn.Module):
    """Projections around the kernel that `kind` names: q, k, v, or qk, v where it is one of SHARED_QK. All of a sort have the same names,
    so that a checkpoint of one loads strictly into the other (paper, section 2)."""

    def __init__(self, config: ModelConfig, kind: str) -> None:
        super().__init__()
        check_word("model.attention", kind, ATTENTIONS)
        self.config, self.kind = config, kind
        d = config.d_model
        if kind in SHARED_QK:
            self.qk = nn.Linear(d, d, bias=False)
        else:
            self.q, self.k = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
        self.v, self.out = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)

    def forward(self, x: Tensor, memo: Memo) -> tuple[Tensor, Memo]:
        """x (B, L, d_model) -> (y (B, L, d_model), memo with the sort order, if this kind hashes)."""
        y, memo = run_kernel(self.kind, *self._project(x), self.config, memo)
        return self.out(y.transpose(1, 2).flatten(2)), memo

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v (B, H, L, D); q is k where they are shared."""
        v = self._heads(self.v(x))
        if self.kind in SHARED_QK:
            qk = self._heads(self.qk(x))
            return qk, qk, v
        return self._heads(self.q(x)), self._heads(self.k(x)), v

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.config.n_heads, -1)).transpose(
            1, 2
        )  # (B, L, d_model) -> (B, H, L, D)


def run_kernel(
    kind: str, q: Tensor, k: Tensor, v: Tensor, config: ModelConfig, memo: Memo
) -> tuple[Tensor, Memo]:
    """The attention that `kind` names, (B, H, L, D) in and out, and the memo, which hashing fills."""
    match kind:
        case "full":
            return F.scaled_dot_product_attention(q, k, v, is_causal=True), memo
        case "shared_full":
            return shared_full(q, v), memo
        case "local":
            return local(q, k, v, config.local.chunk_len), memo
        case "lsh":
            return lsh(q, v, config.lsh, memo)
        case _:
            raise ConfigError(f"model.attention={kind} has no case in run_kernel: add one")


def lsh(qk: Tensor, v: Tensor, config: LSHConfig, memo: Memo) -> tuple[Tensor, Memo]:
    """Hash and sort unless the memo says how it was done, then attend; (B, H, L, D)."""
    if memo.plan is None:
        # On the CPU: equal on every rank and device.
        generator = torch.Generator().manual_seed(memo.hash_seed)
        plan, _ = plan_attention(
            qk,
            n_hashes=config.n_hashes,
            chunk_len=config.chunk_len,
            n_buckets=config.n_buckets,
            bucket_mask=config.bucket_mask,
            dedupe=config.dedupe,
            window=config.window,
            generator=generator,
        )
        memo = memo._replace(plan=plan)
    return attend(qk, v, memo.plan), memo


def shared_full(qk: Tensor, v: Tensor) -> Tensor:
    """Causal attention with shared QK: logits q . k/|k|, no self. (B, H, L, D) -> (B, H, L, D).

    Token i sees the tokens before it, so queries 1.. over keys ..L-2 are a plain causal triangle, which needs no mask tensor. Token 0 is
    alone and sees exactly itself.
    """
    k = F.normalize(qk, dim=-1).to(qk.dtype)
    rest = F.scaled_dot_product_attention(
        qk[:, :, 1:], k[:, :, :-1], v[:, :, :-1].to(qk.dtype), is_causal=True, scale=1.0
    )
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
    keys, values = (
        torch.cat([x[:, :, :-1], x[:, :, 1:]], 3).flatten(0, 1) for x in (k, v)
    )  # (B*H, C-1, 2m, D)
    mask = torch.ones(m, 2 * m, dtype=torch.bool, device=q.device).tril(m)
    rest = F.scaled_dot_product_attention(q[:, :, 1:].flatten(0, 1), keys, values, attn_mask=mask)
    return torch.cat([first, rest.unflatten(0, q.shape[:2]).flatten(2, 3)], 2)[:, :, :length]
