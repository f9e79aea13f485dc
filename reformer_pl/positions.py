"""Where a token stands: vectors that are added to its embedding, or rotations of queries and keys.

Shapes: B batch, H heads, L length, D head size.
"""

import torch
from torch import Tensor, nn

from reformer_pl.config import ModelConfig
from reformer_pl.config.rules import POSITIONS, ConfigError, axial_split

# The scale of the token embedding. With the published N(0, 1) tables small models had not begun to
# learn after 200 steps.
STD = 0.02


class LearnedPositions(nn.Module):
    """One vector per position."""

    def __init__(self, length: int, d_model: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(length, d_model) * STD)

    def forward(self) -> Tensor:
        return self.table


class AxialPositions(nn.Module):
    """Positions on a grid of `shape`: the concatenation of one small table per axis, row-major.

    Position p of a 2 x 3 grid is [row p // 3 ; column p % 3]: 5 vectors instead of 6. A grid of
    128 x 512 has 640 instead of 65,536. The paper's text does not have it; the published models use
    it for 64K tokens.
    """

    def __init__(self, shape: list[int], dims: list[int]) -> None:
        super().__init__()
        self.shape = shape
        self.tables = nn.ParameterList(
            torch.randn(n, d) * STD for n, d in zip(shape, dims, strict=True)
        )

    def forward(self) -> Tensor:
        parts = []
        for axis, table in enumerate(self.tables):
            view = [1] * len(self.shape)
            view[axis] = self.shape[axis]
            parts.append(table.view(*view, -1).expand(*self.shape, -1).reshape(-1, table.shape[1]))
        return torch.cat(parts, -1)


def rotate(x: Tensor) -> Tensor:
    """Turn queries or keys (..., L, D) by their position (RoPE, arXiv 2104.09864, section 3.2).

    Number i and number D/2 + i of a vector are a point of a plane, and position p turns it by the
    angle p * 10000^(-2i/D). So q . k depends on the distance of the two tokens alone. Angles are
    float32 at least. D must be even.
    """
    length, half = x.shape[-2], x.shape[-1] // 2
    wide = torch.promote_types(x.dtype, torch.float32)
    speeds = 10000 ** (-torch.arange(half, device=x.device, dtype=wide) / half)
    angles = torch.arange(length, device=x.device, dtype=wide)[:, None] * speeds  # (L, D/2)
    cos, sin = angles.cos(), angles.sin()
    a, b = x.to(wide).chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1).to(x.dtype)


def build_positions(config: ModelConfig, length: int) -> nn.Module | None:
    """What is added to the embedding; None where nothing is: attention rotates, or order is lost
    but for the causal mask.
    """
    match config.positions:
        case "rotary" | "none":
            return None
        case "learned":
            return LearnedPositions(length, config.d_model)
        case "axial":
            return AxialPositions(
                *axial_split(config.axial.shape, config.axial.dims, config.d_model, length)
            )
        case word:
            raise ConfigError(f"model.positions={word} is unknown: choose {', '.join(POSITIONS)}")
