"""The report's page in headless Chromium, from a file: sort, filter, follow a point, enlarge.

`make test-browser` installs both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ablations.report.drawing.figure import Drawing
from chromium import launched, opening
from experiments.compose import compose
from experiments.run_dir.files import config_text
from test_report import (
    EVALUATIONS,
    TRAINED,
    VARIANTS,
    duplication_study,
    fail,
    memory_study,
    report_page,
)
from test_speed_report import power_laws

if TYPE_CHECKING:  # `make test` runs without it
    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.browser
MEMORY = {label: mebibytes for label, (_, _, mebibytes, _) in VARIANTS.items()}


chromium = pytest.fixture(scope="module")(launched)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three reports: a language model with 2 seeds and a cell out of memory, the paper's Table 2
    beside ours, and a benchmark.
    """
    folder = tmp_path_factory.mktemp("reports")
    for name in ("lm", "dup", "speed"):
        (folder / name).mkdir()
    lm, dup = memory_study(folder / "lm", [0, 1]), duplication_study(folder / "dup", [0])
    for cell in lm.cells:
        if cell.train == "LSH":
            fail(cell.directory, "oom", "tried to allocate <2> GiB & more")
        config = config_text(compose(cell.overrides))
        (cell.directory / "config.yaml").write_text(f"# label: {cell.train}\n{config}")
        (cell.directory / "log.txt").write_text(f"log of {cell.train}, seed {cell.seed}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Drawing, "save", lambda drawing, directory, formats: None
        )  # PNG and PDF take longer than the page
        return {
            "lm": report_page(lm),
            "dup": report_page(dup),
            "speed": report_page(power_laws(folder / "speed")),
        }


@pytest.fixture
def show(chromium: Browser, pages: dict[str, Path]) -> Iterator[Callable[..., Page]]:
    """Opens one of the reports at a width in pixels."""
    yield from opening(chromium, pages)


def column(table: Locator, number: int) -> list[str]:
    inner = " .label" if number == 1 else ""
    return table.locator(f"tr:not(thead tr) > :nth-child({number}){inner}").all_inner_texts()


def place(element: Locator) -> list[float]:
    """On the page, however far it has been scrolled."""
    return element.evaluate(
        "e => { const b = e.getBoundingClientRect();"
        " return [b.x, b.y + scrollY, b.width, b.height].map(Math.round) }"
    )


def comes_into_view(page: Page, element: Locator) -> None:
    """A browser scrolls in its next frame."""
    visible = (
        "e => { const b = e.getBoundingClientRect(); return b.top >= 0 && b.top < innerHeight }"
    )
    page.wait_for_function(visible, arg=element.element_handle())


def test_numbers_sort_as_numbers_up_down_and_back(show: Callable[..., Page]) -> None:
    table = show("lm").locator("#table-loss_memory table")
    head = table.locator("thead th").nth(3)
    assert head.inner_text().startswith("memory (MiB)")
    before = column(table, 1)
    numbers = sorted(
        (mebibytes, label) for label, mebibytes in MEMORY.items() if label != "LSH"
    )  # as texts 101.7 comes before 88.9
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(table, 1) == [*(label for _, label in numbers), "LSH", "byte frequencies"]
    assert [text.split()[0] for text in column(table, 4)] == [
        *(f"{number:.1f}" for number, _ in numbers),
        "oom",
        "-",
    ]
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert column(table, 1) == [*(label for _, label in numbers[::-1]), "LSH", "byte frequencies"]
    other = table.locator("thead th").first
    other.get_by_role("button").press("Space")
    assert (head.get_attribute("aria-sort"), other.get_attribute("aria-sort")) == (
        None,
        "ascending",
    )
    assert column(table, 1) == [*sorted(VARIANTS), "byte frequencies"]
    for _ in range(2):
        other.get_by_role("button").click()
    assert other.get_attribute("aria-sort") is None and column(table, 1) == before


def test_every_way_to_write_a_number_is_one(show: Callable[..., Page]) -> None:
    texts = [
        "1,234.5",
        "99.9 [99.7, 100.0]",
        "-3.4",
        "+0.012",
        "\u22125",
        "34.1 (30.0-38.2)",
        "1e-3",
        "7 \u00b1 0.1",
        "oom",
        "\u2014",
        "-",
        "",
    ]
    found = show("lm").evaluate(
        "texts => texts.map(text => worth({ textContent: text }, false))", texts
    )
    assert found[:8] == [[0, value] for value in (1234.5, 99.9, -3.4, 0.012, -5, 34.1, 0.001, 7)]
    assert found[8:] == [[1, "oom"], [2], [2], [2]]


def test_the_papers_row_moves_with_its_own(show: Callable[..., Page]) -> None:
    table = show("dup").locator("#table-train_eval table")
    table.locator("thead button").nth(len(EVALUATIONS)).click()  # LSH-1
    labels = column(table, 1)
    assert labels[1::2] == [f"{label}, paper" for label in labels[::2]] and set(labels[::2]) == set(
        TRAINED
    )
    ours = [float(text) for text in column(table, 1 + len(EVALUATIONS))[::2]]
    assert ours == sorted(ours) and len(set(ours)) > 1


def test_the_filter_takes_away_rows_cells_and_points_and_shows_all_again(
    show: Callable[..., Page],
) -> None:
    page = show("lm")
    rows, cells, points = (
        page.locator("tbody:visible .label"),
        page.locator(".cells:visible h3"),
        page.locator("#figure-loss_memory .point:visible"),
    )
    assert rows.all_inner_texts() == cells.all_text_contents() == list(VARIANTS)
    page.get_by_label("Words of a name").fill("rev CHUNK")
    assert rows.all_inner_texts() == cells.all_text_contents() == ["Reversible + chunked"]
    assert [point.get_attribute("data-label") for point in points.all()] == ["Reversible + chunked"]
    output = page.locator("#filter output")
    assert output.inner_text().startswith(f"1 of {len(VARIANTS)} variants shown")
    page.get_by_role("button", name="Show all").click()
    page.locator("#filter summary").click()
    for label in list(VARIANTS)[1:-1]:
        page.get_by_role("checkbox", name=label, exact=True).uncheck()
    assert rows.all_inner_texts() == cells.all_text_contents() == ["Transformer", "Reformer"]
    page.locator(
        "#table-loss_memory thead button"
    ).first.click()  # sorting keeps what is hidden hidden
    assert rows.all_inner_texts() == ["Reformer", "Transformer"]
    page.get_by_role("button", name="Show all").click()
    assert (
        set(rows.all_inner_texts()) == set(VARIANTS)
        and cells.all_text_contents() == list(VARIANTS)
        and points.count() == len(VARIANTS) - 1
    )
    assert output.inner_text() == ""


def test_a_benchmarks_filter_takes_a_variant_at_every_length(show: Callable[..., Page]) -> None:
    page = show("speed")
    page.locator("#filter summary").click()
    page.get_by_role("checkbox", name="Naive", exact=True).uncheck()
    shown = page.locator("tbody:visible tr > :first-child .label").all_inner_texts()
    assert not any("Naive" in text for text in shown) and "Full, paper" in shown
    assert page.locator(".cells:visible").count() == 2 * 4
    points = page.locator("#figure-length_time .point:visible")
    labels = {point.get_attribute("data-label") for point in points.all()}
    assert labels == {
        f"{length} / {name}" for length in (1024, 2048, 4096, 8192) for name in ("Full", "LSH-4")
    }


def test_a_point_leads_to_its_cells_and_they_to_their_files(
    show: Callable[..., Page], pages: dict[str, Path]
) -> None:
    page = show("lm")
    page.locator("#figure-time_memory .point[data-label='Reversible + chunked']").locator(
        ".hit"
    ).click()
    entry = page.locator("#cell-Reversible-chunked")
    page.wait_for_url("**#cell-Reversible-chunked")
    comes_into_view(page, entry)
    assert (
        entry.locator("h3").inner_text() == "Reversible + chunked"
        and entry.locator(".cell").count() == 2
    )
    for seed, cell in enumerate(entry.locator(".cell").all()):
        assert (
            "model.ff_chunks=8" in cell.locator("pre").text_content()
            and f"seed={seed}" in cell.locator("pre").text_content()
        )
        with page.expect_download() as download:  # Chromium saves YAML
            cell.get_by_role("link", name="config.yaml").click()
        first, *_ = Path(download.value.path()).read_text().splitlines()
        assert first == "# label: Reversible + chunked"
        log = page.context.new_page()
        log.goto(cell.get_by_role("link", name="log.txt").evaluate("link => link.href"))
        assert (
            log.locator("body").inner_text().strip() == f"log of Reversible + chunked, seed {seed}"
        )
    hidden = show("lm")
    hidden.get_by_label("Words of a name").fill("reformer")
    hidden.goto(f"{pages['lm'].as_uri()}#cell-LSH")  # what the filter hides, a link shows again
    hidden.wait_for_function(
        "document.querySelector('#cell-LSH').getBoundingClientRect().top < innerHeight"
    )
    assert (
        hidden.locator("#cell-LSH").is_visible()
        and "tried to allocate <2> GiB & more" in hidden.locator("#cell-LSH").inner_text()
    )


def test_a_benchmarks_point_leads_to_the_one_cell(show: Callable[..., Page]) -> None:
    page = show("speed")
    page.locator("#figure-length_time .point[data-label='2048 / LSH-4']").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**#cell-2048_LSH-4")
    comes_into_view(page, page.locator("#cell-2048_LSH-4"))
    assert "task.length=2048" in page.locator("#cell-2048_LSH-4 pre").text_content()


def test_a_figure_enlarges_and_returns_where_it_was(show: Callable[..., Page]) -> None:
    page = show("lm")
    figure = page.locator("#figure-loss_memory")
    button, plot, large = (
        figure.get_by_role("button", name="Enlarge"),
        figure.locator(".plot"),
        page.locator("dialog .plot"),
    )
    before, size = place(plot), plot.bounding_box()
    button.press("Enter")
    assert page.get_by_role("dialog").is_visible() and plot.count() == 0
    assert (
        large.bounding_box()["width"] > 1.4 * size["width"] and large.bounding_box()["height"] < 800
    )
    page.keyboard.press("Escape")
    plot.wait_for()
    assert not page.get_by_role("dialog").is_visible() and place(plot) == before
    assert button.evaluate("e => e === document.activeElement")
    plot.click(position={"x": 60, "y": 200})  # beside every point
    page.get_by_role("button", name="Close").click()
    plot.wait_for()
    button.click()
    large.locator(".point[data-label=Reformer]").locator(".hit").click()
    plot.wait_for()
    assert page.url.endswith("#cell-Reformer") and not page.get_by_role("dialog").is_visible()
    page.wait_for_function(
        "document.querySelector('#cell-Reformer').getBoundingClientRect().top < innerHeight"
    )


@pytest.mark.parametrize("width", [1200, 390])
def test_nothing_but_a_table_scrolls_sideways_and_its_labels_stay(
    show: Callable[..., Page], width: int
) -> None:
    for name in ("lm", "dup", "speed"):
        page = show(name, width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        table = page.locator("figure.table .scroll").first
        table.evaluate("e => e.scrollLeft = 10000")
        label = table.locator("tbody th").first
        assert label.bounding_box()["x"] >= 0 and label.bounding_box()["width"] < 0.45 * width
        page.get_by_role("button", name="Enlarge").first.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_without_its_script_the_page_has_everything_to_read_and_no_dead_button(
    show: Callable[..., Page],
) -> None:
    page = show("lm", java_script_enabled=False)
    assert page.locator("tbody .label").all_inner_texts() == list(VARIANTS)
    assert page.locator(".point").first.is_visible()
    page.locator(".cells summary").first.click()
    assert page.locator(".cells pre").first.is_visible()
    assert not any(button.is_visible() for button in page.locator("button, input").all())
