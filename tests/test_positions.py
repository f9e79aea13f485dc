"""Rotary positions and none: scores of distances alone, and models that take another length."""

import pytest
import torch

from reformer_pl.config import ConfigError
from reformer_pl.config.evaluations import load_evaluation
from reformer_pl.measure import predict_memory
from reformer_pl.model import SequenceModel
from reformer_pl.positions import rotate
from test_attention import draw
from tiny import VOCAB, assert_close, assert_same_grads, build, draw_batch, tiny


def test_rotary_scores_depend_on_distance_alone() -> None:
    """The same query and key at every place: the scores of one distance are one number."""
    q, k = (draw(1, 6, seed=i).expand(40, 6) for i in range(2))
    scores = rotate(q) @ rotate(k).T
    for distance in range(40):
        diagonal = scores.diagonal(-distance)
        assert_close(diagonal, diagonal[:1].expand_as(diagonal), 1e-12)
    assert scores[:, 0].std() > 0.01
    assert_close(rotate(q).norm(dim=-1), q.norm(dim=-1), 1e-12)
    assert torch.equal(rotate(q)[0], q[0])


def test_rotary_turns_the_pairs_of_its_definition() -> None:
    x, out = draw(3, 5, 4), rotate(draw(3, 5, 4))
    for p in range(5):
        for i in range(2):
            turn = torch.polar(
                torch.ones((), dtype=torch.float64),
                torch.tensor(p * 100.0**-i, dtype=torch.float64),
            )
            point = torch.complex(x[:, p, i], x[:, p, i + 2]) * turn
            assert_close(torch.stack([point.real, point.imag], -1), out[:, p, i::2], 1e-12)


def test_without_positions_the_order_of_the_past_is_lost_and_rotary_keeps_it() -> None:
    """The last of the hidden vectors sees a set: the same for any order of what came before."""
    tokens, _ = draw_batch(10)
    swapped = tokens[:, [3, 1, 6, 0, 2, 5, 4, 7, 8, 9]]  # the last input is token 8
    for word, same in (("none", True), ("rotary", False), ("learned", False)):
        model = build(
            f"model.positions={word}", "model.attention=full", "model.n_layers=1", "task.length=10"
        )
        model.eval()
        last, other = (model(x)[:, -1] for x in (tokens, swapped))
        assert torch.allclose(last, other, atol=1e-12) is same


@pytest.mark.parametrize(
    "attention", ["full", "lsh", "shared_full", "local", "sinks", "blocks", "topk"]
)
@pytest.mark.parametrize("word", ["rotary", "none"])
def test_no_look_into_the_future_and_one_gradient_in_two_residuals(
    word: str, attention: str
) -> None:
    tokens, scored = draw_batch()
    overrides = (
        f"model.positions={word}",
        f"model.attention={attention}",
        "model.lsh.window=causal",
    )
    models = [build(*overrides, f"model.residual={kind}") for kind in ("standard", "checkpoint")]
    for model in models:
        model.loss(tokens, scored, hash_seed=3).mean().backward()
    assert_same_grads(*models)
    changed = tokens.clone()
    changed[:, 11:] = (changed[:, 11:] + 1) % VOCAB
    assert torch.equal(
        models[0](tokens, 3)[:, :12], models[0](changed, 3)[:, :12]
    ) or torch.allclose(models[0](tokens, 3)[:, :12], models[0](changed, 3)[:, :12], atol=1e-12)


@pytest.mark.parametrize("length", [9, 36, 50])
@pytest.mark.parametrize("word", ["rotary", "none"])
def test_an_evaluation_at_another_length_takes_the_same_weights(word: str, length: int) -> None:
    trained = tiny(f"model.positions={word}", "task.name=recall", "task.length=18", "task.pairs=2")
    changed = load_evaluation(trained, [f"task.length={length}"])
    weights = SequenceModel(trained.model, VOCAB, 18).state_dict()
    model = SequenceModel(changed.model, VOCAB, changed.task.length)
    model.load_state_dict(weights, strict=True)
    assert model(draw_batch(length)[0]).shape == (2, length, 8)
    if length == 36:
        assert predict_memory(changed)["total"] > 0


@pytest.mark.parametrize("word", ["learned", "axial"])
def test_positions_with_weights_refuse_another_length_with_the_fix(word: str) -> None:
    with pytest.raises(ConfigError, match=r"train with model.positions=rotary or none"):
        load_evaluation(tiny(f"model.positions={word}"), ["task.length=36"])


def test_rotary_needs_heads_of_even_size() -> None:
    with pytest.raises(ConfigError, match=r"d_model / model.n_heads = 3 must be even"):
        tiny("model.positions=rotary", "model.d_model=6")
