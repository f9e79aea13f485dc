"""The committed results are of the figure studies as they are now; docs/results.md agrees."""

import re
from pathlib import Path

import pandas as pd
import pytest

from ablations.study import compose_variants, load_study

ROOT = Path(__file__).resolve().parent.parent
GALLERY = ROOT / "docs" / "gallery"
FIGURES, RECALL, BUDGET, MEMORY = (
    re.search(rf"^{name} := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    for name in ("FIGURES", "RECALL", "BUDGET", "MEMORY")
)


def test_the_gallery_holds_the_studies_that_make_gallery_runs() -> None:
    assert {path.name for path in GALLERY.iterdir()} == {*FIGURES, *RECALL, *BUDGET, *MEMORY}


@pytest.mark.parametrize("name", FIGURES)
def test_the_results_are_of_the_study_as_it_is(name: str) -> None:
    study = load_study(name)
    results = pd.read_csv(GALLERY / name / "results.csv")
    assert [(row.train, row.seed, row.status) for row in results.itertuples()] == [
        (cell.train, cell.seed, "ok") for cell in study.cells
    ]
    curves = pd.read_csv(GALLERY / name / "learning_curves.csv")
    for variant, config in compose_variants(study).items():
        every = range(
            config.trainer.eval_every_steps,
            config.trainer.max_steps + 1,
            config.trainer.eval_every_steps,
        )
        assert sorted(curves.loc[curves["train"] == variant, "step"].unique()) == list(every)
        assert (results.loc[results["train"] == variant, "steps"] == config.trainer.max_steps).all()


@pytest.mark.parametrize("name", FIGURES)
def test_the_results_page_shows_the_curves_and_the_differences_of_the_table(name: str) -> None:
    page = (ROOT / "docs" / "results.md").read_text()
    assert (
        f"(gallery/{name}/learning_curves.png)" in page
        and (GALLERY / name / "learning_curves.png").is_file()
    )
    section = section_of("Figures 3, 4 and 5")
    paired = pd.read_csv(GALLERY / name / "paired.csv")
    for difference in paired["bits_per_dim_difference"].dropna():
        assert f"{difference:+.3f}" in section, difference


def assert_evaluated(name: str) -> None:
    """The committed results are of the study's cells and evaluations, and each ended well."""
    results = pd.read_csv(GALLERY / name / "results.csv")
    assert [(row.train, row.eval, row.seed, row.status) for row in results.itertuples()] == [
        (cell.train, evaluation, cell.seed, "ok")
        for cell in load_study(name).cells
        for evaluation in cell.evaluations
    ]


def section_of(title: str) -> str:
    """The section of docs/results.md whose heading begins so."""
    page = (ROOT / "docs" / "results.md").read_text()
    return page.partition(f"\n## {title}")[2].partition("\n## ")[0]


@pytest.mark.parametrize("name", RECALL)
def test_the_scores_of_recall_are_of_the_study_as_it_is_and_on_the_page(name: str) -> None:
    assert_evaluated(name)
    section = section_of("Associative recall")
    table = (GALLERY / name / "train_eval.md").read_text()
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len(rows) > 3 and all(row in section for row in rows), name
    images = re.findall(rf"\(gallery/{name}/(\w+\.png)\)", section)
    assert images and all((GALLERY / name / image).is_file() for image in images)


@pytest.mark.parametrize("name", BUDGET)
def test_the_budgets_are_of_the_study_as_it_is_and_their_numbers_on_the_page(name: str) -> None:
    assert_evaluated(name)
    section = section_of("An equal budget of keys")
    assert f"(gallery/{name}/keys.png)" in section and (GALLERY / name / "keys.png").is_file()
    first = 1 + 2 * BUDGET.index(name)  # of the two columns of this study
    measured = [row[3:5] for row in table_rows((GALLERY / name / "keys.md").read_text())]
    shown = [row[first : first + 2] for row in table_rows(section)]
    assert len(measured) == 22 and shown[:22] == measured


def table_rows(page: str) -> list[list[str]]:
    """The cells of a Markdown table, without its head."""
    lines = [line for line in page.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("name", MEMORY)
def test_the_memory_is_of_the_study_as_it_is_and_measured_as_predicted(name: str) -> None:
    study = load_study(name)
    results = pd.read_csv(GALLERY / name / "results.csv")
    assert [(row.train, row.status) for row in results.itertuples()] == [
        (cell.train, "ok") for cell in study.cells
    ]
    ratios = (results["peak_memory_gib"] / results["predicted_memory_gib"]).dropna()
    assert len(ratios) == sum(len(grid.measured().cells) for grid in study.grids)
    assert ratios.between(0.99, 1.01).all()
    assert f"(gallery/{name}/{name}.png)" in (ROOT / "docs" / "results.md").read_text()
