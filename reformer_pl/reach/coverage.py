"""How much of full attention's probability mass the hash buckets reach.

It answers the question whether random buckets hide related tokens from each other. Between chance
and the ceiling lies what choosing can gain: as many keys at random, and the best as many.

Shapes: B batch, H heads, N = B*H rows, L length, D head size, Q sampled queries, P = L padded to a
multiple of the chunk.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from reformer_pl.config.rules import check_positive
from reformer_pl.lsh import plan_attention
from reformer_pl.lsh.plan import Plan, first_rounds

ROUNDS = (1, 2, 4, 8)


class Coverage(NamedTuple):
    """Means over the sampled queries, 0-1, of shape (len(rounds), B, H)."""

    mass: Tensor  # of full attention, on the keys reached
    chance: Tensor  # share of a query's keys reached: the mass on as many keys drawn at random
    ceiling: Tensor  # the mass on the best as many keys of each query


@torch.no_grad()
def attention_coverage(
    qk: Tensor,
    *,
    chunk_len: int,
    n_buckets: Any = None,
    bucket_mask: bool = True,
    window: str = "chunk",
    rounds: Sequence[int] = ROUNDS,
    n_queries: int = 64,
    rotations: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Coverage:
    """What causal LSH attention with r rounds would reach of `shared_full`, for each r in `rounds`.

    qk (B, H, L, D). The weights are those of full attention: logits q . k/|k|, and no self but for
    token 0, which sees nothing else. They are added up over the keys that the r rounds reach
    together. The r rounds are the first r of one draw. The queries are n_queries random positions
    (all, where there are no more), the same in every sequence and head.

    The options are those of `reformer_pl.lsh.lsh_attention`. rotations (H, D, max(rounds),
    sum(factors) // 2) are drawn from `generator` when None, after the queries. Memory is O(Q * L) a
    head. Raises ConfigError for an illegal mode.
    """
    check_positive("rounds", *rounds)
    check_positive("n_queries", n_queries)
    b, h, length, _ = qk.shape
    queries = torch.randperm(
        length, generator=generator, device=generator.device if generator else "cpu"
    )[:n_queries].to(qk.device)
    plan, _ = plan_attention(
        qk,
        n_hashes=max(rounds),
        chunk_len=chunk_len,
        n_buckets=n_buckets,
        bucket_mask=bucket_mask,
        dedupe=False,
        window=window,
        rotations=rotations,
        generator=generator,
    )

    key = torch.arange(length, device=qk.device)
    alone = (queries == 0)[:, None] & (key == 0)  # (Q, L)
    seen = (key < queries[:, None]) | alone
    wide = qk.to(torch.promote_types(qk.dtype, torch.float32))
    logits = wide[:, :, queries] @ F.normalize(wide, dim=-1).transpose(-1, -2)  # (B, H, Q, L)
    weight = logits.masked_fill_(~seen, -math.inf).softmax(-1)

    # The mass of the best 0, 1, 2, ... keys of each query, (B, H, Q, L + 1).
    best = F.pad(weight.sort(-1, descending=True).values.cumsum(-1), (1, 0))

    mass, chance, ceiling = [], [], []
    for r in rounds:
        hit = reached(first_rounds(plan, r), queries)
        hit = hit[:, :, :length].view(b, h, -1, length) | alone
        mass.append((weight * hit).sum(-1).mean(-1))
        n_keys = hit.sum(-1)
        chance.append((n_keys.to(wide.dtype) / seen.sum(-1)).mean(-1))
        ceiling.append(best.gather(-1, n_keys[..., None]).squeeze(-1).mean(-1))
    return Coverage(*(torch.stack(values) for values in (mass, chance, ceiling)))


def reached(plan: Plan, queries: Tensor) -> Tensor:
    """(N, Q, P): whether the query at position queries[i] reaches each key, in any round.

    Keys are in the order of their positions. Nothing else is read of a Plan.
    """
    n, rounds, p = plan.code.shape
    lowest, highest = (1, plan.chunk_len) if plan.window == "causal" else (0, 1)
    hit = torch.zeros(n, len(queries), p, dtype=torch.bool, device=queries.device)
    for r in range(rounds):
        own = plan.code[:, r, queries, None]  # (N, Q, 1)
        back = own - plan.code[:, r, None]
        hit |= (back >= lowest) & (back <= highest)
        if plan.window == "wrap":
            # Codes are chunks, and the first looks back into the last of the round before.
            hit |= (own == 0) & (plan.code[:, r - 1, None] == p // plan.chunk_len - 1)
    key = torch.arange(p, device=queries.device)
    hit &= key < queries[:, None] if plan.causal else key != queries[:, None]
    if plan.padded is None:
        return hit
    return hit & ~plan.padded.repeat_interleave(n // len(plan.padded), 0)[:, None]
