"""The page without a browser: ids, links of points, rows that belong together.

What its script does is in test_browser.py.
"""

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ablations.report.drawing.belongs import belongs
from ablations.report.drawing.figure import Drawing
from ablations.report.parts import learning_curves as curves
from ablations.report.parts import loss_memory
from ablations.report.table import Row, Table, Value, Words
from ablations.report.writers.page.svg import Target, inline_svg
from ablations.report.writers.page.tables import table_html
from ablations.results import load_cells
from test_coverage import recorded_study
from test_interval import made_up
from test_report import TRAINED, VARIANTS, duplication_study, memory_study, report_page
from test_speed_report import LENGTHS, power_laws


@pytest.fixture(autouse=True)
def no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """PNG and PDF take longer than the page."""
    monkeypatch.setattr(Drawing, "save", lambda drawing, directory, formats: None)


class Page(HTMLParser):
    """Every id, every link to one as (figure, id, title), and the number of variants of whatever
    has one, by its tag.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.points: list[tuple[str, str]] = []
        self.references: list[str] = []
        self.figure = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.ids += [found["id"]] if "id" in found else []
        self.figure = found.get("id", "") if tag == "figure" else self.figure
        if tag == "a" and found.get("class") == "point":
            self.points.append((self.figure, found["href"].removeprefix("#")))
        self.references += re.findall(r"url\(#([^)]+)\)", " ".join(found.values()))
        self.references += [found["href"][1:]] if found.get("href", "").startswith("#") else []

    def linked_from(self, figure: str) -> Counter[str]:
        return Counter(target for where, target in self.points if where == f"figure-{figure}")


def test_every_point_leads_to_the_cells_it_is_the_mean_of(tmp_path: Path) -> None:
    page = Page(report_page(memory_study(tmp_path, [0, 1])))
    names = {"cell-" + re.sub(r"[^\w=.-]+", "-", label) for label in VARIANTS}
    for figure in (
        "loss_memory",
        "time_memory",
        "learning_curves",
        "learning_curves_time",
    ):
        assert page.linked_from(figure) == dict.fromkeys(names, 1)
    assert not [i for i, count in Counter(page.ids).items() if count > 1] and set(
        page.references
    ) <= set(page.ids)


def test_a_square_of_the_heat_map_leads_to_the_training_it_evaluates(tmp_path: Path) -> None:
    page = Page(report_page(duplication_study(tmp_path, [0])))
    assert page.linked_from("train_eval") == {f"cell-{train}": 5 for train in TRAINED}


def test_each_point_of_a_benchmarks_line_leads_to_its_own_cell(tmp_path: Path) -> None:
    page = Page(report_page(power_laws(tmp_path)))
    ran = {
        f"cell-{length}_{variant}" for length in LENGTHS for variant in ("Full", "LSH-4", "Naive")
    } - {"cell-8192_Naive"}
    assert (
        page.linked_from("length_time")
        == page.linked_from("length_memory")
        == dict.fromkeys(ran, 1)
    )
    assert "cell-8192_Naive" in page.ids and set(page.references) <= set(page.ids)


def test_each_point_of_a_line_over_rounds_leads_to_its_own_variant(tmp_path: Path) -> None:
    study = made_up(tmp_path, [0, 1], report=["hash_rounds"])
    page = Page(report_page(study))
    hashed = [cell.name for cell in study.cells if cell.seed == 0]
    assert page.linked_from("hash_rounds") == dict.fromkeys(
        (f"cell-{name}" for name in hashed), 3
    )  # panels


def test_every_line_of_a_panel_leads_to_its_variant(tmp_path: Path) -> None:
    page = Page(report_page(recorded_study(tmp_path)))
    assert page.linked_from("coverage") == {"cell-Full": 4, "cell-LSH-1": 4} and set(
        page.references
    ) <= set(page.ids)


def test_equal_runs_give_equal_figures_and_long_curves_small_ones(tmp_path: Path) -> None:
    study = memory_study(tmp_path, [0])
    first, again = (loss_memory.figures(study, load_cells(study), [])[0].svg() for _ in range(2))
    assert first == again
    steps = np.arange(1, 2001)
    rows = [
        {"train": cell.train, "cell": cell.name, "seed": 0, "split": "valid", "step": step}
        for cell in study.cells
        for step in steps
    ]
    noise = np.random.default_rng(0).normal(size=len(rows))
    long = pd.DataFrame(rows).assign(bits_per_dim=noise, tokens=1, seconds=1.0)
    drawing = Drawing("learning_curves", "", curves.draw_curves(study, load_cells(study), long))
    inline = inline_svg(drawing, "", lambda label: Target(label, 0))
    assert len(inline.text) < 480_000 and inline.most is None


def test_a_gid_that_does_not_fit_its_points_is_refused() -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    figure.add_subplot().plot([1, 2, 3], [1, 2, 3], "o-", gid=belongs("a", "b"))
    with pytest.raises(ValueError, match="longer"):
        inline_svg(Drawing("x", "", figure), "", lambda label: Target(label, 0))


def test_a_point_can_be_clicked_around_it_but_not_on_another() -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.add_subplot()
    for label, x in (("a", 0), ("b", 0.01), ("c", 1), ("d", 1)):
        axes.plot(x, 0, "o", gid=belongs(label))
    svg = inline_svg(Drawing("x", "", figure), "", lambda label: Target(label, 0)).text
    circles = re.findall(r'<circle class="hit" cx="([\d.]+)" cy="[\d.]+" r="([\d.]+)"', svg)
    (a, near), (b, also), *one_place = [(float(x), float(r)) for x, r in circles]
    assert (
        near == also == pytest.approx((b - a) / 2, abs=0.02)
        and 1 < near < 6
        and [r for _, r in one_place] == [0, 0]
    )


def test_a_papers_row_shares_a_body_with_its_own_and_a_baseline_stays_below() -> None:
    rows = (
        Row("LSH-4", (Value(1, 0.9, 1.1, places=1, best=True),), "LSH-4"),
        Row("LSH-4, paper", (Value(2, places=1),), "LSH-4", "paper"),
        Row("Full", (Words("-"),), "Full"),
        Row("Full, 2 rounds", (Words("oom"),), "Full"),
        Row("byte frequencies", (Value(5),), "", "baseline"),
    )
    table = Table("t", "", ("variant", "x"), rows, pd.DataFrame())
    html = table_html(table, ["LSH-4", "Full"])
    bodies = re.findall(r'<tbody data-variants="(\d)">(.*?)</tbody>', html, re.DOTALL)
    assert [(number, body.count("<tr")) for number, body in bodies] == [
        ("0", 2),
        ("1", 1),
        ("1", 1),
    ]
    assert "LSH-4, paper" in bodies[0][1] and "byte frequencies" in html[html.index("<tfoot>") :]
    assert '<td><strong>1.0</strong> <span class="interval">[0.9, 1.1]</span></td>' in html
