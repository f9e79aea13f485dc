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
ROTARY_BASE = 10_000.0


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


class NoPositions(nn.Module):
    """Nothing is added: attention rotates (rotary), or a token does not know where it stands."""

    def forward(self) -> float:
        return 0.0


def rotate(x: Tensor) -> Tensor:
    """Rotary positions (arXiv 2104.09864): queries or keys (B, H, L, D), of any L and even D.

    Position p turns the pair (x_i, x_{i + D/2}) by the angle p * 10000^(-2i/D). So a product of a
    query and a key depends on their distance alone, and a norm stays as it is. The angles are
    computed in float32 at least.
    """
    length, size = x.shape[-2:]
    exact = torch.promote_types(x.dtype, torch.float32)
    pairs = torch.arange(0, size, 2, dtype=exact, device=x.device)
    places = torch.arange(length, dtype=exact, device=x.device)
    angles = torch.outer(places, ROTARY_BASE ** (-pairs / size))
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)


def build_positions(config: ModelConfig, length: int) -> nn.Module:
    """A module that returns what is added to the embedding (L, d_model), or nothing."""
    match config.positions:
        case "learned":
            return LearnedPositions(length, config.d_model)
        case "axial":
            return AxialPositions(
                *axial_split(config.axial.shape, config.axial.dims, config.d_model, length)
            )
        case "rotary" | "none":
            return NoPositions()
        case word:
            raise ConfigError(f"model.positions={word} is unknown: choose {', '.join(POSITIONS)}")
