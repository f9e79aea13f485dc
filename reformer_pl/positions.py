"""Position embeddings: (L, d_model), added to the token embedding."""

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


def build_positions(config: ModelConfig, length: int) -> nn.Module:
    match config.positions:
        case "learned":
            return LearnedPositions(length, config.d_model)
        case "axial":
            return AxialPositions(
                *axial_split(config.axial.shape, config.axial.dims, config.d_model, length)
            )
        case word:
            raise ConfigError(f"model.positions={word} is unknown: choose {', '.join(POSITIONS)}")
