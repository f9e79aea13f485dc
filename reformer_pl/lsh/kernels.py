"""The roads of one tile of LSH attention: CPU flash ops, CUDA memory-efficient ops, ordinary
operations. One interface; `roads` chooses.

Shapes: g rows x T chunks of m queries over 2m keys, D head size: q (g, T, m, D), k and v (g, T, 2m,
D), bias (g, T, m, 2m), lse (g, T, m).

All rounds are ONE softmax over the union of their keys. So the backward pass of each round is the
ordinary fused attention backward. It is called with the output and the log-sum-exp of ALL rounds,
and no score survives the forward pass.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Within, every operation keeps its inputs' precision; autocast would round float32 products to
    bfloat16.
    """
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def tile_forward(road: str, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax attention with an additive bias: (out like q, lse). Every query must reach a key."""
    match road:
        case "flash":
            return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                q, k, v, attn_mask=bias, scale=1.0
            )
        case "efficient":
            return torch.ops.aten._scaled_dot_product_efficient_attention(
                q, k, v, bias, True, scale=1.0
            )[:2]
    wide = torch.promote_types(
        q.dtype, torch.float32
    )  # logits without 1/sqrt(d) are too large to be rounded to 8 bits
    scores = (q.to(wide) @ k.to(wide).transpose(-1, -2)).add_(bias)
    lse = scores.logsumexp(-1, keepdim=True)
    return (scores.sub_(lse).exp_() @ v.to(wide)).to(q.dtype), lse[..., 0]


def tile_backward(
    road: str, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(dq, dk, dv), where out and lse belong to the softmax of ALL rounds. A query whose lse is inf
    gets and gives no gradient.
    """
    match road:
        case "flash":
            backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
            return backward(grad, q, k, v, out, lse, 0.0, False, attn_mask=bias, scale=1.0)
        case "efficient":
            no_dropout = torch.zeros(
                (), dtype=torch.int64, device=q.device
            )  # the seed and offset of a dropout of 0
            backward = torch.ops.aten._scaled_dot_product_efficient_attention_backward
            wanted = (True, True, True, False)
            return backward(
                grad,
                q,
                k,
                v,
                bias,
                out,
                lse.float(),
                no_dropout,
                no_dropout,
                0.0,
                wanted,
                scale=1.0,
            )[:3]
    grad, q, k, v, out = (x.to(lse.dtype) for x in (grad, q, k, v, out))
    p = (q @ k.transpose(-1, -2)).add_(bias).sub_(lse[..., None]).exp_()
    delta = (grad * out).sum(-1, keepdim=True)
    ds = (grad @ v.transpose(-1, -2)).sub_(delta).mul_(p)
    return ds @ k, ds.transpose(-1, -2) @ q, p.transpose(-1, -2) @ grad
