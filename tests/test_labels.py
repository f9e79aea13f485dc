"""Any label is drawn as it is typed: in figures, LaTeX, Markdown, HTML, CSV and the terminal."""

import html
import io
import re
import warnings
from pathlib import Path

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from matplotlib.font_manager import FontEntry
from matplotlib.text import Text
from rich.console import Console

from ablations.__main__ import main
from ablations.report.drawing.figure import column_axes
from ablations.report.drawing.legend import legend_below
from ablations.report.report import Report, load_report
from ablations.report.styles import letters
from ablations.report.styles.letters import OTHERS, fallback_families, package_of
from ablations.report.styles.style import styled
from ablations.report.table import Row, Table, Words
from ablations.report.write import write_report
from ablations.report.writers.latex import latex
from ablations.report.writers.latex_text import SPECIAL
from ablations.report.writers.markdown import markdown
from ablations.report.writers.terminal import print_table
from ablations.study.names import cell_name
from grid_study import grid_study

LABELS = (
    "_x", "__y__", "$", "$x_1$", r"\$5 or $6", "50% & #_<\N{GREEK SMALL LETTER ALPHA}>", "a\\b", r"\textbf{a}", "{}", "~^", "a--b---c",
    "a|b", "*b*", "**c**", "`d`", "[e](f)", "<b>g</b>", "&amp;", "~~h~~", "n_hashes=4", "=1+1",
    "[bold]red[/]", "漢字", "한국어", "“so” é ü", "_nolegend", "it's",
)  # fmt: skip
ALPHA = "\N{GREEK SMALL LETTER ALPHA}"
ENGINES = {"漢字", "한국어"}  # for XeLaTeX, which a comment in the file says


def table(label: str) -> Table:
    data = pd.DataFrame({"train": [label], "x": [1.0]})
    return Table(
        "t", f"Of {label}.", ("variant", label), (Row(label, (Words(label),), label),), data
    )


@pytest.mark.parametrize("label", LABELS)
def test_markdown_shows_what_is_typed(label: str) -> None:
    page = (
        MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown(table(label)))
    )
    cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", page)
    assert [html.unescape(cell) for cell in cells] == ["variant", label, label, label]
    assert html.unescape(page.split("<p>")[1]).startswith(f"Of {label}.")
    assert not re.search(r"(?<!\\)\$", markdown(table(label)))  # GitHub's formulae


@pytest.mark.parametrize("label", LABELS)
def test_the_terminal_shows_what_is_typed(label: str) -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    print_table(table(label), "t", console)
    assert console.file.getvalue().count(label) == 4


def read_latex(text: str) -> str:
    """What LaTeX prints of an escaped text."""
    text = re.sub(r"^\{\}(?=[\[*])", "", text)
    for letter, command in sorted(SPECIAL.items(), key=lambda item: -len(item[1])):
        if len(command) > 2:
            text = text.replace(command, f"\0{ord(letter)}\0")
    text = text.replace(r"$\alpha$", ALPHA).replace(r"\'{e}", "é").replace(r"\"{u}", "ü")
    text = re.sub(r"\\([&%$#_{}])", r"\1", text)
    text = text.replace("-{}-", "--").replace("-{}-", "--")
    text = text.replace("``", "“").replace("''", "”")
    return re.sub("\0(\\d+)\0", lambda match: chr(int(match[1])), text)


@pytest.mark.parametrize("label", LABELS)
def test_latex_prints_what_is_typed(label: str) -> None:
    lines = latex(table(label), "s").splitlines()
    row = next(line for line in lines if line.endswith(r" \\") and "variant" not in line)
    cells = re.split(r"(?<!\\) & ", row.strip().removesuffix(r" \\"))
    assert [read_latex(cell) for cell in cells] == [label, label]
    assert ("XeLaTeX" in lines[0]) == (label in ENGINES)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folders = {
        cell_name([label]).strip("_"): label
        for label in LABELS
        if "label-" not in cell_name([label])
    }
    labels = [*folders.values()][: len(folders) - 1 + len(folders) % 2]  # an odd number
    rates = [round(1e-4 * (1 + i), 6) for i in range(len(labels))]
    study = grid_study(
        tmp_path_factory.mktemp("labels"), len(labels), 1, values=rates,
        labels=dict(zip(rates, labels, strict=True)), endings={}, report=["train_eval", "loss_memory"],
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = load_report(study)
        write_report(made, formats=["png", "csv", "html"])
    return made


def test_figures_the_page_and_the_csv_show_what_is_typed(report: Report) -> None:
    """One test of all, for a report of many variants takes seconds."""
    folder = report.study.directory / "report"
    variants = [cell.train for cell in report.study.cells]
    labels = [label for cell in report.study.cells for label in cell.labels if label in LABELS]
    assert len(labels) > 15
    heat_map = next(drawing for drawing in report.figures if drawing.name == "train_eval")
    texts = {text.get_text() for text in heat_map.figure.findobj(Text)}
    drawn = "".join("".join(sorted(texts)).split())
    assert all("".join(label.split()) in drawn for label in labels)
    assert not any(text.get_parse_math() for text in heat_map.figure.findobj(Text))
    page = html.unescape((folder / "index.html").read_text())
    assert all(variant in page for variant in variants)
    harmless = pd.read_csv(folder / "loss_memory.csv", keep_default_na=False)["train"]
    rows = {text.removeprefix("'") for text in harmless}
    assert set(variants) <= rows


@pytest.mark.parametrize("label", ["_x", "_", "$", "\\", "{}", "~^", "|", "#"])
def test_a_label_of_signs_has_a_folder_of_its_own(tmp_path: Path, label: str) -> None:
    study = grid_study(tmp_path, 2, 1, values=[0.001], labels={0.001: label}, runs=False)
    assert label in study.cells[0].labels
    alone = cell_name([label])
    assert re.fullmatch(r"_x|label-[0-9a-f]{8}", alone)


@pytest.mark.parametrize("label", ["_x", "$y$", "_child"])
def test_a_legend_shows_what_is_typed(label: str) -> None:
    with styled():
        figure, axes = column_axes(2.0)
        axes.plot([1, 2], [1, 2], label=label)
        axes.plot([1, 2], [2, 1])
        legend_below(figure, axes)
        figure.savefig(io.BytesIO(), format="png")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [label]


def test_letters_without_a_font_are_one_warning_that_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    has = {"\N{GREEK SMALL LETTER ALPHA}"}
    monkeypatch.setattr(letters, "letters_of", lambda path, wanted: wanted & has)
    study = grid_study(
        tmp_path, 2, 1, values=[0.001], labels={0.001: "漢字" + ALPHA}, report=["loss_memory"]
    )
    command = ["report", str(tmp_path / "grid.yaml"), "--runs-dir", str(study.directory.parent)]
    assert main(command) == 0
    assert capsys.readouterr().err == (
        "warning: no installed font has the letters 字漢, which figures show as boxes: "
        "install fonts-noto-cjk (on Debian, as root: apt-get install fonts-noto-cjk)\n"
    )
    assert (
        package_of("한") == "fonts-noto-cjk" and package_of("\N{THAI CHARACTER KO KAI}") == OTHERS
    )


def test_a_font_is_added_for_the_letters_that_the_style_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fonts = {"DejaVu Sans": "aé", "CJK": "漢字한", "Chinese": "漢"}
    entries = {name: FontEntry(fname=name, name=name) for name in fonts}
    monkeypatch.setattr(letters, "plain_fonts", lambda: entries)
    monkeypatch.setattr(letters, "letters_of", lambda path, wanted: wanted & set(fonts[path]))
    assert fallback_families(["a é"], ["DejaVu Sans"]) == ((), ())
    assert fallback_families(["a漢字"], ["DejaVu Sans"]) == (("CJK",), ())
    assert fallback_families(["한\N{THAI CHARACTER KO KAI}"], ["DejaVu Sans"])[1] == (
        "\N{THAI CHARACTER KO KAI}",
    )
