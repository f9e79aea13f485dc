"""The position-wise feed-forward layer, whole or in chunks (paper, section 3, eq. 10)."""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from reformer_pl.attention import Memo
from reformer_pl.compiled import compilable
from reformer_pl.config import ModelConfig


class FeedForward(nn.Module):
    """Dense, dropout, ReLU, Dense, in the published code's order.

    With ff_chunks > 1 one chunk's (B, L / ff_chunks, d_ff) activation is alive at a time. So it is
    in the backward pass, where each chunk is computed again.
    """

    draws_itself = False

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.ff_chunks = config.ff_chunks
        self.inner = nn.Linear(config.d_model, config.d_ff)
        self.dropout = nn.Dropout(config.dropout)
        self.outer = nn.Linear(config.d_ff, config.d_model)

    def forward(self, x: Tensor, memo: Memo) -> tuple[Tensor, Memo]:
        """x (B, L, d_model) -> (y of the same shape, the memo as it came)."""
        if self.ff_chunks == 1:
            return self._dense(x), memo
        drops = self.dropout.p > 0
        chunks = [
            checkpoint(self._dense, c, use_reentrant=False, preserve_rng_state=drops)
            for c in x.chunk(self.ff_chunks, dim=1)
        ]
        return torch.cat(chunks, 1), memo

    @compilable
    def _dense(self, x: Tensor) -> Tensor:
        return self.outer(torch.relu(self.dropout(self.inner(x))))
