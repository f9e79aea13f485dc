"""SequenceModel: a decoder-only language model put together from one word per slot.

Shapes: B batch, L length, V vocabulary.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from reformer_pl.attention import Memo, build_attention, copy_rotations
from reformer_pl.compiled import compilable
from reformer_pl.config import ModelConfig
from reformer_pl.config.rules import MERGES, RESIDUALS, ConfigError, attention_pattern
from reformer_pl.feed_forward import FeedForward
from reformer_pl.loss import Loss, TokenLoss, token_loss
from reformer_pl.positions import STD, build_positions
from reformer_pl.residual import run_checkpoint, run_reversible, run_standard


class Sublayer(nn.Module):
    """Pre-LayerNorm, the function, dropout: what a residual connection adds.

    The function is (x (B, L, d_model), memo) -> (y, memo), and so is the sublayer.
    """

    draws_itself = False

    def __init__(self, function: nn.Module, config: ModelConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.d_model)
        self.function = function
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, memo: Memo) -> tuple[Tensor, Memo]:
        y, memo = self.function(self._normalise(x), memo)
        return self.dropout(y), memo

    @compilable
    def _normalise(self, x: Tensor) -> Tensor:
        return self.norm(x)


class SequenceModel(nn.Module):
    """A decoder-only language model.

    Its parts are token and position embeddings, n_layers of [attention, feed-forward], LayerNorm,
    and a projection to the vocabulary. The model shifts right inside: the first input is id 0. So a
    sequence of L tokens is scored at every one of its L positions.
    """

    def __init__(self, config: ModelConfig, vocab_size: int, length: int) -> None:
        super().__init__()
        self.config, self.length = config, length
        self.embedding = nn.Embedding(vocab_size, config.d_model)
        nn.init.normal_(self.embedding.weight, std=STD)
        self.positions = build_positions(config, length)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    Sublayer(build_attention(config, word), config),
                    Sublayer(FeedForward(config), config),
                ]
            )
            for word in attention_pattern(config.attention, config.n_layers)
        )
        width = 2 * config.d_model if config.merge == "concat" else config.d_model
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab_size)

    def attentions(self) -> Iterator[tuple[int, nn.Module, nn.LayerNorm]]:
        """(layer index, its attention, the norm that its input x (B, L, d_model) passes first)."""
        for index, (attention, _) in enumerate(self.layers):
            yield index, attention.function, attention.norm

    def forward(self, tokens: Tensor, hash_seed: int = 0) -> Tensor:
        """tokens (B, L) ids -> hidden (B, L, d_model), ready for `head`.

        With merge=concat the last size is 2 d_model. hash_seed decides the LSH rotations of every
        layer, alike on every rank and device. Raises ValueError for another length than the model
        was built for.
        """
        if tokens.shape[1] != self.length:
            raise ValueError(f"the model was built for length {self.length}, not {tokens.shape[1]}")
        shifted = torch.cat([torch.zeros_like(tokens[:, :1]), tokens[:, :-1]], 1)
        x = self.embedding(shifted)
        x = self.dropout(x if self.positions is None else x + self.positions())
        memos = [Memo(hash_seed * len(self.layers) + i) for i in range(len(self.layers))]
        if tokens.is_cuda:
            attentions = [attention for _, attention, _ in self.attentions()]
            memos = copy_rotations(attentions, memos, self.length, tokens.device)
        match self.config.residual:
            case "standard":
                x = run_standard(self.layers, x, memos)
            case "checkpoint":
                x = run_checkpoint(self.layers, x, memos)
            case "reversible":
                x = merge(self.config.merge, *run_reversible(self.layers, x, memos))
            case word:
                raise ConfigError(
                    f"model.residual={word} is unknown: choose {', '.join(RESIDUALS)}"
                )
        return self.norm(x)

    def loss(
        self, tokens: Tensor, scored: Tensor, hash_seed: int = 0, loss: type[Loss] = TokenLoss
    ) -> Loss:
        """The loss, and the scores, of the tokens (B, L) where scored (B, L) is True."""
        hidden = self(tokens, hash_seed)
        return token_loss(hidden, self.head, tokens, scored, self.config.loss_chunks, loss)


def in_phase(model: SequenceModel, config: ModelConfig) -> SequenceModel:
    """A model of another config with the very parameters of this one, and in its mode.

    Nothing is drawn and no memory is taken. Raises ConfigError where the config has others.
    """
    with torch.device("meta"):
        changed = SequenceModel(config, model.head.out_features, model.length)
    parameters = dict(model.named_parameters())
    shapes = {name: parameter.shape for name, parameter in parameters.items()}
    if shapes != {name: parameter.shape for name, parameter in changed.named_parameters()}:
        raise ConfigError("a phase keeps the weights, and this one has others")
    for name, parameter in parameters.items():
        place, _, last = name.rpartition(".")
        setattr(changed.get_submodule(place), last, parameter)
    return changed.train(model.training)


def merge(word: str, x1: Tensor, x2: Tensor) -> Tensor:
    """The two reversible streams (B, L, d_model) become one.

    `mean` keeps the parameters of a standard model. `concat` is the published one, and returns
    (B, L, 2 d_model).
    """
    match word:
        case "mean":
            return (x1 + x2) / 2
        case "concat":
            return torch.cat([x1, x2], -1)
        case _:
            raise ConfigError(f"model.merge={word} is unknown: choose {', '.join(MERGES)}")
