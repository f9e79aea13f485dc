"""One spelling of each unit, in one home, and in what the commands print."""

import ast
import re
from pathlib import Path

import pytest

from ablations.launch.pace import Pace
from ablations.launch.predicted_memory import prediction_line
from reformer_pl.units import duration, memory, milliseconds, per_step, three_digits
from test_house import SOURCES

HOMES = ("metrics.py", "units.py")


@pytest.mark.parametrize(
    ("gib", "text"),
    [
        (0.0, "0 MiB"), (0.0632, "64.7 MiB"), (0.5, "512 MiB"), (0.9, "922 MiB"),
        (0.99999, "1.00 GiB"), (1.0, "1.00 GiB"), (2.5, "2.50 GiB"), (123.4, "123 GiB"),
    ],
)  # fmt: skip
def test_memory_is_mib_below_a_gib(gib: float, text: str) -> None:
    assert memory(gib) == text


def test_times() -> None:
    assert (per_step(0.25), per_step(12.0)) == ("0.250 s/step", "12.0 s/step")
    assert (milliseconds(0.0125), milliseconds(1.5)) == ("12.5 ms", "1500 ms")
    assert (duration(65), duration(3725), duration(0.4)) == ("1:05", "1:02:05", "0:00")
    assert (three_digits(0.000123456), three_digits(-4.0)) == ("0.000123", "-4.00")


def test_pace_and_prediction_are_spelled_so() -> None:
    at = Pace(step=90, loss=4.8542, steps_per_second=4.0, max_steps=400)
    assert str(at) == "step 90/400, loss 4.8542, 0.250 s/step, 1:18 left"
    kinds = {"parameters": 0.00344, "activations": 0.0598, "total": 0.0632}
    line = "64.7 MiB predicted (parameters 3.52 MiB, activations 61.2 MiB)"
    assert prediction_line(kinds) == line


def _texts(path: Path) -> list[str]:
    """The literal parts of f-strings, and whole strings that are no docstring and no help."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        part.value
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in node.values
        if isinstance(part, ast.Constant)
    ]


@pytest.mark.parametrize(
    "unit", [r"^ (GiB|MiB|KiB|GB|MB)\b", r"steps?/s\b", r"seconds?/step", r"^ s/step", r"^ ms\b"]
)
def test_no_other_file_puts_the_unit_behind_a_number(unit: str) -> None:
    others = {
        path.name
        for path in SOURCES
        if path.name not in HOMES and any(re.search(unit, text) for text in _texts(path))
    }
    assert others == set()


def test_no_other_file_counts_mebibytes() -> None:
    """1024 of a GiB: the scale is the metric's."""
    counting = re.compile(r"\b1024 ?\* ?\w*(gib|memory)|(gib|memory)\w*\"?\]? ?\* ?1024\b")
    others = [
        path.name
        for path in SOURCES
        if path.name not in HOMES and counting.search(path.read_text(encoding="utf-8"))
    ]
    assert others == []
