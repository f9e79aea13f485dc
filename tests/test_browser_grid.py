"""The page of a study of 24 variants x 3 seeds in headless Chromium: what it says first, the values
of its figures, zoom, scales and legend, the filter whose view is a link, at every width.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ablations.report.drawing.figure import Drawing
from chromium import launched, opening
from grid_study import grid_study
from test_report import report_page

if TYPE_CHECKING:  # `make test` runs without it
    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.browser
WIDTHS = (360, 768, 1280, 1920)
REPORT = ["train_eval", "paired", "loss_memory", "learning_curves"]
FIRST = "full / lr=0.0003 / standard"
chromium = pytest.fixture(scope="module")(launched)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Drawing, "save", lambda drawing, directory, formats: None)
        study = grid_study(tmp_path_factory.mktemp("grid"), evaluations=True, report=REPORT)
        return {"grid": report_page(study)}


@pytest.fixture
def show(chromium: Browser, pages: dict[str, Path]) -> Iterator[Callable[..., Page]]:
    yield from opening(chromium, pages)


def tick(page: Page, *words: str) -> None:
    """Takes the ticks away from some values of the filter."""
    choices = page.locator("#filter details")
    if choices.get_attribute("open") is None:
        choices.locator("summary").click()
    for word in words:
        page.get_by_role("checkbox", name=word, exact=True).uncheck()


def point(page: Page, figure: str, label: str) -> Locator:
    return page.locator(f"#figure-{figure} .point[data-label='{label}']").first


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", text)]


def x_ticks(page: Page, figure: str, letter: str = "x") -> list[str]:
    ticks = page.locator(f"#figure-{figure} .tick.{letter}:visible text")
    return [text for text in ticks.all_text_contents() if text]


def shapes(page: Page, figure: str) -> str:
    """Everything of a figure that a script may have moved."""
    return page.locator(f"#figure-{figure} .plot").evaluate(
        """plot => [...plot.querySelectorAll("*")].filter(one => !one.closest("defs")
          && !one.matches(".ring")).map(one => [...one.attributes].filter(({ name, value }) =>
          !["style", "class"].includes(name) || value).map(({ name, value }) =>
          `${name}=${name === "d" || !isNaN(value) ? (value.match(/[\\d.]+/g) ?? [])
            .map(n => Number(n).toFixed(2)) : value}`).join()).join("\\n")"""
    )


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("options", [{}, {"java_script_enabled": False}, {"color_scheme": "dark"}])
def test_nothing_is_cut_at_any_width(
    show: Callable[..., Page], width: int, options: dict[str, Any]
) -> None:
    page = show("grid", width, **options)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for table in page.locator("figure.table").all():
        table.locator(".scroll").evaluate("e => e.scrollLeft = 10000")
        for seeds in table.locator(".seeds").all()[:8]:  # with the label, however it is scrolled
            box = seeds.bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= width
            assert seeds.evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    for figure in page.locator(".figures figure .plot").all():
        assert figure.bounding_box()["width"] > 0 and figure.locator("text").count() > 5


@pytest.mark.parametrize("width", WIDTHS)
def test_filter_and_table_heads_stay_in_sight(show: Callable[..., Page], width: int) -> None:
    page = show("grid", width)
    bar, table = page.locator("#filter"), page.locator("#table-loss_memory")
    row = table.locator("tbody tr").nth(15)
    row.scroll_into_view_if_needed()
    row.evaluate("e => e.scrollIntoView({ block: 'center' })")
    head, top = table.locator("thead th").first.bounding_box(), bar.bounding_box()
    assert top["y"] == 0 and top["height"] < 0.2 * 800
    assert top["height"] - 12 <= head["y"] < 400 and head["y"] < row.bounding_box()["y"]
    shown = page.evaluate(
        "([x, y]) => document.elementFromPoint(x, y).closest('thead') !== null",
        [head["x"] + 8, head["y"] + head["height"] - 6],
    )
    assert shown


@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing(show: Callable[..., Page], width: int) -> None:
    """In the light and in the dark; what is in the figures, the same at each width, once."""
    axe = pytest.importorskip("axe_playwright_python")
    page = show("grid", width)
    tick(page, "local")
    # The page's policy lets no script in: the text is evaluated.
    page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    skipped = [[".cells:nth-of-type(n + 6)"]] + [[".plot"]] * (width != 1280)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        result = page.evaluate("exclude => axe.run({ exclude })", skipped)
        found = [(one["id"], one["nodes"][0]["html"][:200]) for one in result["violations"]]
        assert found == [] and len(result["passes"]) > 20
        skipped = [*skipped, [".plot"]]


def test_findings_and_failures_come_first_and_name_their_cells(show: Callable[..., Page]) -> None:
    page = show("grid", java_script_enabled=False)
    assert page.locator("main h2").first.inner_text() == "Findings"
    best, front, against = page.locator(".found li").all_inner_texts()
    assert (
        best.startswith("Best held-out bits per dim: 2.3")
        and "shown to be worse on equal seeds" in best
    )
    assert front.startswith("On the Pareto front of memory and held-out bits per dim")
    assert against.startswith(f"Against {FIRST} on equal seeds")
    failed, *_, missing = page.locator(".failures li").all_inner_texts()
    assert failed.startswith("3 cells: failed (FloatingPointError: the loss of step 60")
    assert missing.startswith("1 cell: no result yet: lsh / lr=0.003 / standard")
    page.locator(".failures a").first.click()
    page.wait_for_url("**#cell-*")


def test_every_entry_of_the_contents_leads_somewhere(show: Callable[..., Page]) -> None:
    page = show("grid", java_script_enabled=False)
    links = page.get_by_role("navigation", name="Contents").get_by_role("link")
    targets = [link.get_attribute("href") for link in links.all()]
    assert {"#findings", "#table-paired", "#figure-learning_curves", "#cells"} <= set(targets)
    assert all(page.locator(target).count() == 1 for target in targets)


def test_a_value_is_shown_under_the_pointer_and_with_the_focus(show: Callable[..., Page]) -> None:
    page = show("grid")
    row = page.locator("#table-loss_memory tbody tr", has_text=FIRST).first
    bits, memory = (numbers(row.locator("td").nth(i).inner_text())[0] for i in (0, 2))
    tip = page.locator("#tip")
    assert not tip.is_visible()
    one = point(page, "loss_memory", FIRST)
    page.locator("#figure-loss_memory .plot").scroll_into_view_if_needed()
    box = one.locator("circle").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tip.wait_for()
    label, x, y = tip.inner_text().splitlines()
    assert label == FIRST and "memory" in x.lower()
    assert numbers(y)[0] == pytest.approx(bits, abs=6e-4)
    assert numbers(x)[0] == pytest.approx(memory, rel=1e-3)
    assert "to" in y  # the bar's ends
    page.mouse.move(2, 2)
    tip.wait_for(state="hidden")
    page.keyboard.press("Tab")
    one.focus()
    assert tip.is_visible() and tip.inner_text().startswith(FIRST)
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    curve = point(page, "learning_curves", FIRST)
    curve.focus()
    first = tip.inner_text()
    assert "Training step: 200" in first
    page.keyboard.press("ArrowLeft")
    assert "Training step: 190" in tip.inner_text()
    assert one.get_attribute("aria-label").startswith(f"{FIRST}, ")  # what a screen reader reads


def test_axes_are_logarithmic_at_a_press_and_linear_at_the_next(show: Callable[..., Page]) -> None:
    page = show("grid")
    before, ticks = shapes(page, "learning_curves"), x_ticks(page, "learning_curves")
    figure = page.locator("#figure-learning_curves")
    button = figure.get_by_role("button", name="Logarithmic x axis")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert x_ticks(page, "learning_curves") != ticks
    facts = json.loads(figure.locator(".plot").get_attribute("data-panels"))[0]
    corners = figure.locator(".point path").first.get_attribute("d")
    pairs = numbers(corners)
    xs = pairs[::2]  # steps 10, 20, ... of equal ratio are equally far apart
    steps = [10 * (i + 1) for i in range(len(xs))]
    ends = [math.log(steps[0]), math.log(steps[-1])]
    for step, x in zip(steps, xs, strict=True):
        share = (math.log(step) - ends[0]) / (ends[1] - ends[0])
        assert x == pytest.approx(xs[0] + share * (xs[-1] - xs[0]), abs=0.05)
    assert facts["box"][0] <= xs[0] and xs[-1] <= facts["box"][2]
    assert "view.learning_curves=x0%3Alog" in page.url
    button.click()
    assert shapes(page, "learning_curves") == before
    assert x_ticks(page, "learning_curves") == ticks


def test_a_rectangle_and_buttons_zoom_and_reset_brings_it_back(show: Callable[..., Page]) -> None:
    page = show("grid")
    plot = page.locator("#figure-loss_memory .plot")
    before, ticks = shapes(page, "loss_memory"), x_ticks(page, "loss_memory")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.6 * box["height"], steps=4)
    page.mouse.up()
    assert not page.get_by_role("dialog").is_visible()  # no click that enlarges
    assert x_ticks(page, "loss_memory") != ticks and "view.loss_memory=" in page.url
    figure = page.locator("#figure-loss_memory")
    link = page.url
    figure.get_by_role("button", name="Reset").click()
    assert shapes(page, "loss_memory") == before and "view" not in page.url
    page.goto("about:blank")
    page.goto(link)
    assert x_ticks(page, "loss_memory") != ticks
    figure.get_by_role("button", name="Reset").click()
    figure.get_by_role("button", name="Zoom in").press("Enter")
    near = shapes(page, "loss_memory")
    page.keyboard.press("ArrowRight")
    assert near != before and shapes(page, "loss_memory") not in (near, before)
    figure.get_by_role("button", name="Reset").click()
    assert shapes(page, "loss_memory") == before


def test_the_legend_takes_its_curves_away_and_brings_them_back(show: Callable[..., Page]) -> None:
    page = show("grid")
    figure = page.locator("#figure-learning_curves_time")
    before, points = shapes(page, "learning_curves_time"), figure.locator(".point:visible")
    count = points.count()
    entry = figure.get_by_role("button", pressed=True).filter(has=page.locator("text")).first
    entry.click()
    assert points.count() < count and not page.get_by_role("dialog").is_visible()
    assert "off" in page.url
    off = figure.locator(".legend [aria-pressed=false]")
    assert off.count() >= 1
    other = page.locator("#figure-loss_memory .point:visible").count()
    assert other == 24  # the legend is its figure's own
    off.first.press("Enter")
    assert points.count() == count and shapes(page, "learning_curves_time") == before


def test_the_filter_removes_by_axis_value_rescales_and_is_a_link(
    show: Callable[..., Page],
) -> None:
    page = show("grid")
    ticks = x_ticks(page, "loss_memory")
    tick(page, "standard", "0.0003")
    labels = page.locator("#table-loss_memory tbody:visible .label").all_inner_texts()
    assert len(labels) == 8 and all("reversible" in t and "lr=0.0003" not in t for t in labels)
    cells = page.locator(".cells:visible h3").all_text_contents()
    assert cells == labels
    for figure in ("loss_memory", "time_memory", "learning_curves"):
        visible = page.locator(f"#figure-{figure} .point:visible")
        assert {one.get_attribute("data-label") for one in visible.all()} <= set(labels)
        assert visible.count() > 0
    assert page.locator(".dim").count() == 0
    assert x_ticks(page, "loss_memory") != ticks  # rescaled
    rows = page.locator("#figure-train_eval .tick.y:visible").all_text_contents()
    rows = [words for words in rows if "/" in words]
    assert len(rows) == 8 and all(words.endswith("reversible") for words in rows)
    assert "lr=0.001%7C0.003" in page.url and "residual=reversible" in page.url
    box = page.locator("#filter").bounding_box()
    page.mouse.wheel(0, 4000)
    page.wait_for_function("() => scrollY > 3000")
    assert page.locator("#filter").bounding_box()["y"] == 0 and box
    link = page.url
    page.reload()
    assert page.locator("#table-loss_memory tbody:visible .label").all_inner_texts() == labels
    page.goto(page.url.split("#")[0])
    page.goto(link)  # typed into the same page
    page.wait_for_function(
        "() => document.querySelectorAll('#cells .cells:not([hidden])').length === 8"
    )
    page.locator("#figure-loss_memory .point:visible .hit").first.click(force=True)
    page.wait_for_url("**at=cell-*")  # a link within keeps the view
    assert "residual=reversible" in page.url
    page.get_by_role("button", name="Show all").click()
    assert page.locator(".cells:visible").count() == 24 and "residual" not in page.url


@pytest.mark.parametrize(
    ("texts", "ordered"),
    [
        (["lr=0.001", "lr=0.0003", "lr=0.01"], ["lr=0.0003", "lr=0.001", "lr=0.01"]),
        (["LSH-10", "LSH-2", "LSH-1"], ["LSH-1", "LSH-2", "LSH-10"]),
        (["1e-2", "1e-3", "0.005"], ["1e-3", "0.005", "1e-2"]),
        (["b / 2", "a / 10", "a / 9.5"], ["a / 9.5", "a / 10", "b / 2"]),
        (["x=-1", "x=-2", "x=0"], ["x=-2", "x=-1", "x=0"]),
    ],
)
def test_labels_sort_by_the_numbers_in_them(
    show: Callable[..., Page], texts: list[str], ordered: list[str]
) -> None:
    assert show("grid").evaluate("texts => texts.sort(natural)", texts) == ordered


def test_a_command_is_folded_and_copied_by_its_button(
    show: Callable[..., Page], pages: dict[str, Path]
) -> None:
    page = show("grid", permissions=["clipboard-read", "clipboard-write"])
    cell = page.locator(".cell").nth(4)
    cell.scroll_into_view_if_needed()
    assert not cell.locator("pre").is_visible()
    cell.get_by_role("button", name="Copy the command").click()
    page.wait_for_function("() => document.querySelectorAll('.copy')[4].textContent === 'Copied'")
    command = page.evaluate("navigator.clipboard.readText()")
    assert command == cell.locator("pre").text_content() and "-m experiments.train" in command
    cell.locator("summary").click()
    assert cell.locator("pre").is_visible()


@pytest.mark.parametrize("scripted", [True, False])
def test_figures_have_text_that_a_search_and_a_reader_find(
    show: Callable[..., Page], scripted: bool
) -> None:
    page = show("grid", java_script_enabled=scripted)
    for words in ("Peak memory (MiB)", "Training step", "Held-out bits per dim"):
        assert page.locator(".plot text", has_text=words).count() > 0
    if scripted:
        assert page.evaluate("find('Training step')")
    group = page.get_by_role("group", name="loss memory", exact=True)
    assert group.get_by_role("link", name=f"{FIRST}").count() >= 1


def test_dark_mode_is_the_systems_and_reaches_the_figures(show: Callable[..., Page]) -> None:
    back = "getComputedStyle(document.body).backgroundColor"
    plot = "getComputedStyle(document.querySelector('.plot')).filter"
    light, dark = show("grid"), show("grid", color_scheme="dark")
    assert light.evaluate(back) == "rgb(255, 255, 255)" and light.evaluate(plot) == "none"
    assert max(numbers(dark.evaluate(back))) < 40 and "invert" in dark.evaluate(plot)
    dark.emulate_media(media="print")
    assert dark.evaluate(plot) == "none" and dark.evaluate(back) == "rgb(255, 255, 255)"


def test_it_prints_all_its_tables_without_its_tools(show: Callable[..., Page]) -> None:
    page = show("grid")
    page.emulate_media(media="print")
    for gone in ("#filter", ".tools", ".copy", ".contents"):
        assert not page.locator(gone).first.is_visible()
    for box in page.locator("figure.table .scroll").all():
        assert box.evaluate("e => getComputedStyle(e).overflow") == "visible"
    assert len(page.pdf()) > 100_000


def test_a_hundred_variants_of_ten_seeds(
    chromium: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = grid_study(tmp_path, 100, 10, report=["loss_memory", "learning_curves"])
    began = time.process_time()
    path = report_page(study)
    seconds, size = time.process_time() - began, path.stat().st_size
    assert seconds < 30, f"{seconds:.1f} s of a processor"
    assert size < 5e6
    context = chromium.new_context(offline=True)
    page = context.new_page()
    page.goto(path.as_uri())
    ready = page.evaluate("performance.getEntriesByType('navigation')[0].domInteractive")
    took = page.evaluate(
        """() => { const began = performance.now();
          document.querySelector('[name="axis-0"]').click(); return performance.now() - began }"""
    )
    context.close()
    assert ready < 5000 and took < 3000, (ready, took)
