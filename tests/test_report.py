"""The report of a study, made from a tree of runs that looks like a real one: failures, several
seeds, missing numbers.
"""

import json
import math
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console

from ablations.report.drawing.point_labels import label_points
from ablations.report.numbers import best_of, digits
from ablations.report.parts import learning_curves as curves
from ablations.report.parts import loss_memory, train_eval
from ablations.report.report import load_report
from ablations.report.table import Row, Table, Value, Words, is_best
from ablations.report.write import write_report
from ablations.report.writers.latex import escape, latex
from ablations.report.writers.markdown import markdown
from ablations.report.writers.terminal import print_tables
from ablations.result_columns import COLUMNS
from ablations.results import load_cells, load_curves, load_results, score_rows
from ablations.study import Study, load_study
from experiments.run_dir.outcome import read_result
from reformer_pl.config import ConfigError
from reformer_pl.metrics import BITS_PER_DIM, LOSS_NATS, Metric

EVALUATIONS = {
    "Full": ["model.attention=shared_full"],
    **{f"LSH-{n}": ["model.attention=lsh", f"model.lsh.n_hashes={n}"] for n in (8, 4, 2, 1)},
}
TRAINED = {name: EVALUATIONS[name] for name in ("Full", "LSH-4", "LSH-2", "LSH-1")}
PAPER = {
    "Full": {"Full": 1.0, "LSH-8": 0.948, "LSH-4": 0.925, "LSH-2": 0.769, "LSH-1": 0.525},
    "LSH-4": {"Full": 0.008, "LSH-8": 1.0, "LSH-4": 0.999, "LSH-2": 0.994, "LSH-1": 0.919},
    "LSH-2": {"Full": 0.008, "LSH-8": 1.0, "LSH-4": 0.999, "LSH-2": 0.981, "LSH-1": 0.868},
    "LSH-1": {"Full": 0.008, "LSH-8": 0.999, "LSH-4": 0.996, "LSH-2": 0.948, "LSH-1": 0.779},
}
VARIANTS = {  # label: overrides, final bits per dim, peak memory (MiB), seconds a step
    "Transformer": (["model.attention=full"], 4.43, 212.4, 0.31),
    "Transformer + checkpoint": (
        ["model.attention=full", "model.residual=checkpoint"],
        4.43,
        96.2,
        0.39,
    ),
    "Reversible": (["model.attention=full", "model.residual=reversible"], 4.45, 101.7, 0.43),
    "Reversible + chunked": (
        ["model.attention=full", "model.residual=reversible", "model.ff_chunks=8"],
        4.45,
        88.9,
        0.44,
    ),
    "LSH": (["model.attention=lsh"], 4.31, 341.0, 0.52),
    "Reformer": (
        ["model.attention=lsh", "model.residual=reversible", "model.ff_chunks=8"],
        4.32,
        97.5,
        0.71,
    ),
}


def duplication_study(folder: Path, seeds: list[int], paper: bool = True) -> Study:
    """The paper's Table 2, with runs on disk."""
    study = _study(folder, "dup", {
        "description": "How many hash rounds does <b>LSH</b> attention need on the duplication task?",
        "base": ["experiment=duplication"],
        "axes": {"train": TRAINED}, "seeds": seeds, "evaluations": EVALUATIONS,
        "paper": {"train_eval": PAPER} if paper else {},
        "report": ["train_eval", "learning_curves"],
        "notes": ["The paper trains 150 000 steps & more; here it is 400."],
    })  # fmt: skip
    baseline = {
        "name": "chance",
        "loss_nats": math.log(127),
        "bits_per_dim": math.log2(127),
        "accuracy": 1 / 127,
    }
    for cell in study.cells:
        draw = np.random.default_rng([list(TRAINED).index(cell.train), cell.seed])
        at = draw.uniform(120, 260)
        fall = [1 / (1 + math.exp(-(step - at) / 18)) for step in range(25, 401, 25)]
        curve = [
            {
                "loss_nats": 4.8 * (1 - f) + 0.01,
                "accuracy": 0.008 + 0.991 * f,
                "bits_per_dim": 6.9 * (1 - f) + 0.014,
            }
            for f in fall
        ]
        write_run(
            cell.directory,
            curve,
            25,
            baseline,
            peak_memory_gib=0.21,
            step_seconds=0.2 + 0.1 * draw.random(),
            parameters=462_336,
        )
        for column, (name, overrides) in enumerate(EVALUATIONS.items()):
            accuracy = 1 - draw.random() * 0.0004 * 4.5**column if name != "Full" else 0.9996
            found = {
                "name": name,
                "overrides": overrides,
                "loss_nats": 0.01,
                "accuracy": accuracy,
                "bits_per_dim": 0.014,
                "tokens": 8192,
            }
            _write(cell.directory / "evaluations" / f"{name}.json", found)
    return study


def memory_study(folder: Path, seeds: list[int]) -> Study:
    """A language model in six variants, with runs on disk."""
    study = _study(folder, "lm", {
        "description": "Held-out bits per dimension against memory.", "timed": True,
        "base": ["experiment=enwik8"],
        "axes": {"train": {label: overrides for label, (overrides, *_) in VARIANTS.items()}},
        "seeds": seeds,
        "report": ["loss_memory", "learning_curves"],
    })  # fmt: skip
    baseline = {
        "name": "byte frequencies",
        "loss_nats": 5.13 * math.log(2),
        "bits_per_dim": 5.13,
        "accuracy": 0.137,
    }
    for cell in study.cells:
        _, bits, mebibytes, seconds = VARIANTS[cell.train]
        bits += 0.02 * np.random.default_rng(cell.seed).random()
        curve = []
        for step in range(10, 151, 10):
            now = bits + 2.2 * math.exp(-step / 22) - 2.2 * math.exp(-150 / 22)
            curve.append(
                {"loss_nats": now * math.log(2), "accuracy": 0.4 - 0.05 * now, "bits_per_dim": now}
            )
        write_run(
            cell.directory,
            curve,
            10,
            baseline,
            peak_memory_gib=mebibytes / 1024,
            step_seconds=seconds,
            parameters=1_054_208,
        )
    return study


def write_run(
    directory: Path,
    curve: list[dict[str, float]],
    every: int,
    baseline: dict[str, object],
    **costs: float,
) -> None:
    """A run directory as experiments.train leaves it: the last row of the curve is the result."""
    (directory / "evaluations").mkdir(parents=True)
    rows, seconds = [], costs["step_seconds"]
    for i, row in enumerate(curve, 1):
        both = {"step": i * every, "seconds": i * every * seconds, "tokens": i * every * 4096}
        rows += [{**both, "split": "train", **row, "lr": 1e-3}, {**both, "split": "valid", **row}]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    steps = len(curve) * every
    _write(directory / "result.json", {
        "status": "ok", "error": None, "steps": steps, **curve[-1], **costs,
        "tokens_per_second": 4096 / seconds,
        "train_seconds": steps * seconds, "baseline": baseline, "device": "CPU, 2 cores",
        "threads": 2,
        "versions": {"torch": "2.13.0", "lightning": "2.6.6"}, "git_commit": "0123abc",
        "finished_at": "2026-11-21T12:00:00+00:00",
    })  # fmt: skip
    (directory / "log.txt").write_text("done\n")


def fail(directory: Path, status: str, error: str) -> None:
    """The result of a run that ended badly: every number null, no evaluation."""
    path = directory / "result.json"
    result = json.loads(path.read_text())
    _write(path, {**dict.fromkeys(result), "status": status, "error": error})
    for file in (directory / "evaluations").iterdir():
        file.unlink()


def _write(path: Path, values: dict[str, object]) -> None:
    path.write_text(json.dumps(values))


def _study(folder: Path, name: str, values: dict[str, object]) -> Study:
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return load_study(folder / f"{name}.yaml", folder / "runs")


def report_page(study: Study) -> Path:
    """The page of the study's report, written with all its files."""
    return write_report(load_report(study))


def best_places(table: Table) -> set[tuple[str, str]]:
    """(label, header) of the numbers that are bold."""
    return {
        (row.label, name)
        for row in table.rows
        for name, entry in zip(table.header[1:], row.entries, strict=True)
        if is_best(entry)
    }


def test_results_csv_has_the_agreed_columns_and_one_row_per_cell_and_evaluation(
    tmp_path: Path,
) -> None:
    study = duplication_study(tmp_path, [0, 1])
    fail(study.cells[1].directory, "oom", "out of memory")
    (study.cells[2].directory / "result.json").unlink()
    (study.cells[3].directory / "evaluations" / "LSH-8.json").unlink()
    page = report_page(study)
    found = pd.read_csv(page.parent / "results.csv")
    assert tuple(found.columns) == COLUMNS and len(found) == 4 * 2 * 5
    oom = found[(found["train"] == "LSH-4") & (found["seed"] == 0)]
    assert (oom["status"] == "oom").all() and oom.loc[:, "steps":].isna().all().all()
    missing = found[(found["train"] == "LSH-2") & (found["seed"] == 0)]
    assert (missing["status"] == "missing").all() and missing.loc[:, "steps":].isna().all().all()
    unscored = found[(found["train"] == "LSH-1") & (found["seed"] == 0)].set_index("eval")
    assert unscored.loc["LSH-8", "status"] == "missing" and math.isnan(
        unscored.loc["LSH-8", "accuracy"]
    )
    scored = json.loads((study.cells[3].directory / "evaluations" / "LSH-4.json").read_text())
    assert unscored.loc["LSH-4", "accuracy"] == scored["accuracy"]
    assert (
        not (found[["loss_nats", "accuracy", "peak_memory_gib", "step_seconds"]] == 0).any().any()
    )
    assert ",462336," in (page.parent / "results.csv").read_text()


def test_an_evaluation_made_under_other_overrides_does_not_count(tmp_path: Path) -> None:
    study = duplication_study(tmp_path, [0])
    path = study.cells[0].directory / "evaluations" / "LSH-2.json"
    _write(
        path,
        {
            **json.loads(path.read_text()),
            "overrides": ["model.attention=lsh", "model.lsh.n_hashes=3"],
        },
    )
    row = score_rows(study).set_index(["train", "eval"]).loc[("Full", "LSH-2")]
    assert row["status"] == "missing" and math.isnan(row["accuracy"])


def test_train_eval_is_the_mean_and_interval_of_the_seeds_that_ended_well(tmp_path: Path) -> None:
    study = duplication_study(tmp_path, [0, 1, 2])
    fail(study.cells[3].directory, "failed", "boom")  # LSH-1, seed 0
    table, cost = train_eval.tables(study, load_cells(study))
    rows = {row[0]: dict(zip(table.header, row, strict=True)) for row in table.texts()}
    for train in TRAINED:
        ended = [
            cell
            for cell in study.cells
            if cell.train == train and not (train == "LSH-1" and cell.seed == 0)
        ]
        for name in EVALUATIONS:
            values = [
                100
                * json.loads((cell.directory / "evaluations" / f"{name}.json").read_text())[
                    "accuracy"
                ]
                for cell in ended
            ]
            ends = [f"{min(max(end, 0), 100):.1f}" for end in students_interval(values)]
            text = f"{mean(values):.1f}"
            assert rows[train][name] == (
                text if ends == [text, text] else f"{text} [{', '.join(ends)}]"
            )
            assert rows[f"{train}, paper"][name] == f"{100 * PAPER[train][name]:.1f}"
    assert rows["LSH-1"]["seeds"] == "2 ok, 1 failed" and rows["Full"]["seeds"] == "3 ok"
    costs = {row[0]: row for row in cost.texts()}
    seconds = [
        json.loads((cell.directory / "result.json").read_text())["train_seconds"]
        for cell in study.cells
        if cell.train == "Full"
    ]
    low, high = students_interval(seconds)
    assert costs["Full"][2] == f"{mean(seconds):.0f} [{low:.0f}, {high:.0f}]"
    assert costs["Full"][1] == "400"


def students_interval(values: list[float]) -> tuple[float, float]:
    """Of 2 or 3 values, by the quantiles of a printed table."""
    reach = {2: 12.7062, 3: 4.3027}[len(values)] * stdev(values) / math.sqrt(len(values))
    return mean(values) - reach, mean(values) + reach


def test_one_seed_has_no_spread_and_a_variant_without_a_result_keeps_its_row(
    tmp_path: Path,
) -> None:
    study = duplication_study(tmp_path, [0], paper=False)
    fail(study.cells[2].directory, "timeout", "no end after 60 s")
    table, _ = train_eval.tables(study, load_cells(study))
    assert table.texts()[2] == ("LSH-2", *["timeout"] * 5, "0", "1 timeout")
    assert all("[" not in text for row in table.texts() for text in row) and len(table.rows) == 4
    assert table.data.loc[table.data["train"] == "LSH-2", "accuracy_mean"].isna().all()


def test_loss_memory_ratios_baseline_and_best(tmp_path: Path) -> None:
    study = memory_study(tmp_path, [0])
    fail(study.cells[4].directory, "oom", "out of memory")  # LSH
    (table,) = loss_memory.tables(study, load_cells(study))
    rows = {row[0]: row for row in table.texts()}
    assert table.header[3] == "memory (MiB)" and rows["Transformer"][3:5] == ("212.4", "1.00")
    assert (
        rows["Reformer"][4] == f"{97.5 / 212.4:.2f}" and rows["Reformer"][6] == f"{0.71 / 0.31:.2f}"
    )
    assert rows["LSH"] == ("LSH", "oom", "-", "oom", "-", "oom", "-", "-", "-", "", "0", "1 oom")
    assert rows["byte frequencies"][1] == "5.130" and rows["byte frequencies"][3] == "-"
    assert best_places(table) == {
        ("Reformer", "bits per dim"),
        ("Reversible + chunked", "memory (MiB)"),
        ("Transformer", "s/step"),
    }
    assert (
        table.data.set_index("train")
        .loc["LSH"]
        .filter(regex="_(mean|low|high|ratio)$")
        .isna()
        .all()
    )
    front = {
        row[0] for row in table.texts() if row[9] == "yes"
    }  # Transformer is beaten by itself with checkpoints
    assert front == {"Transformer + checkpoint", "Reversible + chunked", "Reformer"}


def test_the_first_variant_failing_leaves_no_ratio(tmp_path: Path) -> None:
    study = memory_study(tmp_path, [0])
    fail(study.cells[0].directory, "oom", "out of memory")
    (table,) = loss_memory.tables(study, load_cells(study))
    rows = {row[0]: row for row in table.texts()}
    assert rows["Reformer"][3:5] == ("97.5", "-")


def test_curves_keep_every_row_but_not_half_a_line(tmp_path: Path) -> None:
    study = memory_study(tmp_path, [0, 1])
    path = study.cells[0].directory / "metrics.jsonl"
    whole = len(path.read_text().splitlines())
    path.write_text(path.read_text() + '{"step": 160, "split": "tr')
    curves = load_curves(study)
    assert len(curves) == len(study.cells) * whole and {"train", "seed", "cell"} <= set(
        curves.columns
    )
    path.write_text('{"step": \n' + path.read_text())
    for damage in (b'{"step": \n', b"[]\n", b"\xff\n"):
        path.write_bytes(damage + path.read_bytes())
        assert load_curves(study).equals(curves), "damaged rows are left out"


@pytest.mark.parametrize("damage", [b"{", b"{}", b"[]", b'{"status": null}', b"\xff"])
def test_a_damaged_result_is_a_row_that_names_it(tmp_path: Path, damage: bytes) -> None:
    study = memory_study(tmp_path, [0])
    path = study.cells[0].directory / "result.json"
    path.write_bytes(damage)
    advice = r"result\.json .*: move it away, and the next run makes it anew"
    for read in (load_cells, load_results):
        first, *others = read(study).to_dict("records")
        assert first["status"] == "unreadable" and re.search(advice, first["error"])
        assert {row["status"] for row in others} == {"ok"}, "the rest of the study is shown"
    with pytest.raises(ConfigError, match=advice):
        read_result(study.cells[0].directory)


class Links(HTMLParser):
    """Every address a page refers to, and all its text."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [
            value or ""
            for name, value in attrs
            if name in ("src", "href", "srcset", "data", "action")
        ]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("make", [duplication_study, memory_study])
def test_the_page_needs_no_network_and_links_only_to_files_that_are_there(
    tmp_path: Path, make
) -> None:
    study = make(tmp_path, [0, 1])
    fail(study.cells[1].directory, "oom", "tried to allocate <2> GiB & more")
    page = report_page(study)
    html, links = page.read_text(), Links()
    links.feed(html)
    names = html.replace("http://www.w3.org/2000/svg", "")  # a name for a script, no address
    assert not re.search(r"//[a-z]|<script [^>]*src|@import|url\((?!#)|xmlns", names)
    for address in links.addresses:
        assert address.startswith(("data:", "#")) or (page.parent / address).is_file(), address
    assert html.count("<svg ") == len(list(page.parent.glob("*.pdf"))) >= 2
    assert (
        study.description in links.text and "tried to allocate <2> GiB & more" in links.text
    )  # escaped, then read back
    assert (
        "<b>LSH</b>" not in html
        and "1 oom" in links.text
        and "0123abc" in links.text
        and "torch 2.13.0" in links.text
    )
    command = next(
        line for line in links.text.splitlines() if "python -m experiments.train" in line
    )
    assert shlex.split(command[command.index("python") :])[3:] == list(study.cells[0].overrides)
    for name in (path.stem for path in page.parent.glob("*.pdf")):
        assert (page.parent / f"{name}.png").stat().st_size > 5000


def test_the_learning_curves_leave_every_evaluation_in_a_csv(tmp_path: Path) -> None:
    study = duplication_study(tmp_path, seeds=[0, 1])
    page = report_page(study)
    read = pd.read_csv(page.parent / "learning_curves.csv")
    held_out = load_curves(study).query("split == 'valid'")
    assert len(read) == len(held_out) > 0 and set(read["train"]) == set(held_out["train"])
    np.testing.assert_allclose(read["bits_per_dim"], held_out["bits_per_dim"])
    assert 'href="learning_curves.csv"' in page.read_text()


def test_report_refuses_a_study_without_a_finished_cell(tmp_path: Path) -> None:
    study = _study(
        tmp_path,
        "fresh",
        {"axes": {"train": TRAINED}, "report": ["train_eval"], "evaluations": EVALUATIONS},
    )
    with pytest.raises(ConfigError, match=r"fresh has no finished cell: run it with"):
        load_report(study)
    assert not study.directory.exists()


def test_a_study_whose_cells_all_failed_has_a_report_that_says_so(tmp_path: Path) -> None:
    study = memory_study(tmp_path, [0])
    for cell in study.cells:
        fail(cell.directory, "oom", "out of memory")
    page = report_page(study)
    assert "6 oom" in page.read_text() and not list(page.parent.glob("*.png"))


def test_a_report_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    study = memory_study(tmp_path, [0])
    (study.directory / "report").write_text("in the way")
    with pytest.raises(ConfigError, match="cannot be written"):
        report_page(study)


def test_latex_and_markdown_escape_what_their_grammar_would_eat() -> None:
    assert escape("50% of a_b & {c} # $d ~ e^f \\g ± <h>") == (
        r"50\% of a\_b \& \{c\} \# $\mathdollar$d \textasciitilde{} e\textasciicircum{}f "
        r"\textbackslash{}g $\pm$ \textless{}h\textgreater{}"
    )
    rows = (
        Row("a_b | c", (Value(1, places=1, best=True),), "a_b | c"),
        Row("100%", (Words("-"),), "100%"),
    )
    table = Table("t", "50% & more", ("train", "x"), rows, pd.DataFrame())
    text = latex(table, "my_study")
    assert r"a\_b \textbar{} c & \textbf{1.0} \\" in text and r"\caption{50\% \& more}" in text
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    assert not re.search(r"(?<!\\)[_#]", text) and text.count("{") - text.count(
        r"\{"
    ) == text.count("}") - text.count(r"\}")
    lines = markdown(table).splitlines()
    assert (
        lines[2] == r"| a_b \| c | **1.0** |"
        and len({len(re.findall(r"(?<!\\)\|", line)) for line in lines[:4]}) == 1
    )


def test_the_terminal_shows_every_row(tmp_path: Path) -> None:
    study = memory_study(tmp_path, [0])
    fail(study.cells[4].directory, "oom", "out of memory")
    with (tmp_path / "out.txt").open("w") as file:
        print_tables(load_report(study), Console(file=file))
    text = (tmp_path / "out.txt").read_text()
    assert (
        all(label in text for label in VARIANTS) and "1 oom" in text and "byte frequencies" in text
    )


def test_best_and_digits() -> None:
    assert (
        best_of([1.0, math.nan, 2.0, 2.0], max) == [2, 3]
        and best_of([math.nan, 1.0], min) == []
        and best_of([], min) == []
    )
    assert (digits([0.31, 12.0]), digits([212.4, 88.9]), digits([4000.0]), digits([math.nan])) == (
        3,
        1,
        0,
        2,
    )


def test_curves_are_the_mean_of_the_seeds_that_ended_well_in_the_same_colours_everywhere(
    tmp_path: Path,
) -> None:
    study = memory_study(tmp_path, [0, 1, 2])
    fail(study.cells[5].directory, "failed", "boom")  # Reformer, seed 0
    cells = load_cells(study)
    axes = curves.draw_curves(study, cells, load_curves(study)).axes[0]
    drawn = {line.get_label(): line for line in axes.lines}
    ended = [cell for cell in study.cells if cell.train == "Reformer" and cell.seed != 0]
    rows = [
        [json.loads(line) for line in (cell.directory / "metrics.jsonl").read_text().splitlines()]
        for cell in ended
    ]
    held_out = [[row["bits_per_dim"] for row in run if row["split"] == "valid"] for run in rows]
    assert drawn["Reformer"].get_ydata() == pytest.approx(
        [mean(values) for values in zip(*held_out, strict=True)]
    )
    assert axes.get_title(loc="right") == "byte frequencies: 5.13 (above the axis)"
    scatter = loss_memory.against_memory(study, cells, BITS_PER_DIM).axes[0]
    points = {
        line.get_xdata()[0]: line.get_color()
        for line in scatter.lines
        if len(line.get_xdata()) == 1
    }
    assert {round(x, 1): colour for x, colour in points.items()} == {
        VARIANTS[k][2]: drawn[k].get_color() for k in VARIANTS
    }
    assert len(set(points.values())) == len(VARIANTS)


def test_the_heat_map_prints_the_table(tmp_path: Path) -> None:
    study = duplication_study(tmp_path, [0, 1])
    data = train_eval.tables(study, load_cells(study))[0].data
    here, paper = train_eval.heat_map(study, data).axes[:2]
    assert [text.get_text() for text in here.texts] == [
        f"{100 * value:.1f}" for value in data["accuracy_mean"]
    ]
    assert [text.get_text() for text in paper.texts] == [
        f"{100 * value:.1f}" for value in data["paper_accuracy"]
    ]
    heights = [text.get_window_extent().y0 for text in here.texts]
    assert heights[0] == max(heights) and heights[-1] == min(
        heights
    )  # the table's first row is on top


def test_point_labels_cover_neither_each_other_nor_a_point() -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4, 2.7))
    axes = figure.add_subplot()
    points = {f"variant number {i}": (1 + 0.01 * i, 1 + 0.01 * (i % 3)) for i in range(6)} | {
        "far": (2.0, 2.0)
    }
    for x, y in points.values():
        axes.plot(x, y, "o", markersize=4)
    label_points(figure, axes, points)
    renderer = figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in axes.texts if text.get_text()]
    assert len(boxes) == 7 and not any(
        a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i]
    )
    assert not any(
        box.contains(*axes.transData.transform(point)) for box in boxes for point in points.values()
    )


def test_a_metric_that_one_task_alone_has_is_a_column_and_judges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chrf = Metric("chrf", "chrF (%)", "Held-out chrF (%)", 100, 1, True, suffix="%", noun="chrF")
    for reader in ("cells", "evaluations", "frames", "load"):
        monkeypatch.setattr(f"ablations.results.{reader}.OTHER_SCORES", ("chrf",))
    monkeypatch.setattr("ablations.report.judged.task_metrics", lambda name: (chrf, LOSS_NATS))
    study = memory_study(tmp_path, [0])
    assert "chrf" not in load_results(study) and tuple(score_rows(study)) == COLUMNS
    for i, cell in enumerate(study.cells):
        path = cell.directory / "result.json"
        _write(path, {**json.loads(path.read_text()), "chrf": 0.5 + 0.01 * i})
    rows = score_rows(study)
    assert list(rows.columns).index("chrf") == COLUMNS.index("bits_per_dim") + 1
    assert load_results(study)["chrf"].tolist() == rows["chrf"].tolist()
    (table,) = loss_memory.tables(study, load_cells(study))
    assert table.header[:3] == ("variant", "chrF (%)", "loss (nats)")
    assert table.texts()[0][1] == "50.0" and ("Reformer", "chrF (%)") in best_places(table)
    axes = loss_memory.against_memory(study, load_cells(study), chrf).axes[0]
    assert axes.get_ylabel() == "Held-out chrF (%)"
