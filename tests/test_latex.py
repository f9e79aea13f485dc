"""Tables as LaTeX: plain ASCII that any engine reads, and, where there is a TeX, compiled in two columns without an overfull line."""

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from ablations.report.parts.speed_tables import speed_tables
from ablations.report.table import Table, loss_memory
from ablations.report.writers.latex import (
    ACCENTS,
    GREEK,
    SPECIAL,
    escape,
    latex,
    latex_cell,
    latex_formula,
    latex_header,
)
from ablations.results import load_cells
from ablations.study import Study
from test_report import memory_study
from test_speed_report import power_laws

STUDY = Study("my_study", "", False, (), {}, {}, (), (), Path("runs/my_study"))
LETTERS = "αβγδεζηθικλμνξπρστυφχψω"
ODD = "".join(SPECIAL) + LETTERS + "éèêñüçåčÅß"
WIDE = tuple(f"column number {i}" for i in range(14))


def table(
    *rows: tuple[str, ...],
    header: tuple[str, ...] = ("variant", "x", "y"),
    best: frozenset[tuple[int, int]] = frozenset(),
) -> Table:
    return Table("t", "50% & more: n_h heads, L² ± 1 — “so”", header, rows, best, pd.DataFrame())


def odd_tables(folder: Path) -> list[str]:
    """What a report may hold: every special letter, intervals, formulae, failures, a narrow table, one too wide for a page."""
    (folder / "lm").mkdir()
    (folder / "speed").mkdir()
    lm, speed = memory_study(folder / "lm", [0, 1]), power_laws(folder / "speed")
    return [
        latex(
            table((ODD, "1.0 ± 0.1", "-"), ("[b", "-3 [-4, -2]", "[5]"), ("*c", "", "+1")), STUDY
        ),
        latex(
            table(
                ("a variant with a long name", *["1,234,567.8 [1,000,000.1, 2,000,000.2]"] * 14),
                header=("variant", *WIDE),
            ),
            STUDY,
        ),
        latex(loss_memory(lm, load_cells(lm)), lm),
        *(latex(one, speed) for one in speed_tables(speed, load_cells(speed))),
    ]


def test_every_table_is_ascii(tmp_path: Path) -> None:
    assert all(text.isascii() for text in odd_tables(tmp_path))
    assert len(LETTERS) == len(GREEK) and escape("αλω") == r"$\alpha$$\lambda$$\omega$"
    assert escape("é ü ç … “x”") == r"\'{e} \"{u} \c{c} \ldots{} ``x''"
    text = latex(table(("漢", "1", "2")), STUDY)  # kept, and said
    assert (
        text.startswith(
            "% \\usepackage{booktabs, graphicx}; for XeLaTeX or LuaLaTeX with a font that has 漢\n"
        )
        and "    漢 & 1" in text
    )


def test_signs_ranges_and_symbols() -> None:
    assert (
        latex_cell("-0.017 [-0.030, 0.000]", False).count("$-$0.0") == 2
        and latex_cell("-", True) == "--"
    )
    assert (
        latex_cell("1024-4096 (3)", False) == "1024--4096 (3)"
        and latex_cell("34.1 (30.0-38.2)", True) == r"\textbf{34.1 (30.0--38.2)}"
    )
    assert (
        latex_cell("1e-05", False) == "1e-05" and escape("LSH-4, n_heads=4") == r"LSH-4, n\_heads=4"
    )
    assert escape("n_h heads, d_model 256") == r"$n_{\mathrm{h}}$ heads, $d_{\mathrm{model}}$ 256"
    assert (
        latex_formula("max(b n_h l, l²) n_l")
        == r"$\max(b\,n_{\mathrm{h}}\,l, l^2)\,n_{\mathrm{l}}$"
    )
    assert latex_formula("-") == "--" and latex_formula("O(L log L)?") == "O(L log L)?"


def test_a_header_is_no_wider_than_it_must_be_and_a_wide_table_takes_both_columns() -> None:
    assert (
        latex_header("memory ratio", ["1.0"], 1)
        == r"\begin{tabular}[b]{@{}r@{}}memory\\ratio\end{tabular}"
    )
    assert (
        latex_header("memory ratio", ["1.0 and a word"], 1) == "memory ratio"
        and latex_header("trained with", ["x"], 0) == "trained with"
    )
    narrow, wide = (
        latex(table(("LSH-4", "1.0", "2.0")), STUDY),
        latex(table(("LSH-4", *"1" * 14), header=("variant", *WIDE)), STUDY),
    )
    assert (
        r"\begin{table}[t]" in narrow and r"\begin{table*}[t]" in wide and r"\end{table*}" in wide
    )
    intervals = latex(
        table(*[("a", "100.0 [99.9, 100.0]")] * 2, header=("variant", "x")), STUDY
    )  # stand below their numbers
    assert r"\begin{table}[t]" in intervals


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
def test_every_table_compiles_with_booktabs_and_fits_its_column(tmp_path: Path) -> None:
    tables = odd_tables(tmp_path)
    packages = r"\documentclass[twocolumn]{article}\usepackage{booktabs,graphicx}"
    (tmp_path / "paper.tex").write_text(
        "\n".join(
            [packages, r"\begin{document}", "Text.", *tables, r"\clearpage", r"\end{document}"]
        )
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    ended = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120
    )
    assert ended.returncode == 0, ended.stdout[-2000:]
    told = (tmp_path / "paper.log").read_text(errors="replace")
    assert not re.findall(r"Overfull \\hbox.*|Missing character.*|Float too large.*", told)


def test_accents_are_all_written() -> None:
    assert set(ACCENTS.values()) == {
        re.match(r"\\(.)\{", escape(letter))[1] for letter in "èéêñüçåč"
    }
