"""docs/report_part.md, done as it says on a copy of the sources: its study is run and reported."""

import re
from pathlib import Path

import pandas as pd
import pytest

from ablations.report.words import build_part
from ablations.results import load_cells
from ablations.study.report_words import REPORT_WORDS
from doc_pages import copy_sources, run_commands
from reformer_pl.config import ConfigError
from test_readme import ROOT, apply, blocks
from test_report import memory_study

PAGE = (ROOT / "docs/report_part.md").read_text(encoding="utf-8")


def test_the_worked_example_of_a_report_part(tmp_path: Path) -> None:
    copy_sources(tmp_path)
    (diff,), (part,), (study,) = (blocks(word, PAGE) for word in ("diff", "python", "yaml"))
    changed, name = re.findall(r"^\*\*The [^,]*, in `([\w/.]+)`", PAGE, re.MULTILINE)
    new = f"ablations/report/parts/{name}"
    added = [line for line in diff.splitlines() if line.startswith("+")]
    assert len(added) == 1 and "\n-" not in diff and not (tmp_path / new).exists()
    apply(tmp_path / changed, diff)
    (tmp_path / new).write_text(part, encoding="utf-8")
    (tmp_path / "my_study.yaml").write_text(study, encoding="utf-8")
    *_, printed = run_commands(PAGE, tmp_path, "-m ablations .*")
    assert "Tokens a second while training, one seed (n = 1)." in printed
    report = tmp_path / "runs/my_study/report"
    written = {path.name for path in report.iterdir()}
    suffixes = ("csv", "md", "tex", "png", "pdf")
    assert written == {"results.csv", "index.html", *(f"throughput.{end}" for end in suffixes)}
    speeds = pd.read_csv(report / "throughput.csv").set_index("train")["tokens_per_second_mean"]
    fastest = speeds.idxmax()
    assert set(speeds.index) == {"full", "lsh"} and speeds.gt(0).all()
    markdown = (report / "throughput.md").read_text().replace("**", "").replace("†", "")
    assert f"| {fastest} | {speeds[fastest]:,.0f} | 1 | 1 ok |" in markdown
    html = (report / "index.html").read_text(encoding="utf-8")
    assert f">{speeds[fastest]:,.0f}" in html
    figure = html.split('id="figure-throughput"')[1].split("</figure>")[0]
    assert set(re.findall('<a class="point" href="(#[^"]+)"', figure)) == {
        "#cell-full",
        "#cell-lsh",
    }


def test_each_word_is_a_file_and_an_unknown_one_names_them_all(tmp_path: Path) -> None:
    files = {path.stem for path in (ROOT / "ablations/report/parts").glob("*.py")}
    assert files - {"__init__"} == set(REPORT_WORDS)
    study = memory_study(tmp_path, [0])
    with pytest.raises(ConfigError) as error:
        build_part("los_memory", study, load_cells(study))
    assert all(word in str(error.value) for word in ("'los_memory' is unknown", *REPORT_WORDS))
