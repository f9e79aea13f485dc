"""`status` and tables in narrow terminals: whole words, in blocks, the counts first."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from ablations.launch.views.status import print_status
from ablations.study import Study, compose_cells
from experiments.terminal.blocks import column_blocks, print_blocks
from experiments.terminal.lines import print_lines
from grid_study import grid_study, running


def terminal(width: int) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, width=width, force_terminal=True, color_system=None), text


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return grid_study(tmp_path_factory.mktemp("grid"))


@pytest.fixture(scope="module")
def shown(grid: Study) -> dict[int, str]:
    """`status` at several widths."""
    texts, configs = {}, compose_cells(grid)
    for width in (160, 80, 50, 36):
        console, text = terminal(width)
        with running(grid):
            print_status(grid, configs, console)
        texts[width] = text.getvalue()
    return texts


@pytest.mark.parametrize("width", [80, 50, 36])
def test_status_fits_the_terminal_with_whole_words(
    grid: Study, shown: dict[int, str], width: int
) -> None:
    lines = shown[width].splitlines()
    for line in lines:
        assert len(line.rstrip()) <= width or len(line.split()) == 1, "a path alone is longer"
    words = set(shown[width].split())
    whole = {word for line in shown[160].splitlines() for word in line.split() if "/" not in word}
    names = {cell.name for cell in grid.cells}
    assert whole - words - names <= {word for word in whole if "─" in word}, (
        "every word of the wide table stands whole in the narrow one"
    )
    numbers = re.compile(r"\b\d\.\d{4}\b")
    assert sorted(numbers.findall(shown[width])) == sorted(numbers.findall(shown[160]))


@pytest.mark.parametrize("width", [160, 80, 50])
def test_the_counts_come_first_and_every_cell_is_named_in_every_block(
    shown: dict[int, str], width: int
) -> None:
    first = " ".join(shown[width].split("Attention,")[0].split())
    assert first == "grid: 72 cells: 66 ok, 1 oom, 3 failed, 1 running, 1 timeout"
    blocks = [line for line in shown[width].splitlines() if re.match(r" +cell +seed", line)]
    assert len(blocks) == {160: 1, 80: 2, 50: 4}[width]
    assert "s/step" in shown[width] and "seconds/step" not in shown[width]


def test_a_column_that_nothing_fills_is_left_out(grid: Study, shown: dict[int, str]) -> None:
    console, text = terminal(160)
    print_status(grid, compose_cells(grid), console)  # nothing runs, so no time is left
    header = next(line for line in text.getvalue().splitlines() if "seed" in line)
    assert "left" not in header and "status" in header
    assert any("left" in line and "seed" in line for line in shown[160].splitlines())


def test_a_name_longer_than_the_terminal_is_broken_between_its_words() -> None:
    console, text = terminal(40)
    name = "shared_full / a learning rate of 0.0003 / reversible-layers"
    print_blocks(console, ["variant", "bits per dim"], [[name, "2.351 [2.349, 2.353]"]])
    lines = text.getvalue().splitlines()
    assert all(len(line) <= 40 for line in lines)
    assert set(name.replace("-", " ").split()) <= set(" ".join(lines).replace("-", " ").split())


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("  | one two three four", ["  | one two", "  | three four"]),
        ("  /a/very/long/path/that/does/not/fit", ["  /a/very/long/path/that/does/not/fit"]),
        ("one two three four five", ["one two three", "  four five"]),
    ],
)
def test_sentences_break_between_words_and_keep_their_margin(line: str, parts: list[str]) -> None:
    console, text = terminal(14)
    print_lines(console, [line])
    assert text.getvalue().splitlines() == parts


def test_a_file_has_no_width(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        print_lines(Console(file=file, width=20), ["one two three four five six  seven eight"])
    assert (tmp_path / "log").read_text() == "one two three four five six  seven eight\n"


def test_blocks_hold_every_column_once_behind_the_names() -> None:
    assert column_blocks([10, 4, 5, 5, 5], 38, names=2) == [[0, 1, 2, 3], [0, 1, 4]]
    assert column_blocks([10, 4, 50], 20, names=2) == [[0, 1, 2]]
