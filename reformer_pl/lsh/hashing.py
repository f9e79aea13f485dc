"""Angular hashing: which tokens may be near each other (paper, section 2, "LSH attention").

Shapes: B batch, H heads, L length, D head size, R hash rounds, F the factors of the number of
buckets, S = sum(F) // 2 directions.
"""

import torch
from torch import Tensor

from reformer_pl.lsh.budget import only_sizes_count, tile_bytes
from reformer_pl.lsh.kernels import without_autocast


def draw_rotations(
    h: int, d: int, n_hashes: int, factors: tuple[int, ...], generator: torch.Generator | None
) -> Tensor:
    """(H, D, R, S) float32, standard normal, shared over the batch; on the generator's device, or
    the CPU.

    Every precision draws alike. The same generator state gives the same rotations.
    """
    device = generator.device if generator is not None else "cpu"
    return torch.randn(
        h, d, n_hashes, sum(factors) // 2, generator=generator, device=device, dtype=torch.float32
    )


@torch.no_grad()
def hash_buckets(qk: Tensor, rotations: Tensor, factors: tuple[int, ...]) -> Tensor:
    """The bucket of every token in every round: qk (B, H, L, D) -> (B, H, R, L) int32, below
    prod(factors).

    Each factor f has a hash argmax [xR ; -xR] below f; together they are h1 + f1 * h2 + f1 * f2 *
    h3 + ... (section 2 and appendix B). The projections are float32 at least, under autocast too:
    in bfloat16 about one token in a hundred has another bucket. Raises ValueError where rotations
    are not (H, D, R, S).
    """
    check_rotations(qk, rotations, factors)
    b, h, length, _ = qk.shape
    rounds, wide = rotations.shape[2], torch.promote_types(qk.dtype, torch.float32)
    rotations = rotations.to(device=qk.device, dtype=wide).flatten(2)  # (H, D, R*S)
    buckets = torch.empty(b, h, rounds, length, dtype=torch.int32, device=qk.device)
    # All projections together would outweigh q, k and v.
    width = max(1, tile_bytes(qk.device) // (b * h * rotations.shape[2] * wide.itemsize))
    stop = min(length, 2 * width) if only_sizes_count() else length
    with without_autocast(qk.device):
        for start in range(0, stop, width):
            some = slice(start, min(start + width, length))
            projected = (qk[:, :, some].to(wide) @ rotations).unflatten(-1, (rounds, -1))
            buckets[..., some] = largest_direction(projected, factors).transpose(2, 3)
    return buckets


def check_rotations(qk: Tensor, rotations: Tensor, factors: tuple[int, ...]) -> None:
    """Raises ValueError where rotations are not (H, D, R, S) for qk (B, H, L, D)."""
    wanted = (qk.shape[1], qk.shape[3], sum(factors) // 2)
    if rotations.dim() != 4 or (*rotations.shape[:2], rotations.shape[3]) != wanted:
        h, d, directions = wanted
        raise ValueError(
            "rotations must be (H, D, n_hashes, sum(factors) // 2) = "
            f"{(h, d, 'n_hashes', directions)}, not {tuple(rotations.shape)}"
        )


def largest_direction(projected: Tensor, factors: tuple[int, ...]) -> Tensor:
    """(..., S) -> (...): for each factor the index of the largest of [x ; -x], the first factor
    least significant.
    """
    sizes, bucket, step, column = projected.abs(), 0, 1, 0
    for factor in factors:
        columns = slice(column, column + factor // 2)
        largest = sizes[..., columns].argmax(-1, keepdim=True)
        negative = projected[..., columns].gather(-1, largest) < 0
        bucket = bucket + step * (largest + negative * (factor // 2))
        step, column = step * factor, column + factor // 2
    return bucket.squeeze(-1)
