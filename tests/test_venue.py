"""Reports for a venue: exact widths, fonts, sizes; parts, formats and folders chosen on the command line."""

import builtins
import re
from pathlib import Path

import pytest
from matplotlib.text import Text

from ablations.__main__ import main
from ablations.report.drawing.figure import Drawing
from ablations.report.report import load_report
from ablations.report.styles.style import COLUMN_INCHES, PAGE_INCHES, Style, drawn_in
from ablations.report.styles.venue import SIZES, venue_style
from ablations.study import Study
from grid_study import grid_study
from test_report import memory_study
from test_speed_report import power_laws

NEEDED = "tueplots is not installed: pip install -e '.[style]'"


def drawings(folder: Path, style: Style) -> list[Drawing]:
    """Of each kind of study, drawn in a style."""
    drawn: list[Drawing] = []
    for name, make in (("lm", lambda at: memory_study(at, [0])), ("speed", power_laws)):
        (folder / name).mkdir(exist_ok=True)
        with drawn_in(style):
            drawn += load_report(make(folder / name)).figures
    return drawn


@pytest.mark.parametrize(
    ("name", "column", "page", "family"),
    [
        ("icml2024", 3.25, 6.75, "STIXGeneral"),
        ("neurips2024", 5.5, 5.5, "STIXGeneral"),
        ("iclr2024", 5.5, 5.5, "STIXGeneral"),
        ("aaai2024", 3.3, 6.975, "STIXGeneral"),
        ("probnum2025", 3.3209, 6.9185, "DejaVu Sans"),
    ],
)
def test_a_venue_has_its_widths_its_fonts_and_no_small_print(
    name: str, column: float, page: float, family: str
) -> None:
    pytest.importorskip("tueplots", reason=NEEDED)
    style = venue_style(name)
    assert (style.column_inches, style.page_inches) == pytest.approx((column, page), abs=1e-4)
    assert family in style.rc["font.family"]
    assert min(style.rc[key] for key in SIZES) >= 6


def test_every_figure_is_drawn_in_the_style(tmp_path: Path) -> None:
    pytest.importorskip("tueplots", reason=NEEDED)
    style = venue_style("icml2024")
    for drawing in drawings(tmp_path, style):
        drawing.svg()
        width = drawing.figure.get_figwidth()
        assert width in (style.column_inches, style.page_inches), drawing.name
        texts = [text for text in drawing.figure.findobj(Text) if text.get_text()]
        assert min(text.get_fontsize() for text in texts) >= 6, drawing.name
        families = {tuple(text.get_fontfamily()) for text in texts}
        assert families == {tuple(style.rc["font.family"])}, drawing.name
        assert not any(text.get_parse_math() or "mathdefault" in text.get_text() for text in texts)


def test_our_own_widths_are_those_of_an_article() -> None:
    text_points, gap_points, inch = 469.0, 10, 72.27  # of LaTeX's article in two columns
    column, page = (text_points - gap_points) / 2 / inch, text_points / inch
    assert 0 <= column - COLUMN_INCHES < 0.01
    assert 0 <= page - PAGE_INCHES < 0.01


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return grid_study(tmp_path, variants=2, seeds=2, report=["paired", "learning_curves"])


def report(study: Study, *options: str) -> int:
    folder = study.directory.parent.parent
    path = next(folder.glob("*.yaml"))
    return main(["report", str(path), "--runs-dir", str(study.directory.parent), *options])


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_only_some_parts_in_some_formats_in_a_folder_of_ones_own(
    study: Study, tmp_path: Path
) -> None:
    out = tmp_path / "paper" / "figures"
    assert report(study, "--only", "paired,learning_curves", "--format", "tex,pdf,svg", "--out", str(out)) == 0  # fmt: skip
    names = written(out)
    assert {"paired.tex", "learning_curves.pdf", "learning_curves.svg"} <= names
    assert {name.rsplit(".", 1)[-1] for name in names} == {"tex", "pdf", "svg"}
    assert not (study.directory / "report").exists()


def test_a_part_alone_leaves_the_page_and_results_csv_as_they_are(study: Study) -> None:
    folder = study.directory / "report"
    assert report(study) == 0
    before = {name: (folder / name).read_bytes() for name in ("index.html", "results.csv")}
    assert report(study, "--only", "paired") == 0
    assert before == {name: (folder / name).read_bytes() for name in before}
    assert report(study, "--only", "paired", "--format", "html") == 0
    assert 'id="figure-' not in (folder / "index.html").read_text()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--style", "icml24"], "--style icml24 is unknown: choose .*icml2024.*neurips2024"),
        (["--style", "beamer_moml"], "--style beamer_moml is unknown: choose .*icml2024"),
        (["--style", ""], "--style  is unknown: choose .*icml2024"),
        (["--only", "par"], "--only par is no part of its report: choose .*paired"),
        (["--only", "cost"], "--only cost is no part of its report: choose .*paired"),
        (["--only", "paired,"], "must be words separated by commas"),
        (["--format", "pdf,bmp"], "'bmp' is unknown: choose csv, md, tex, png, pdf, html, svg"),
        (["--format", ""], "must be words separated by commas"),
        (["--out", "s3://bucket"], "s3://bucket"),
    ],
)
def test_a_wrong_option_is_one_line_with_the_valid_words(
    study: Study, options: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tueplots", reason=NEEDED)
    try:
        code = report(study, *options)
    except SystemExit as ended:
        code = ended.code
    error = capsys.readouterr().err
    assert code == 2 and re.search(reason, error) and error.count("\n") == 1, error


def test_without_tueplots_one_line_names_the_command(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name.startswith("tueplots"):
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert report(study, "--style", "icml2024") == 2
    assert capsys.readouterr().err == "error: --style needs tueplots: pip install -e '.[style]'\n"
