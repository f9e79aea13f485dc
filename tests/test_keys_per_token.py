"""Keys per token equal a count by the definition of each attention."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import definition
from experiments import evaluate, train
from experiments.run_dir.files import load_run_config
from experiments.training.scoring import score
from experiments.training.trainer import build_trainer
from reformer_pl.attention import LSHAttention, Memo, build_attention
from reformer_pl.config.rules import ATTENTIONS, bucket_factors
from reformer_pl.lsh import budget, draw_rotations, plan_attention
from reformer_pl.module import LitSequenceModel, held_out_seed
from reformer_pl.reach import keys_per_token
from reformer_pl.reach.keys_per_token import counted_keys, keys_by_place, keys_reached
from reformer_pl.tasks import build_task
from tiny import build, draw_batch, tiny

LENGTHS = [1, 2, 3, 4, 5, 8, 9, 17, 21]
WINDOWS = [
    ("chunk", True, True), ("chunk", True, False), ("chunk", False, True), ("chunk", False, False),
    ("causal", True, True), ("wrap", True, False), ("wrap", False, False),
]  # fmt: skip
SIZES = [
    [],
    ["model.local.chunk_len=1", "model.sinks.window=1", "model.sinks.n_sinks=0"],
    ["model.local.chunk_len=7", "model.sinks.window=3", "model.sinks.n_sinks=6"],
    ["model.blocks.chunk_len=1", "model.blocks.top_k=1", "model.topk.n_keys=1"],
    ["model.blocks.chunk_len=3", "model.blocks.top_k=4", "model.topk.n_keys=64"],
    ["model.lsh.n_hashes=1", "model.lsh.window=causal"],
    ["model.lsh.n_hashes=5", "model.lsh.bucket_mask=false"],
    ["model.lsh.window=wrap", "model.lsh.bucket_mask=false", "model.lsh.dedupe=false"],
]


@pytest.mark.parametrize("word", ATTENTIONS)
@pytest.mark.parametrize("sizes", SIZES)
def test_the_keys_are_those_that_the_kernel_weighs(word: str, sizes: list[str]) -> None:
    """Where the values are 1, the output is the weights."""
    config = tiny("model.n_heads=1", *sizes).model
    if keys_by_place(word, config, 1) is None and word != "lsh":
        pytest.skip("it says nothing of its keys")
    for length in LENGTHS:
        attention = build_attention(replace(config, d_model=length), word)
        q, k = torch.randn(2, 1, 1, length, length, dtype=torch.float64)
        values = torch.eye(length, dtype=torch.float64)[None, None]
        inputs = (q, values) if attention.shared_qk else (q, k, values)
        weights, memo = attention.run_kernel(inputs, Memo(hash_seed=length))
        keys = keys_by_place(word, config, length)
        if word == "lsh":
            assert keys is None
            keys = keys_reached(memo.plan)[0, :length]
        assert keys.tolist() == (weights[0, 0] > 0).sum(-1).tolist(), length


def counted_by_definition(
    buckets: Tensor, padded: Tensor, options: dict[str, Any]
) -> list[list[int]]:
    """Of each head of buckets (B, H, R, L), by position; padded (B, L)."""
    counts = []
    for b, h in itertools.product(*(range(n) for n in buckets.shape[:2])):
        reached = definition.reach_counts(buckets[b, h].long(), padded[b], **options) > 0
        counts.append(reached.sum(-1).clamp(min=1).masked_fill(padded[b], 0).tolist())
    return counts


@pytest.mark.parametrize("window, causal, bucket_mask", WINDOWS)
@pytest.mark.parametrize("rounds", [1, 2, 5])
@pytest.mark.parametrize("length, n_buckets", [(1, 2), (6, None), (16, 4), (23, (2, 4))])
def test_the_keys_of_a_plan_are_those_of_the_definition(
    window: str, causal: bool, bucket_mask: bool, rounds: int, length: int, n_buckets: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    generator = torch.Generator().manual_seed(rounds)
    qk = torch.randn(2, 2, length, 4, generator=generator, dtype=torch.float64)
    factors = bucket_factors(n_buckets, length, 4)
    rotations = draw_rotations(2, 4, rounds, factors, generator).double()
    buckets = definition.hash_buckets(qk, rotations, factors)
    options = {"chunk_len": 4, "causal": causal, "bucket_mask": bucket_mask, "window": window}
    some = torch.arange(length) >= torch.tensor([[length], [length - length // 3]])
    for padded in (None, some):
        for dedupe in {False, window != "wrap"}:
            plan, _ = plan_attention(
                qk, n_hashes=rounds, n_buckets=n_buckets, rotations=rotations, dedupe=dedupe,
                key_padding_mask=padded, **options,
            )  # fmt: skip
            none = torch.zeros(2, length, dtype=torch.bool)
            expected = counted_by_definition(buckets, none if padded is None else padded, options)
            assert keys_reached(plan)[:, :length].tolist() == expected
            assert not keys_reached(plan)[:, length:].any()
            monkeypatch.setitem(budget.TILE_BYTES, "cpu", 300)  # many tiles
            assert keys_reached(plan)[:, :length].tolist() == expected
            monkeypatch.undo()


def reached_by_definition(module: LitSequenceModel, tokens: Tensor, draw: int) -> list[float]:
    """The mean keys of each layer, from its own qk and the rotations of the evaluation."""
    config, model, means = module.config.model, module.model, []
    length = tokens.shape[1]
    factors = bucket_factors(config.lsh.n_buckets, length, config.lsh.chunk_len)
    seeds = {id(a): held_out_seed(0, draw) * config.n_layers + i for i, a, _ in model.attentions()}

    def hook(attention: LSHAttention, inputs: Any, output: Any) -> None:
        (qk, _), seed = attention._project(inputs[0]), seeds[id(attention)]
        buckets = definition.hash_buckets(qk, attention.draw_rotations(seed, length), factors)
        options = {
            "chunk_len": config.lsh.chunk_len, "causal": True,
            "bucket_mask": config.lsh.bucket_mask, "window": config.lsh.window,
        }  # fmt: skip
        none = torch.zeros(len(tokens), length, dtype=torch.bool)
        counts = torch.tensor(counted_by_definition(buckets, none, options))
        means.append(counts.double().mean().item())

    hooks = [
        a.register_forward_hook(hook)
        for _, a, _ in model.attentions()
        if isinstance(a, LSHAttention)
    ]
    with torch.no_grad():
        model(tokens, held_out_seed(0, draw))
    for handle in hooks:
        handle.remove()
    return means


@pytest.mark.parametrize(
    "attention, options",
    [
        ("lsh", []),
        ("lsh", ["model.lsh.eval_draws=3", "model.residual=reversible"]),
        ("lsh local sinks", ["model.lsh.window=causal", "model.residual=checkpoint"]),
        ("full lsh", ["model.lsh.n_hashes=1", "task.length=21"]),
        ("shared_full", []),
        ("blocks topk", ["model.residual=reversible"]),
    ],
)
def test_the_keys_beside_a_score_are_the_mean_over_layers_draws_and_sequences(
    attention: str, options: list[str]
) -> None:
    task = ["task.name=recall", "task.pairs=2", "trainer.accelerator=cpu", "model.n_layers=3"]
    batches = ["task.eval_sequences=3", "task.batch_size=2"]
    config = tiny(f"model.attention={attention}", *task, *batches, *options)
    data = build_task(config)
    module = LitSequenceModel(config, data.vocab_size)
    hooks = [set(part._forward_hooks) for part in module.modules()]
    trainer = build_trainer(config, logger=False)
    torch.manual_seed(0)
    scores, state = score(trainer, module, data), torch.get_rng_state()
    assert hooks == [set(part._forward_hooks) for part in module.modules()]
    torch.manual_seed(0)
    (uncounted,) = trainer.validate(module, datamodule=data, verbose=False)
    for name, value in uncounted.items():
        assert str(scores[name.removeprefix("valid/")]) == str(value), name  # NaN is NaN
    assert torch.equal(state, torch.get_rng_state())  # as many were drawn
    keys = scores["keys_per_token"]
    module.eval()
    draws = [
        reached_by_definition(module, data.held_out(range(3)).tokens, draw)
        for draw in range(config.model.lsh.eval_draws)
    ]
    words = (attention.split() * 3)[:3]
    fixed = [
        keys_by_place(word, config.model, config.task.length).double().mean().item()
        for word in words
        if word != "lsh"
    ]
    expected = sum(sum(means) + sum(fixed) for means in draws) / len(draws) / 3
    assert keys == pytest.approx(expected, rel=1e-12)
    whole = (config.task.length + 1) / 2
    assert 1 <= keys < whole if attention != "full" else keys == whole


def test_an_attention_without_a_case_has_no_keys_per_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = build("model.attention=full local")
    with counted_keys(model) as count:
        model(draw_batch()[0])
    assert count.mean() > 1
    monkeypatch.setattr(
        keys_per_token, "attention_pattern", lambda attention, n_layers: ["full", "strided"]
    )
    with counted_keys(model) as count:
        model(draw_batch()[0])
    assert count.mean() is None


SMOKE = ["experiment=smoke", "trainer.accelerator=cpu", "trainer.threads=1", "trainer.max_steps=2"]


def test_a_run_and_its_evaluations_have_keys_per_token(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    named = "+evaluations={Full:['model.attention=shared_full'],LSH-1:['model.lsh.n_hashes=1']}"
    arguments = [*SMOKE, "model.attention=lsh", "model.lsh.n_hashes=4", f"out_dir={run}", named]
    assert train.main(arguments) == 0
    own = json.loads((run / "result.json").read_text())
    evaluations = {
        name: json.loads((run / "evaluations" / f"{name}.json").read_text())
        for name in ("Full", "LSH-1")
    }
    full, one = (evaluations[name]["keys_per_token"] for name in ("Full", "LSH-1"))
    length = load_run_config(run).task.length
    assert full == pytest.approx((length - 1) / 2 + 1 / length, rel=1e-12)
    assert 1 < one < own["keys_per_token"] < full
    capsys.readouterr()
    assert evaluate.main([str(run), "task.batch_size=1"]) == 0
    printed = dict(pair.rsplit(" ", 1) for pair in capsys.readouterr().out.strip().split(", "))
    assert float(printed["keys_per_token"]) == pytest.approx(own["keys_per_token"], rel=1e-3)
