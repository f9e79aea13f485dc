"""What a benchmark is compared with: the public Reformers of the extra `peers`.

Each peer is built to the sizes of our config and called as its own documentation says. They are
transformers' Reformer (Hugging Face) and lucidrains' reformer_pytorch. Both count duplicates, look
over chunk and bucket borders, and keep their own reversible stacks.

Shapes: B batch, H heads, L length, D head size, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reformer_pl.config import RunConfig
from reformer_pl.config.rules import PEERS, ConfigError, bucket_factors


def peer_layer(config: RunConfig) -> nn.Module:
    """One causal LSH layer with its projections, x (B, L, d_model) -> (B, L, d_model)."""
    model = config.model
    match config.benchmark.peer:
        case "transformers":
            return TransformersLayer(config)
        case "lucidrains":
            from reformer_pytorch import LSHSelfAttention

            lsh = model.lsh
            return LSHSelfAttention(
                model.d_model,
                heads=model.n_heads,
                bucket_size=lsh.chunk_len,
                n_hashes=lsh.n_hashes,
                causal=True,
            )
        case word:
            raise ConfigError(f"benchmark.peer={word} has no layer: choose {', '.join(PEERS)}")


def peer_model(config: RunConfig, vocab_size: int) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """(model, tokens (B, L) -> mean loss in nats): a whole language model in training mode.

    Its input is shifted right, as ours is.
    """
    model, length = config.model, config.task.length
    match config.benchmark.peer:
        case "transformers":
            from transformers import ReformerModelWithLMHead

            made: Any = ReformerModelWithLMHead(_transformers_config(config, vocab_size)).train()

            def logits(tokens: Tensor) -> Tensor:
                return made(tokens, use_cache=False).logits
        case "lucidrains":
            from reformer_pytorch import ReformerLM

            made = logits = ReformerLM(
                vocab_size,
                dim=model.d_model,
                depth=model.n_layers,
                max_seq_len=length,
                heads=model.n_heads,
                dim_head=model.d_model // model.n_heads,
                bucket_size=model.lsh.chunk_len,
                n_hashes=model.lsh.n_hashes,
                ff_chunks=model.ff_chunks,
                ff_mult=model.d_ff // model.d_model,
                causal=True,
                absolute_position_emb=True,
            ).train()
        case word:
            raise ConfigError(f"benchmark.peer={word} has no model: choose {', '.join(PEERS)}")

    def loss(tokens: Tensor) -> Tensor:
        shifted = torch.cat([torch.zeros_like(tokens[:, :1]), tokens[:, :-1]], 1)
        return F.cross_entropy(logits(shifted).flatten(0, 1).float(), tokens.flatten())

    return made, loss


class TransformersLayer(nn.Module):
    """Hugging Face's LSHSelfAttention and the projection that follows it in ReformerSelfOutput."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__()
        from transformers.models.reformer.modeling_reformer import LSHSelfAttention

        self.attention = LSHSelfAttention(_transformers_config(config, vocab_size=2))
        self.out = nn.Linear(config.model.d_model, config.model.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.attention(x).hidden_states)


def _transformers_config(config: RunConfig, vocab_size: int) -> Any:
    from transformers import ReformerConfig

    model, length = config.model, config.task.length
    factors = bucket_factors(model.lsh.n_buckets, length, model.lsh.chunk_len)
    return ReformerConfig(
        vocab_size=vocab_size,
        hidden_size=model.d_model,
        num_attention_heads=model.n_heads,
        attention_head_size=model.d_model // model.n_heads,
        feed_forward_size=model.d_ff,
        attn_layers=["lsh"] * model.n_layers,
        lsh_attn_chunk_length=model.lsh.chunk_len,
        num_hashes=model.lsh.n_hashes,
        num_buckets=factors[0] if len(factors) == 1 else list(factors),
        max_position_embeddings=length,
        axial_pos_embds=False,
        hidden_dropout_prob=0.0,
        chunk_size_feed_forward=0 if model.ff_chunks == 1 else length // model.ff_chunks,
        is_decoder=True,  # causal
        use_cache=False,
        pad_token_id=None,  # every id is a token
        eos_token_id=None,
    )
