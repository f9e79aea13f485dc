"""SequenceModel: chunked = plain, positions, merge, shift right, and no look into the future."""

import math
from typing import NamedTuple, Self

import pytest
import torch
from torch import Tensor

from reformer_pl.attention import build_attention
from reformer_pl.config import ConfigError
from reformer_pl.config.rules import ATTENTIONS
from reformer_pl.loss import WeightedMean, token_loss
from reformer_pl.measure import PeakMemory
from reformer_pl.model import SequenceModel, merge
from reformer_pl.positions import AxialPositions, build_positions
from tiny import VOCAB, assert_close, assert_same_grads, build, draw_batch, grads, tiny

RESIDUALS = ["standard", "checkpoint", "reversible"]
PATTERNS = [*ATTENTIONS, "local lsh shared_full full"]


# chunks


@pytest.mark.parametrize("ff_chunks, loss_chunks", [(2, 1), (1, 3), (4, 5), (18, 18)])
@pytest.mark.parametrize("kind", RESIDUALS)
def test_chunked_is_plain(kind: str, ff_chunks: int, loss_chunks: int) -> None:
    """Loss, correct guesses and every gradient; 18 positions in 4 or 5 chunks are ragged."""
    tokens, scored = draw_batch()
    results = []
    for chunks in ((1, 1), (ff_chunks, loss_chunks)):
        overrides = [f"model.ff_chunks={chunks[0]}", f"model.loss_chunks={chunks[1]}"]
        model = build("model.attention=lsh", f"model.residual={kind}", *overrides)
        loss = model.loss(tokens, scored, hash_seed=4)
        loss.mean().backward()
        results.append((loss, grads(model)))
    (plain, want), (chunked, got) = results
    assert_close(chunked.nats, plain.nats, 1e-12)
    assert chunked.correct == plain.correct and chunked.tokens == plain.tokens
    assert_same_grads(got, want, 1e-12)


def test_the_loss_counts_the_scored_tokens_alone() -> None:
    """Sums of -log softmax, by hand.

    What stands at an unscored position moves nothing but later positions.
    """
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 6, VOCAB, dtype=torch.float64, generator=generator)
    targets, scored = draw_batch(6)
    targets[0, 0], targets[1, 1] = (
        logits[0, 0].argmax(),
        logits[1, 1].argmax(),
    )  # a right guess scored, and one not
    scored[0, 0], scored[1] = True, torch.tensor([True, False, True, False, False, True])
    nats, correct = 0.0, 0
    for b, i in scored.nonzero().tolist():
        nats -= logits[b, i].log_softmax(-1)[targets[b, i]].item()
        correct += int(logits[b, i].argmax() == targets[b, i])
    for chunks in (1, 4):
        loss = token_loss(logits, lambda x: x, targets, scored, chunks)
        assert loss.nats.item() == pytest.approx(nats, abs=1e-12)
        assert (loss.correct, loss.tokens) == (correct, int(scored.sum())) and correct >= 1
        assert loss.mean().item() == pytest.approx(nats / int(scored.sum()), abs=1e-12)
        changed = token_loss(
            logits, lambda x: x, torch.where(scored, targets, (targets + 1) % VOCAB), scored, chunks
        )
        assert changed.nats == loss.nats and changed.correct == loss.correct


def test_bits_per_dim_weighs_tokens() -> None:
    metric = WeightedMean(math.log(2))
    metric.update(torch.tensor(2.0), torch.tensor(3))
    metric.update(torch.tensor(4.0), torch.tensor(1))
    assert float(metric.compute()) == pytest.approx((2 * 3 + 4) / 4 / 0.6931471805599453)


class Counted(NamedTuple):
    """A loss of one's own, with a field for each sequence."""

    nats: Tensor
    wrong: Tensor  # (B,)

    @classmethod
    def of(cls, logits: Tensor, targets: Tensor, scored: Tensor) -> Self:
        nats = logits.logsumexp(-1) * scored
        return cls(nats.sum(), ((logits.argmax(-1) != targets) & scored).sum(1))


@pytest.mark.parametrize("chunks", [1, 5])
def test_a_loss_of_ones_own_adds_up_field_by_field(chunks: int) -> None:
    model, (tokens, scored) = build(f"model.loss_chunks={chunks}"), draw_batch()
    loss = model.loss(tokens, scored, loss=Counted)
    logits = model.head(model(tokens))
    assert_close(loss.nats, (logits.logsumexp(-1) * scored).sum(), 1e-12)
    assert torch.equal(loss.wrong, ((logits.argmax(-1) != tokens) & scored).sum(1))
    loss.nats.backward()
    assert model.head.weight.grad.any()


def test_chunks_save_memory() -> None:
    def peak(*overrides: str) -> int:
        model = build(
            "task.length=256",
            "model.d_ff=256",
            "model.n_layers=1",
            "model.attention=local",
            *overrides,
        )
        model.head = torch.nn.Linear(8, 512).double()
        tokens, scored = draw_batch(256, 4)
        with PeakMemory(torch.device("cpu")) as memory:
            model.loss(tokens, scored).mean().backward()
        return memory.bytes

    plain, ff, both = (
        peak(),
        peak("model.loss_chunks=16"),
        peak("model.loss_chunks=16", "model.ff_chunks=16"),
    )
    logits, inner = 4 * 256 * 512 * 8, 4 * 256 * 256 * 8
    assert ff < plain - logits
    assert both < ff - inner


# positions


def test_learned_positions_are_a_table() -> None:
    positions = build_positions(tiny().model, 18)
    assert positions().shape == (18, 8) and positions() is positions.table


@pytest.mark.parametrize(
    "shape, dims", [([3, 6], [2, 6]), ([6, 3], [4, 4]), ([2, 3, 3], [2, 3, 3]), ([18], [8])]
)
def test_axial_positions_are_one_small_table_per_axis(shape: list[int], dims: list[int]) -> None:
    config = tiny("model.positions=axial", f"model.axial.shape={shape}", f"model.axial.dims={dims}")
    positions = build_positions(config.model, 18)
    assert isinstance(positions, AxialPositions)
    assert [tuple(t.shape) for t in positions.parameters()] == list(zip(shape, dims, strict=True))
    table = positions()
    assert table.shape == (18, 8)
    for p in range(18):
        parts, rest = [], p
        for n, t in reversed(
            list(zip(shape, positions.tables, strict=True))
        ):  # row-major: the last axis runs fastest
            parts.insert(0, t[rest % n])
            rest //= n
        assert torch.equal(table[p], torch.cat(parts))


def test_axial_positions_default_to_the_squarest_split() -> None:
    positions = build_positions(tiny("model.positions=axial", "model.d_model=10").model, 18)
    assert [tuple(t.shape) for t in positions.tables] == [(3, 5), (6, 5)]
    assert positions().unique(dim=0).shape[0] == 18  # no two positions alike


@pytest.mark.parametrize("word", ["learned", "axial"])
def test_a_model_tells_positions_apart(word: str) -> None:
    """The same token everywhere, under full attention: only positions can make a difference."""
    model = build("model.attention=full", f"model.positions={word}").eval()
    hidden = model(torch.zeros(1, 18, dtype=torch.long))[0]
    assert (hidden[1:] - hidden[:-1]).abs().amax(-1).min() > 1e-4


@pytest.mark.parametrize("residual", RESIDUALS)
@pytest.mark.parametrize("kind", ["full", "shared_full", "lsh", "local sinks blocks topk"])
def test_rotary_positions_are_found_in_every_attention(kind: str, residual: str) -> None:
    words = (f"model.attention={kind}", f"model.residual={residual}")
    tokens, _ = draw_batch()
    rotary = build(*words, "model.positions=rotary").eval()
    assert not [name for name, _ in rotary.named_parameters() if "position" in name]
    none = build(*words, "model.positions=none").eval()
    none.load_state_dict(rotary.state_dict())
    assert (rotary(tokens) - none(tokens)).abs().max() > 1e-6


# merge


def test_merge() -> None:
    x1, x2 = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    assert torch.equal(merge("mean", x1, x2), (x1 + x2) / 2)
    assert torch.equal(merge("concat", x1, x2)[..., :4], x1) and torch.equal(
        merge("concat", x1, x2)[..., 4:], x2
    )
    with pytest.raises(ConfigError, match="mean, concat"):
        merge("sum", x1, x2)


def test_merge_decides_the_width_of_the_head() -> None:
    tokens, _ = draw_batch()
    assert build("model.residual=reversible")(tokens).shape == (2, 18, 8)
    concat = build("model.residual=reversible", "model.merge=concat")
    assert concat(tokens).shape == (2, 18, 16)
    assert concat.head.weight.shape == (VOCAB, 16) and concat.norm.weight.shape == (16,)


@pytest.mark.parametrize("word", PATTERNS)
def test_every_residual_has_the_same_parameters(word: str) -> None:
    """So reversible and standard can be compared, and a checkpoint of one loads into the other."""
    shapes = [
        {
            n: p.shape
            for n, p in build(
                f"model.attention={word}", f"model.residual={kind}"
            ).named_parameters()
        }
        for kind in RESIDUALS
    ]
    assert shapes[0] == shapes[1] == shapes[2]


# shift right, and the future


@pytest.mark.parametrize("word", PATTERNS)
def test_the_first_input_is_id_0_and_each_position_sees_the_tokens_before_it(word: str) -> None:
    model = build(f"model.attention={word}", "model.lsh.window=causal").eval()
    seen: list[Tensor] = []
    model.embedding.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    tokens, _ = draw_batch()
    hidden = model(tokens)
    assert torch.equal(seen[0], torch.cat([torch.zeros(2, 1, dtype=torch.long), tokens[:, :-1]], 1))
    for t in (0, 5, 16):
        other = tokens.clone()
        other[:, t] = (other[:, t] + 1) % VOCAB
        changed = (model(other) - hidden).abs().amax((0, 2))
        assert changed[: t + 1].max() <= 1e-12  # a position is not scored on a token it has seen
        assert changed[t + 1] > 1e-6  # and sees the one before at once
    last = tokens.clone()
    last[:, -1] = (last[:, -1] + 1) % VOCAB
    assert torch.equal(model(last), hidden)  # the last token is scored and never an input


@pytest.mark.parametrize("kind", RESIDUALS)
@pytest.mark.parametrize("word", PATTERNS)
def test_the_future_cannot_move_the_past(word: str, kind: str) -> None:
    """Ragged lengths, three layers, several draws of a whole new future: exactly causal."""
    for length, dedupe in ((30, True), (37, False)):
        overrides = [
            f"model.attention={word}",
            f"model.residual={kind}",
            "model.n_layers=3",
            f"model.lsh.dedupe={dedupe}",
        ]
        model = build(
            *overrides, "task.name=enwik8", f"task.length={length}", "model.lsh.window=causal"
        ).eval()
        tokens, _ = draw_batch(length)
        with torch.no_grad():
            hidden = model(tokens, hash_seed=3)
            for seed, t in enumerate((1, 8, 17, 29)):
                other = torch.cat([tokens[:, :t], draw_batch(length, seed=10 + seed)[0][:, t:]], 1)
                error = (model(other, hash_seed=3) - hidden).abs()[:, : t + 1].max()
                assert error <= 1e-12, f"tokens from {t} on moved the past by {error:.1e}"


def test_the_papers_window_does_let_the_future_move_the_past() -> None:
    """window=chunk: chunk borders move. What the test above would not let through."""
    model = build("model.attention=lsh", "model.lsh.window=chunk", "task.length=32").eval()
    tokens, _ = draw_batch(32)
    other = torch.cat([tokens[:, :16], draw_batch(32, seed=10)[0][:, 16:]], 1)
    assert (model(other) - model(tokens))[:, :17].abs().max() > 1e-6


# attention


def kinds(model: SequenceModel) -> list[str]:
    """The word of each layer, by its kernel."""
    kernels = [attention.kernel for _, attention, _ in model.attentions()]
    names = [getattr(kernel, "func", kernel).__name__ for kernel in kernels]
    return ["lsh" if name == "attend" else name for name in names]


@pytest.mark.parametrize(
    "pattern, expected",
    [
        ("lsh", ["lsh"] * 6),
        ("local lsh", ["local", "lsh"] * 3),
        ("local local lsh local", ["local", "local", "lsh", "local", "local", "local"]),
        (
            "full lsh local shared_full lsh full local",
            ["full", "lsh", "local", "shared_full", "lsh", "full"],
        ),
    ],
)
def test_a_pattern_cycles_over_the_layers(pattern: str, expected: list[str]) -> None:
    assert kinds(build(f"model.attention={pattern}", "model.n_layers=6")) == expected


def test_an_unknown_attention_word_lists_the_valid_ones() -> None:
    with pytest.raises(ConfigError, match="full, shared_full, lsh, local"):
        build_attention(tiny().model, "flash")


def test_shared_full_and_lsh_load_each_others_checkpoints() -> None:
    """Strictly. They then agree where they must: one chunk over the length, no bucket mask."""
    lsh = build(
        "model.attention=lsh", "model.lsh.chunk_len=18", "model.lsh.bucket_mask=false", seed=1
    ).eval()
    shared_full = build("model.attention=shared_full", seed=2).eval()
    assert list(lsh.state_dict()) == list(shared_full.state_dict())
    tokens, _ = draw_batch()
    assert (lsh(tokens) - shared_full(tokens)).abs().max() > 1e-3
    shared_full.load_state_dict(lsh.state_dict(), strict=True)
    assert_close(lsh(tokens), shared_full(tokens), 1e-12)
    other = build("model.attention=shared_full", seed=3).eval()
    lsh.load_state_dict(other.state_dict(), strict=True)
    assert_close(lsh(tokens), other(tokens), 1e-12)


def test_separate_queries_and_keys_do_not_load_into_shared_ones() -> None:
    with pytest.raises(RuntimeError, match=r"qk\.weight"):
        build("model.attention=lsh").load_state_dict(build("model.attention=full").state_dict())


def test_the_hash_seed_alone_decides_the_hashing() -> None:
    model = build("model.attention=lsh").eval()
    tokens, _ = draw_batch()
    out = model(tokens, hash_seed=3)
    torch.manual_seed(99)
    assert torch.equal(model(tokens, hash_seed=3), out)
    assert not torch.equal(model(tokens, hash_seed=4), out)


def test_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="built for length 18, not 17"):
        build()(draw_batch(17)[0])
