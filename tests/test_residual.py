"""Reversible and checkpointed layers give the gradients of plain autograd, and keep less."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reformer_pl import attention, residual
from reformer_pl.attention import Memo, MultiHeadAttention
from reformer_pl.config.rules import ATTENTIONS
from reformer_pl.loss import token_loss
from reformer_pl.lsh.plan import Plan
from reformer_pl.measure import PeakMemory
from reformer_pl.model import SequenceModel
from tiny import assert_close, assert_same_grads, build, draw_batch, grads

PATTERNS = [*ATTENTIONS, "lsh local full"]
HASH_SEED = 5


def two_streams(
    layers: Sequence[Sequence[nn.Module]], x: Tensor, memos: Sequence[Memo]
) -> tuple[Tensor, Tensor]:
    """The reversible function (paper, section 3) for plain autograd: y1 = x1 + f(x2), y2 = x2 + g(y1), layer after layer."""
    x1, x2 = x, x
    for (f, g), memo in zip(layers, memos, strict=True):
        x1 = x1 + f(x2, memo)[0]
        x2 = x2 + g(x1, memo)[0]
    return x1, x2


def plain_loss(model: SequenceModel, tokens: Tensor, scored: Tensor) -> Tensor:
    """The loss of a reversible model, written again for plain autograd."""
    shifted = torch.cat([torch.zeros_like(tokens[:, :1]), tokens[:, :-1]], 1)
    x = model.dropout(model.embedding(shifted) + model.positions())
    x1, x2 = two_streams(model.layers, x, memos_of(model))
    hidden = torch.cat([x1, x2], -1) if model.config.merge == "concat" else (x1 + x2) / 2
    return token_loss(model.norm(hidden), model.head, tokens, scored).mean()


def memos_of(model: SequenceModel) -> list[Memo]:
    return [Memo(HASH_SEED * len(model.layers) + i) for i in range(len(model.layers))]


def run(model: SequenceModel, dropout_seed: int = 3) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of a model's own way."""
    model.zero_grad()
    torch.manual_seed(dropout_seed)
    loss = model.loss(*draw_batch(), hash_seed=HASH_SEED).mean()
    loss.backward()
    return loss.detach(), grads(model)


def run_plain(model: SequenceModel, dropout_seed: int = 3) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of the same parameters through plain autograd."""
    model.zero_grad()
    torch.manual_seed(dropout_seed)
    loss = plain_loss(model, *draw_batch())
    loss.backward()
    return loss.detach(), grads(model)


def assert_plain(model: SequenceModel, tolerance: float = 1e-10) -> dict[str, Tensor]:
    (loss, got), (expected, want) = run(model), run_plain(model)
    assert_close(loss, expected, tolerance, "loss")
    assert_same_grads(got, want, tolerance)
    return got


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("word", PATTERNS)
def test_reversible_gradients_are_those_of_autograd(word: str, dropout: float) -> None:
    """Of every parameter and of the input, for a loss that weighs the two streams differently."""
    model = build(
        f"model.attention={word}",
        "model.residual=reversible",
        "model.n_layers=3",
        f"model.dropout={dropout}",
    )
    x = torch.randn(
        2,
        18,
        8,
        dtype=torch.float64,
        generator=torch.Generator().manual_seed(2),
        requires_grad=True,
    )
    weights = torch.randn(
        2, *x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4)
    )
    inputs = [x, *model.layers.parameters()]
    results = []
    for way in (residual.run_reversible, two_streams):
        torch.manual_seed(3)
        y = torch.stack(way(model.layers, x, memos_of(model)))
        after = torch.rand(())  # the RNG goes on from the same place
        results.append((y, after, torch.autograd.grad((weights * y).sum(), inputs)))
    (y, after, got), (expected, expected_after, want) = results
    assert_close(y, expected, 1e-12)
    assert after == expected_after
    for a, b in zip(got, want, strict=True):
        assert_close(a, b, 1e-10)


@pytest.mark.parametrize("chunks", [1, 3])
@pytest.mark.parametrize("merge", ["mean", "concat"])
@pytest.mark.parametrize("word", ["full", "lsh"])
def test_a_whole_reversible_model_has_the_gradients_of_autograd(
    word: str, merge: str, chunks: int
) -> None:
    overrides = [
        f"model.attention={word}",
        "model.residual=reversible",
        f"model.merge={merge}",
        f"model.loss_chunks={chunks}",
    ]
    got = assert_plain(build(*overrides, f"model.ff_chunks={chunks}", "model.dropout=0.3"))
    assert "embedding.weight" in got and "positions.table" in got


def test_the_rng_and_the_hash_seed_matter() -> None:
    """What the identities above replay is not constant: other dropout and other hashing give other gradients."""
    model = build("model.attention=lsh", "model.residual=reversible", "model.dropout=0.3")
    _, first = run(model, 3)
    first = {name: g.clone() for name, g in first.items()}
    _, second = run(model, 4)
    assert any((first[name] - second[name]).abs().max() > 1e-6 for name in first)
    tokens, _ = draw_batch()
    model.eval()
    assert not torch.allclose(model(tokens, hash_seed=5), model(tokens, hash_seed=6))


def test_reversible_works_with_a_frozen_embedding() -> None:
    """The input of the layers then needs no gradient; the layers learn all the same."""
    model = build("model.attention=lsh", "model.residual=reversible", "model.dropout=0.3")
    model.embedding.requires_grad_(False)
    model.positions.requires_grad_(False)
    got = assert_plain(model)
    assert got.keys() == {name for name, p in model.named_parameters() if p.requires_grad}
    assert any(name.startswith("layers.0") for name in got)


@pytest.mark.parametrize(
    "frozen", ["every other parameter", "the first layer and the embedding", "all layers"]
)
def test_reversible_works_with_frozen_parameters(frozen: str) -> None:
    model = build(
        "model.attention=lsh", "model.residual=reversible", "model.n_layers=3", "model.dropout=0.3"
    )
    for i, (name, p) in enumerate(model.named_parameters()):
        match frozen:
            case "every other parameter":
                p.requires_grad_(i % 2 == 0)
            case "all layers":
                p.requires_grad_(not name.startswith("layers"))
            case _:
                p.requires_grad_(not name.startswith(("layers.0", "embedding", "positions")))
    got = assert_plain(model)
    assert got.keys() == {name for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("word", ["full", "lsh"])
@pytest.mark.parametrize("kind", ["standard", "checkpoint", "reversible"])
def test_eval_mode(kind: str, word: str) -> None:
    """Evaluation is the training function without dropout, with and without gradients, and can itself be differentiated."""
    overrides = [f"model.attention={word}", f"model.residual={kind}"]
    model, undropped = (
        build(*overrides, "model.dropout=0.4").eval(),
        build(*overrides, "model.dropout=0"),
    )
    undropped.load_state_dict(model.state_dict())
    tokens, _ = draw_batch()
    with torch.no_grad():
        out = model(tokens, HASH_SEED)
    assert_close(model(tokens, HASH_SEED), out, 1e-12)
    assert_close(undropped.train()(tokens, HASH_SEED), out, 1e-12)
    assert (model.train()(tokens, HASH_SEED) - out).abs().max() > 1e-3  # dropout does something
    if kind == "reversible":
        assert_plain(model.eval())


@contextmanager
def dtypes_seen(model: SequenceModel) -> Iterator[dict[str, list[torch.dtype]]]:
    """The dtypes of what enters every sublayer (a residual stream) and of what its function makes."""
    seen: dict[str, list[torch.dtype]] = {"stream": [], "function": []}
    sublayers = [sublayer for layer in model.layers for sublayer in layer]
    hooks = [
        s.register_forward_pre_hook(lambda _, args: seen["stream"].append(args[0].dtype))
        for s in sublayers
    ]
    hooks += [
        s.function.outer.register_forward_hook(lambda *a: seen["function"].append(a[2].dtype))
        for s in sublayers[1::2]
    ]
    yield seen
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("word", ATTENTIONS)
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_reversible_under_autocast_keeps_float32_streams(word: str, dropout: float) -> None:
    overrides = [
        f"model.attention={word}",
        "model.residual=reversible",
        "model.n_layers=4",
        f"model.dropout={dropout}",
    ]
    model = build(*overrides, dtype=torch.float32)
    ways = (
        (lambda *batch: model.loss(*batch, hash_seed=HASH_SEED).mean(), 2),
        (lambda *batch: plain_loss(model, *batch), 1),
    )
    losses, gradients = [], []
    for way, passes in ways:
        model.zero_grad()
        torch.manual_seed(3)
        with dtypes_seen(model) as seen:
            with torch.autocast("cpu", torch.bfloat16):
                loss = way(*draw_batch())
            loss.backward()  # outside, as Lightning does: the second pass must enter autocast by itself
        assert seen["stream"] == [torch.float32] * passes * 8
        assert seen["function"] == [torch.bfloat16] * passes * 4
        losses.append(loss.detach())
        gradients.append(grads(model))
    assert losses[0] == losses[1]
    for name, want in gradients[1].items():
        got = gradients[0][name]
        assert got.dtype == torch.float32
        assert (got - want).norm() <= 2e-2 * want.norm(), name


def test_a_second_backward_is_refused() -> None:
    model = build("model.residual=reversible", "model.attention=full")
    loss = model.loss(*draw_batch()).mean()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="backward runs once"):
        loss.backward()

    loss = model.loss(*draw_batch()).mean()
    loss.backward()
    with pytest.raises(RuntimeError):  # torch's own words
        loss.backward()


def test_a_backward_after_a_partial_one_is_refused() -> None:
    """The tape then stands in the middle of the model: a refusal, never a wrong gradient."""
    model = build("model.residual=reversible", "model.attention=full", "model.n_layers=3")
    loss = model.loss(*draw_batch()).mean()
    torch.autograd.grad(loss, list(model.layers[2].parameters()), retain_graph=True)
    with pytest.raises(RuntimeError, match="backward runs once"):
        loss.backward()


def test_two_forward_passes_before_one_backward() -> None:
    model = build("model.attention=lsh", "model.residual=reversible")
    results = []
    for way in (
        lambda *batch: model.loss(*batch, hash_seed=HASH_SEED).mean(),
        lambda *batch: plain_loss(model, *batch),
    ):
        model.zero_grad()
        (way(*draw_batch(seed=1)) + 2 * way(*draw_batch(seed=2))).backward()
        results.append(grads(model))
    assert_same_grads(*results)


def test_gradients_become_ready_once_and_layer_by_layer() -> None:
    """What DDP needs to send one layer's gradients while the next is at work."""
    model = build(
        "model.attention=lsh", "model.residual=reversible", "model.n_layers=3", "model.dropout=0.3"
    )
    ready: list[str] = []
    for name, p in model.named_parameters():
        p.register_post_accumulate_grad_hook(lambda _, name=name: ready.append(name))
    run(model)
    assert sorted(ready) == sorted(name for name, _ in model.named_parameters())
    depths = [int(name.split(".")[1]) for name in ready if name.startswith("layers")]
    assert depths == sorted(depths, reverse=True)


@pytest.mark.parametrize("ff_chunks", [1, 2])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("word", ["full", "lsh", "lsh local"])
def test_checkpoint_is_standard(word: str, dropout: float, ff_chunks: int) -> None:
    overrides = [
        f"model.attention={word}",
        f"model.dropout={dropout}",
        f"model.ff_chunks={ff_chunks}",
        "model.n_layers=3",
    ]
    standard, checkpointed = build(*overrides), build(*overrides, "model.residual=checkpoint")
    (loss, want), (checkpointed_loss, got) = run(standard), run(checkpointed)
    assert loss == checkpointed_loss
    assert_same_grads(got, want, 1e-12)


@pytest.mark.parametrize("kind", ["checkpoint", "reversible"])
def test_hashing_happens_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second pass neither hashes nor sorts: it attends along the very plan of the first."""
    hashed: list[Tensor] = []
    attended: list[Plan] = []
    attend, hash_and_sort = attention.attend, attention.hash_and_sort
    planned: list[Plan] = []

    def spy_hash(*args: Tensor, **options: object) -> tuple[Plan, Tensor]:
        plan, buckets = hash_and_sort(*args, **options)
        planned.append(plan)
        hashed.append(buckets)
        return plan, buckets

    def spy_attend(qk: Tensor, v: Tensor, plan: Plan) -> Tensor:
        attended.append(plan)
        return attend(qk, v, plan)

    for name, spy in (("hash_and_sort", spy_hash), ("attend", spy_attend)):
        monkeypatch.setattr(attention, name, spy)
    run(
        build(
            "model.attention=lsh", f"model.residual={kind}", "model.n_layers=3", "model.dropout=0.3"
        )
    )
    assert len(hashed) == len(planned) == 3 and len(attended) == 6
    for plan, first, second in zip(
        planned, attended[:3], reversed(attended[3:]), strict=True
    ):  # backward starts at the last layer
        assert plan is first is second
    assert not torch.equal(hashed[0], hashed[1])  # every layer hashes anew


def peak_bytes(n_layers: int, *overrides: str) -> int:
    """Peak bytes of forward and backward; parameters and gradients are there before and not counted."""
    length = 256
    overrides += (
        f"model.n_layers={n_layers}",
        f"task.length={length}",
        "model.lsh.chunk_len=16",
        "model.local.chunk_len=16",
    )
    model = build(*overrides, "model.d_model=16", "model.d_ff=64", dtype=torch.float32)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    batch = draw_batch(length, 4)
    with PeakMemory(torch.device("cpu")) as peak:
        model.loss(*batch).mean().backward()
    return peak.bytes


@pytest.mark.parametrize("word", ["full", "local", "lsh"])
def test_reversible_memory_does_not_grow_with_depth(word: str) -> None:
    """A layer of a standard model keeps several (B, L, d) activations, a checkpointed one its input, a reversible one its sort order."""
    kept = {}
    for kind in ("standard", "checkpoint", "reversible"):
        shallow, deep = (
            peak_bytes(n, f"model.attention={word}", f"model.residual={kind}") for n in (2, 8)
        )
        kept[kind] = (deep - shallow) / 6
    stream = 4 * 256 * 16 * 4  # B x L x d_model float32
    order = 4 * 2 * 2 * 256 * 8 if word == "lsh" else 0  # B x H x R x L, order and code in int32
    assert kept["standard"] > 8 * stream
    assert stream <= kept["checkpoint"] <= 1.5 * stream + order
    assert order <= kept["reversible"] <= 0.02 * stream + order


class Functional(nn.Module):
    """Dropout that no module shows: F.dropout, or that of nn.MultiheadAttention."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.inner = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True) if kind else None

    def forward(self, x: Tensor, memo: Memo) -> tuple[Tensor, Memo]:
        y = self.linear(x)
        return F.dropout(y, 0.5) if self.inner is None else self.inner(y, y, y)[0], memo


@pytest.mark.parametrize("way", [residual.run_checkpoint, residual.run_reversible])
@pytest.mark.parametrize("kind", ["", "attention"])
def test_dropout_that_is_no_module_is_replayed(kind: str, way: Callable[..., Tensor]) -> None:
    torch.manual_seed(0)
    layers = [[Functional(kind).double(), Functional("").double()] for _ in range(3)]
    x = torch.randn(2, 5, 8, dtype=torch.float64, requires_grad=True)
    inputs = [x, *(p for layer in layers for f in layer for p in f.linear.parameters())]
    plain = two_streams if way is residual.run_reversible else residual.run_standard
    results = []
    for run_layers in (way, plain):
        torch.manual_seed(3)
        y = run_layers(layers, x, [Memo(0)] * 3)
        y = torch.stack(y) if isinstance(y, tuple) else y
        results.append((y, *torch.autograd.grad(y.square().sum(), inputs)))
    for actual, expected in zip(*results, strict=True):
        assert_close(actual, expected, 1e-10)


def test_a_model_without_dropout_keeps_no_random_state() -> None:
    for word in ATTENTIONS:
        model = build(f"model.attention={word}")
        assert not any(residual.may_draw(layer) for layer in model.layers)
        model = build(f"model.attention={word}", "model.dropout=0.1")
        assert all(residual.may_draw(layer) for layer in model.layers)
        assert not any(residual.may_draw(layer) for layer in model.eval().layers)


def test_every_sublayer_of_a_layer_is_run_in_order() -> None:
    """The chain of Functions is the chain of sublayers: attention, feed-forward, attention, ..."""
    model = build("model.residual=reversible", "model.attention=full", "model.n_layers=3")
    names: list[str] = []
    for sublayer in (s for layer in model.layers for s in layer):
        kind = "attention" if isinstance(sublayer.function, MultiHeadAttention) else "feed-forward"
        sublayer.register_forward_pre_hook(lambda *_, kind=kind: names.append(kind))
    run(model)
    assert names == ["attention", "feed-forward"] * 3 + ["feed-forward", "attention"] * 3
