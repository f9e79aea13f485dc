"""The Triton road's budgets, without a GPU and without Triton: launches and bytes on tensors that
have no data (triton_traffic.py), and the table of docs/gpu.md.
"""

from functools import cache
from pathlib import Path

import pytest

import triton_traffic
from triton_traffic import LENGTHS, ROUNDS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "gpu.md"
count = cache(triton_traffic.count)
every_size = pytest.mark.parametrize("rounds", ROUNDS)


@pytest.mark.parametrize("length", LENGTHS)
@every_size
def test_a_round_is_three_launches_forward_and_backward(length: int, rounds: int) -> None:
    """At most two a round and pass; beside them the codes of several rounds are laid anew, once in
    each pass.
    """
    _, attention = count(length, rounds)
    assert attention.launches == 3 * rounds + 2 * (rounds > 1)


@every_size
def test_traffic_grows_with_the_length_and_with_the_rounds(rounds: int) -> None:
    """Linearly: no mask, bias or score is in memory."""
    (_, short), (_, long) = count(4096, rounds), count(65536, rounds)
    assert long.bytes == 16 * short.bytes
    assert long.bytes <= 14e9 * rounds / 4 * 1.05


def test_at_65536_tokens_four_rounds_take_at_most_14_gb_and_40_launches() -> None:
    sort, attention = count(65536, 4)
    assert attention.launches <= 40 and attention.bytes <= 14e9
    assert sort.bytes <= 0.1 * (sort.bytes + attention.bytes)


@pytest.mark.parametrize("rounds", [2, 4, 8])
def test_hash_and_sort_are_at_most_a_tenth_at_65536_tokens(rounds: int) -> None:
    sort, attention = count(65536, rounds)
    assert sort.bytes <= 0.1 * (sort.bytes + attention.bytes)


def test_the_page_has_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_traffic, "count", count)
    page = PAGE.read_text(encoding="utf-8").splitlines()
    assert [line for line in triton_traffic.table() if line not in page] == []
