"""On CUDA the rotations of all layers are one pinned copy a step, and the same numbers."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import reformer_pl.model
from reformer_pl.attention import LSHAttention, Memo, copy_rotations
from tiny import build, draw_batch, grads

PATTERNS = {"lsh": 4, "lsh full local lsh": 2, "shared_full": 0}


class Copies:
    """Which tensors were pinned, and which were copied without waiting; this machine can neither."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pinned: list[Tensor] = []
        self.copied: list[Tensor] = []
        to = Tensor.to

        def pin_memory(tensor: Tensor) -> Tensor:
            self.pinned.append(tensor)
            return tensor

        def counted(tensor: Tensor, *arguments: object, **options: object) -> Tensor:
            if options.get("non_blocking"):
                self.copied.append(tensor)
            return to(tensor, *arguments, **options)

        monkeypatch.setattr(Tensor, "pin_memory", pin_memory)
        monkeypatch.setattr(Tensor, "to", counted)


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> Iterator[Copies]:
    yield Copies(monkeypatch)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_rotations_of_all_layers_are_one_pinned_copy(pattern: str, copies: Copies) -> None:
    model = build(f"model.attention={pattern}", "model.n_layers=4")
    attentions = [attention for _, attention, _ in model.attentions()]
    seeds = [Memo(seed) for seed in (8, 9, 10, 11)]
    memos = copy_rotations(attentions, seeds, 18, torch.device("meta"))
    assert len(copies.pinned) == len(copies.copied) == bool(PATTERNS[pattern])
    rotations = [memo.rotations for memo in memos if memo.rotations is not None]
    assert len(rotations) == PATTERNS[pattern] and all(part.is_meta for part in rotations)
    assert [memo.hash_seed for memo in memos] == [8, 9, 10, 11]
    again = copy_rotations(attentions, seeds, 18, torch.device("cpu"))
    for attention, memo in zip(attentions, again, strict=True):
        if isinstance(attention, LSHAttention):
            assert torch.equal(memo.rotations, attention.draw_rotations(memo.hash_seed, 18))
        else:
            assert memo.rotations is None


@pytest.mark.parametrize("residual", ["standard", "checkpoint", "reversible"])
def test_a_step_with_copied_rotations_is_the_same_bit_for_bit(
    residual: str, copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    for is_cuda in (False, True):
        monkeypatch.setattr(Tensor, "is_cuda", is_cuda)
        model = build(f"model.residual={residual}", "model.attention=lsh local", "model.n_layers=3")
        # The model alone is to see CUDA: what it calls asks for device types.
        loss = model.loss(*draw_batch(), hash_seed=5).mean()
        loss.backward()
        steps.append({"loss": loss.detach(), **grads(model)})
    assert len(copies.copied) == 1
    for name, value in steps[0].items():
        assert torch.equal(value, steps[1][name]), name


def test_on_a_cpu_nothing_is_pinned_or_drawn_ahead(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reformer_pl.model, "copy_rotations", None)
    build("model.attention=lsh").loss(*draw_batch(), hash_seed=5).mean().backward()
    assert copies.pinned == []
