"""docs/claims.md: every row has a verdict, a number of runs, and a study that exists; its numbers are those of the results."""

import re
from pathlib import Path

import pandas as pd
import pytest

from ablations.report.interval import mean_interval
from ablations.study import load_study
from experiments.compose import presets

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
HEADER = ["claim", "measured here", "n", "95 % interval", "verdict", "command"]
VERDICTS = ("holds", "holds in part", "not shown", "does not hold")
SAME_BITS = 0.05  # docs/claims.md says so
COMMAND = re.compile(r"`python -m ablations run (\w+)`")
NUMBER = re.compile(r"(?<![\w.])[+-]?\d+(?:,\d{3})*\.\d+(?!\w|\.\d)")


def rows_of(page: str) -> list[dict[str, str]]:
    """The rows of the page's tables, by the heads of their columns."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [
        dict(zip(HEADER, row, strict=True))
        for row in cells
        if row != HEADER and not set("".join(row)) <= set("-: ")
    ]


PAGE = (DOCS / "claims.md").read_text(encoding="utf-8")
ROWS = rows_of(PAGE)
NAMES = [row["claim"][:40] for row in ROWS]


def study_of(row: dict[str, str]) -> str:
    match = COMMAND.fullmatch(row["command"])
    assert match, row["command"]
    return match[1]


def numbers(text: str) -> set[str]:
    """The numbers with decimals, without their signs."""
    return {number.lstrip("+-") for number in NUMBER.findall(text)}


def paired(study: str) -> list[tuple[float, float, float, int]]:
    """(mean, low, high, n) of bits per dim beside the baseline's on equal seeds, a row a variant."""
    results = pd.read_csv(DOCS / "gallery" / study / "results.csv")
    scores = results.pivot(index="seed", columns="train", values="bits_per_dim")
    baseline = load_study(study).baseline
    rows = []
    for variant in results["train"].unique():
        values = (scores[variant] - scores[baseline]).dropna()
        if variant != baseline:
            rows.append((values.mean(), *mean_interval(values), len(values)))
    return rows


def judged_by_bits(row: dict[str, str]) -> bool:
    folder = DOCS / "gallery" / study_of(row)
    return folder.is_dir() and "bits per dim" in row["measured here"]


def test_every_row_is_whole_and_no_claim_stands_twice() -> None:
    assert len(ROWS) >= 15 and len(set(NAMES)) == len(ROWS)
    assert all(all(row.values()) for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_a_row_has_a_verdict_and_the_command_of_a_study(row: dict[str, str]) -> None:
    assert row["verdict"].strip("*") in VERDICTS
    assert study_of(row) in presets("study")
    assert re.match(r"\d+\b|none\b", row["n"]), row["n"]


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_every_number_stands_in_the_results(row: dict[str, str]) -> None:
    """In docs/results.md, which says where each is from, or in the gallery's tables."""
    text = (DOCS / "results.md").read_text(encoding="utf-8")
    folder = DOCS / "gallery" / study_of(row)
    text += "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.md"))
    shown = numbers(" ".join(row[name] for name in ("measured here", "n", "95 % interval")))
    assert shown <= numbers(text), shown - numbers(text)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if judged_by_bits(row)], ids=lambda row: study_of(row)
)
def test_differences_are_those_of_the_gallerys_seeds(row: dict[str, str]) -> None:
    rows = {f"{mean:+.3f}": (low, high, n) for mean, low, high, n in paired(study_of(row))}
    means = re.findall(r"[+-]\d\.\d{3}", row["measured here"])
    assert means and set(means) <= set(rows), (means, set(rows))
    ends = [f"[{low:+.3f}, {high:+.3f}]" for low, high, _ in map(rows.get, means)]
    assert re.findall(r"\[.*?\]", row["95 % interval"]) == ends
    assert {str(rows[mean][2]) for mean in means} == {row["n"]}


def memory() -> pd.DataFrame:
    """Predicted GiB of each variant and place of the study memory_axes, and what the weights take."""
    data = pd.read_csv(DOCS / "gallery" / "memory_axes" / "memory_axes.csv")
    return data.set_index(["grid", "variant", "place"]).sort_index()


def mib_a_layer(variant: str, column: str = "predicted_memory_gib") -> str:
    """What a layer adds, from 1 layer to 100."""
    gib = memory().loc["layers", variant][column]
    return f"{1024 * (gib[100] - gib[1]) / 99:.1f} MiB"


def gib_at(grid: str, variant: str, place: int, column: str = "predicted_memory_gib") -> str:
    return f"{memory().loc[grid, variant, place][column]:.1f} GiB"


def test_the_memory_of_the_claims_is_that_of_the_gallery() -> None:
    (depth,) = (row for row in ROWS if "independent of depth" in row["claim"])
    for words in (
        f"{mib_a_layer('Transformer')} to a Transformer",
        f"{mib_a_layer('Reversible')} to a reversible one",
        f"of which weights, gradients and Adam's moments are {mib_a_layer('Reversible', 'weights_gib')}",
    ):
        assert words in depth["measured here"], words
    (chunks,) = (row for row in ROWS if "Chunks" in row["claim"])
    end = ("d_ff", 131072)
    for variant in ("Transformer", "Reversible", "Reversible + chunked"):
        assert gib_at(end[0], variant, end[1]) in chunks["measured here"], variant
    assert gib_at("d_ff", "Reversible + chunked", 131072, "weights_gib") in chunks["measured here"]
    (length,) = (row for row in ROWS if "million tokens" in row["claim"])
    for variant in ("Transformer", "Reformer"):
        assert gib_at("length", variant, 2**20) in length["measured here"], variant


def test_a_verdict_by_bits_follows_from_its_intervals() -> None:
    """Where one holds 0 and reaches beyond SAME_BITS, the measurement decides nothing."""
    for row in filter(judged_by_bits, ROWS):
        pairs = re.findall(r"\[([+-][\d.]+), ([+-][\d.]+)\]", row["95 % interval"])
        ends = [(float(low), float(high)) for low, high in pairs]
        decided = [low * high > 0 or max(-low, high) <= SAME_BITS for low, high in ends]
        assert all(decided) == (row["verdict"] != "not shown"), row["claim"]


def test_the_page_is_reached_from_the_results_and_the_readme() -> None:
    assert "(claims.md)" in (DOCS / "results.md").read_text(encoding="utf-8")
    assert "(docs/claims.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
