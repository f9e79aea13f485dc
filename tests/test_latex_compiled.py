"""Every table and every figure in a paper that pdflatex typesets: no overfull box, no Type 3 font (make test-latex)."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ablations.report.report import load_report
from ablations.report.styles.style import OWN, drawn_in
from ablations.report.styles.venue import venue_style
from ablations.report.write import write_report
from ablations.report.writers.latex import latex
from ablations.study import Study
from grid_study import grid_study
from test_latex import STUDY, odd_tables
from test_speed_report import power_laws

pytestmark = pytest.mark.latex
TIMES = r"\usepackage{times}\setlength{\textheight}{9in}\setlength{\topmargin}{-0.5in}"
# name -> (style, preamble): an article's one and two columns, and the columns of two venues.
FRAMES = {
    "article": ("", r"\documentclass[twocolumn]{article}"),
    "one_column": ("", r"\documentclass{article}"),
    "icml": (
        "icml2024",
        rf"\documentclass[twocolumn]{{article}}{TIMES}"
        r"\setlength{\textwidth}{6.75in}\setlength{\columnsep}{0.25in}\setlength{\oddsidemargin}{-0.125in}",
    ),
    "neurips": (
        "neurips2024",
        rf"\documentclass{{article}}{TIMES}\setlength{{\textwidth}}{{5.5in}}\setlength{{\oddsidemargin}}{{0.5in}}",
    ),
}


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> list[Study]:
    folder = tmp_path_factory.mktemp("studies")
    (folder / "speed").mkdir()
    parts = ["train_eval", "loss_memory", "paired", "learning_curves"]
    return [
        grid_study(folder / "grid", evaluations=True, report=parts),
        power_laws(folder / "speed"),
    ]


def paper(folder: Path, studies: list[Study], style: str, columns: bool) -> Iterator[str]:
    """The lines of a document: every table, and every figure at its own size."""
    yield from odd_tables(folder)
    for study in studies:
        report = load_report(study)
        out = folder / study.name
        write_report(report, out, ["tex", "pdf"])
        yield from ((out / f"{table.name}.tex").read_text() for table in report.tables)
        for drawing in report.figures if style or columns else []:
            wide = drawing.figure.get_figwidth() > drawing.style.column_inches
            star = "*" if wide else ""
            yield (
                rf"\begin{{figure{star}}}[t]\centering\includegraphics{{{study.name}/{drawing.name}.pdf}}"
                rf"\caption{{A figure.}}\end{{figure{star}}}\clearpage"
            )


@pytest.mark.parametrize("frame", FRAMES)
def test_every_table_and_figure_fits(tmp_path: Path, studies: list[Study], frame: str) -> None:
    name, preamble = FRAMES[frame]
    with drawn_in(venue_style(name) if name else OWN):
        lines = list(paper(tmp_path, studies, name, "twocolumn" in preamble))
    tables = "\n\\clearpage\n".join(lines)
    (tmp_path / "paper.tex").write_text(
        f"{preamble}\\usepackage{{booktabs,graphicx}}\n\\begin{{document}}\nText.\n{tables}\n\\end{{document}}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    ended = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120
    )
    assert ended.returncode == 0, ended.stdout[-2000:]
    log = (tmp_path / "paper.log").read_text(errors="replace")
    assert not re.findall(r"Overfull \\hbox.*|Missing character.*|Float too large.*", log)
    fonts = subprocess.run(
        ["pdffonts", "paper.pdf"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert "TrueType" in fonts or not name
    assert "Type 3" not in fonts, fonts


def test_the_letters_of_a_table_keep_their_size(tmp_path: Path, studies: list[Study]) -> None:
    for study in studies:
        for table in load_report(study).tables:
            text = latex(table, STUDY)
            assert "resizebox" not in text and "graphicx" not in text, table.name
