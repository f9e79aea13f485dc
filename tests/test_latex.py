"""Tables as LaTeX: plain ASCII that any engine reads, and, where there is a TeX, compiled in two
columns without an overfull line.
"""

import math
import re
from pathlib import Path

import pandas as pd

from ablations.report.report import load_report
from ablations.report.table import Entry, Formula, Row, Table, Value, Words
from ablations.report.writers.latex import (
    latex,
    latex_entry,
    latex_header,
)
from ablations.report.writers.latex_text import ACCENTS, GREEK, SPECIAL, escape, latex_formula
from ablations.report.writers.latex_widths import text_points
from test_report import memory_study
from test_speed_report import power_laws

STUDY = "my_study"
LETTERS = "αβγδεζηθικλμνξπρστυφχψω"
ODD = "".join(SPECIAL) + LETTERS + "éèêñüçåčÅß"
WIDE = tuple(f"column number {i}" for i in range(14))


def table(*rows: tuple[str | Entry, ...], header: tuple[str, ...] = ("variant", "x", "y")) -> Table:
    lines = tuple(
        Row(label, tuple(Words(one) if isinstance(one, str) else one for one in entries), label)
        for label, *entries in rows
    )
    return Table("t", "50% & more: n_h heads, L² ± 1 — “so”", header, lines, pd.DataFrame())


def odd_tables(folder: Path) -> list[str]:
    """What a report may hold: every special letter, intervals, formulae, failures, a narrow table,
    one too wide for a page.
    """
    (folder / "lm").mkdir()
    (folder / "speed").mkdir()
    lm, speed = memory_study(folder / "lm", [0, 1]), power_laws(folder / "speed")
    return [
        latex(
            table((ODD, "1.0 ± 0.1", "-"), ("[b", Value(-3, -4, -2), "[5]"), ("*c", "", "+1")),
            STUDY,
        ),
        latex(
            table(
                (
                    "a variant with a long name",
                    *[Value(1_234_567.8, 1_000_000.1, 2_000_000.2, 1)] * 14,
                ),
                header=("variant", *WIDE),
            ),
            STUDY,
        ),
        *(latex(one, study.name) for study in (lm, speed) for one in load_report(study).tables),
    ]


def test_every_table_is_ascii(tmp_path: Path) -> None:
    assert all(text.isascii() for text in odd_tables(tmp_path))
    assert len(LETTERS) == len(GREEK) and escape("αλω") == r"$\alpha$$\lambda$$\omega$"
    assert escape("é ü ç … “x”") == r"\'{e} \"{u} \c{c} \ldots{} ``x''"
    text = latex(table(("漢", "1", "2")), STUDY)  # kept, and named in the first line
    assert (
        text.startswith(
            "% \\usepackage{booktabs}; for XeLaTeX or LuaLaTeX with a font that has 漢\n"
        )
        and "    漢 & 1" in text
    )


def test_signs_ranges_and_symbols() -> None:
    interval = Value(-0.017, -0.030, 0.0, 3, signed=True)
    assert latex_entry(interval).count("$-$0.0") == 2 and latex_entry(Words("-")) == "--"
    assert latex_entry(Words("1024-4096 (3)")) == "1024--4096 (3)"
    coverage = Value(34.1, 30.0, 38.2, 1, is_range=True, best=True)
    assert latex_entry(coverage) == (
        r"\begin{tabular}[t]{@{}r@{}}\textbf{34.1}\\[-2pt]{\scriptsize (30.0--38.2)}\end{tabular}"
    )
    assert latex_entry(Words("1e-05")) == "1e-05" and latex_entry(Value(math.nan)) == "--"
    assert escape("LSH-4, n_heads=4") == r"LSH-4, n\_heads=4"
    assert escape("n_h heads, d_model 256") == r"$n_{\mathrm{h}}$ heads, $d_{\mathrm{model}}$ 256"
    assert (
        latex_formula("max(b n_h l, l²) n_l")
        == r"$\max(b\,n_{\mathrm{h}}\,l, l^2)\,n_{\mathrm{l}}$"
    )
    assert latex_entry(Formula("-")) == "--" and latex_formula("O(L log L)?") == "O(L log L)?"


def test_a_header_is_no_wider_than_it_must_be_and_a_wide_table_takes_both_columns() -> None:
    assert (
        latex_header("memory ratio", text_points("1.0"), 1)
        == r"\begin{tabular}[b]{@{}r@{}}memory\\ratio\end{tabular}"
    )
    assert (
        latex_header("memory ratio", text_points("1.0 and a long word"), 1) == "memory ratio"
        and latex_header("trained with", 1, 0) == "trained with"
    )
    narrow, wide = (
        latex(table(("LSH-4", "1.0", "2.0")), STUDY),
        latex(table(("LSH-4", *"1" * 14), header=("variant", *WIDE)), STUDY),
    )
    assert (
        r"\begin{table}[t]" in narrow and r"\begin{table*}[t]" in wide and r"\end{table*}" in wide
    )
    intervals = latex(
        table(*[("a", Value(100, 99.9, 100, 1))] * 2, header=("variant", "x")), STUDY
    )  # stand below their numbers
    assert r"\begin{table}[t]" in intervals


def test_accents_are_all_written() -> None:
    assert set(ACCENTS.values()) == {
        re.match(r"\\(.)\{", escape(letter))[1] for letter in "èéêñüçåč"
    }
