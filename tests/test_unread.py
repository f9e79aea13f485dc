"""A key that a choice leaves unread changes no number of its run, and one that it reads is kept."""

from dataclasses import fields, is_dataclass

import pytest
import torch

from reformer_pl.config import ModelConfig, flat, to_dict
from reformer_pl.config.rules import ATTENTIONS, POSITIONS
from reformer_pl.config.unread import GROUPS_OF, READ_UNDER, SLOTS, unread_keys
from tiny import take_step, tiny


def unread(*overrides: str) -> set[str]:
    return unread_keys(flat(to_dict(tiny(*overrides))))


CASES = [  # a choice, a key that it does not read with another value, and the word that reads it
    ("model.attention=full", "model.lsh.n_hashes=3", "model.attention=lsh"),
    ("model.attention=local", "model.lsh.chunk_len=6", "model.attention=lsh"),
    ("model.attention=shared_full", "model.lsh.dedupe=false", "model.attention=full lsh"),
    ("model.attention=lsh", "model.local.chunk_len=3", "model.attention=local"),
    ("model.positions=learned", "model.axial.shape=[9,2]", "model.positions=axial"),
    ("model.residual=checkpoint", "model.merge=mean", "model.residual=reversible"),
    ("task.name=duplication", "task.pairs=2", "task.name=recall"),
    ("optim.name=adafactor", "optim.betas=[0.5,0.6]", "optim.name=adam"),
    ("optim.name=adafactor", "optim.betas=[0.5,0.6]", "optim.name=adamw"),
    ("optim.name=adam", "optim.weight_decay=0.5", "optim.name=adamw"),
    ("optim.name=adafactor", "optim.weight_decay=0.5", "optim.name=adamw"),
]


@pytest.mark.parametrize(("choice", "other", "reader"), CASES)
def test_an_unread_key_changes_no_number(choice: str, other: str, reader: str) -> None:
    key = other.split("=")[0]
    more = ("task.pairs=1",) if "recall" in reader else ()
    assert key in unread(choice) and key not in unread(reader, *more)
    with_other, without = (
        take_step(tiny(*overrides)).state_dict() for overrides in ((choice, other), (choice,))
    )
    torch.testing.assert_close(with_other, without, rtol=0, atol=0)


def test_a_pattern_reads_the_keys_of_each_of_its_words() -> None:
    groups = {key for key in unread("model.attention=local lsh") if key.count(".") == 2}
    assert {key.split(".")[1] for key in groups} == {"axial", "sinks", "blocks", "topk"}


def test_coverage_of_shared_full_attention_reads_how_it_would_hash() -> None:
    assert "model.lsh.chunk_len" in unread("model.attention=shared_full")
    options = ("model.attention=shared_full", "trainer.coverage_every_steps=5")
    assert "model.lsh.chunk_len" not in unread(*options)


def test_a_training_run_reads_no_benchmark_and_a_benchmark_no_training() -> None:
    trains, measures = unread(), unread("benchmark.measure=attention", "model.attention=full")
    assert "benchmark.repeats" in trains and "benchmark.measure" not in trains
    assert {"optim.lr", "trainer.max_steps", "task.eval_sequences"} <= measures - trains
    assert {"model.d_ff", "model.residual"} <= measures and "model.d_model" not in measures
    axial = unread("benchmark.measure=layer", "model.positions=axial", "model.attention=lsh")
    assert "model.axial.shape" in axial and "model.lsh.n_hashes" not in axial
    assert not {"benchmark.repeats", "benchmark.peer", "benchmark.paired"} & measures
    assert not {"optim.lr", "benchmark.peer"} & unread("benchmark.measure=step")


def test_the_rules_name_keys_that_exist_and_every_word() -> None:
    keys = flat(to_dict(tiny()))
    for place, (choice, _) in READ_UNDER.items():
        assert choice in keys
        assert place in keys or any(key.startswith(f"{place}.") for key in keys)
    assert set(SLOTS) <= set(keys)
    default = ModelConfig()
    groups = {field.name for field in fields(default) if is_dataclass(getattr(default, field.name))}
    assert {group for read in GROUPS_OF.values() for group in read} == groups
    assert set(GROUPS_OF) == {*ATTENTIONS, *POSITIONS}, (
        "say in reformer_pl/config/unread.py which groups of keys each word reads"
    )


def test_a_word_that_is_not_listed_may_read_every_group() -> None:
    values = {
        "model.attention": "strided full", "model.positions": "learned",
        "model.local.chunk_len": 4, "model.axial.shape": [],
    }  # fmt: skip
    assert unread_keys(values) == set()
    assert unread_keys(values | {"model.attention": "full"}) == {
        "model.local.chunk_len",
        "model.axial.shape",
    }


def test_nothing_is_unread_where_the_choice_is_not_known() -> None:
    assert unread_keys({"model.lsh.n_hashes": 4, "optim.betas": [0.9], "task.pairs": 2}) == set()
