"""Results from many places as one frame: studies, copied folders of runs, exports; and two sweeps
compared cell by cell.
"""

import json
import math
import shutil
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

from ablations.__main__ import main
from ablations.report.compare import comparison
from ablations.results import load_cells, load_results
from ablations.study import Study, load_study
from ablations.study.folder import open_source
from reformer_pl.config import ConfigError
from test_report import EVALUATIONS, _study, duplication_study, fail, memory_study, write_run

pytestmark = pytest.mark.usefixtures("stub_configs")

LABELS = ("Full", "LSH + chunked")
BASELINE = {"name": "byte frequencies", "loss_nats": 3.5, "bits_per_dim": 5.13, "accuracy": 0.1}


def sweep(
    folder: Path,
    bits: dict[tuple[str, int], float],
    mebibytes: float,
    step_seconds: float,
    commit: str = "aaaa",
) -> Study:
    """A study of two variants and the seeds 0, 1, 2, with a run for each key of `bits`."""
    folder.mkdir()
    axes = {
        label: [f"model.attention={word}"]
        for label, word in zip(LABELS, ("full", "lsh"), strict=True)
    }
    study = _study(
        folder,
        "lm",
        {
            "base": ["experiment=enwik8"],
            "axes": {"train": axes},
            "seeds": [0, 1, 2],
            "report": ["loss_memory"],
        },
    )
    for cell in study.cells:
        if (cell.train, cell.seed) in bits:
            value = bits[cell.train, cell.seed]
            row = {"loss_nats": value * math.log(2), "accuracy": 0.2, "bits_per_dim": value}
            costs = {
                "peak_memory_gib": mebibytes / 1024,
                "step_seconds": step_seconds,
                "parameters": 1000,
            }
            write_run(cell.directory, [row], 10, BASELINE, **costs)
            values = {
                "task": {"name": "enwik8"},
                "model": {"attention": cell.labels[0], "lsh": {"n_buckets": None}},
                "optim": {"betas": [0.9, 0.98]},
                "seed": cell.seed,
            }
            (cell.directory / "config.yaml").write_text(
                json.dumps({**values, "out_dir": "x", "evaluations": {}})
            )
            path = cell.directory / "result.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), "git_commit": commit}))
    return study


def before_and_after(folder: Path) -> tuple[Study, Study]:
    before = sweep(
        folder / "a",
        {("Full", 0): 4.0, ("Full", 1): 4.2, ("Full", 2): 4.4, (LABELS[1], 0): 4.1},
        100.0,
        0.20,
    )
    after = sweep(
        folder / "b",
        {("Full", 0): 4.1, ("Full", 1): 4.5, (LABELS[1], 0): 4.0, (LABELS[1], 1): 9.0},
        80.0,
        0.25,
        "bbbb",
    )
    return before, after


def test_one_frame_holds_config_metrics_cost_status_and_provenance(tmp_path: Path) -> None:
    study = sweep(tmp_path / "a", {("Full", 0): 4.0, (LABELS[1], 0): 4.1}, 100.0, 0.2)
    fail(study.cells[1].directory, "oom", "out of memory")
    found = load_results(study)
    assert len(found) == 6 and list(found.columns[:8]) == [
        "study",
        "variant",
        "cell",
        "train",
        "eval",
        "seed",
        "status",
        "error",
    ]
    assert found["status"].value_counts().to_dict() == {"ok": 1, "oom": 1, "missing": 4}
    first = found.iloc[0]
    assert (first["bits_per_dim"], first["peak_memory_gib"], first["git_commit"]) == (
        4.0,
        100 / 1024,
        "aaaa",
    )
    assert (
        first["config.model.attention"],
        first["config.optim.betas"],
        first["baseline.bits_per_dim"],
    ) == ("Full", "[0.9, 0.98]", 5.13)
    assert (
        first["version.torch"] == "2.13.0" and Path(first["directory"]) == study.cells[0].directory
    )
    assert not {"config.seed", "config.out_dir", "measure"} & set(found.columns) and not any(
        "evaluations" in name for name in found.columns
    )
    assert found.iloc[1]["error"] == "out of memory" and pd.isna(found.iloc[1]["bits_per_dim"])


def test_a_copied_folder_of_runs_needs_no_yaml(tmp_path: Path) -> None:
    study = sweep(
        tmp_path / "a", {("Full", 0): 4.0, ("Full", 1): 4.2, (LABELS[1], 0): 4.1}, 100.0, 0.2
    )
    copy = tmp_path / "elsewhere" / "copied"
    shutil.copytree(study.directory, copy)
    shutil.copytree(
        copy / "Full" / "seed=0", copy / "Full" / "seed=0.before-20261121-120000"
    )  # as run --force leaves it
    (copy / "report").mkdir()
    found, named = load_results(copy), load_results(study)
    assert list(zip(found["cell"], found["seed"], strict=True)) == [
        ("Full", 0),
        ("Full", 1),
        ("LSH-chunked", 0),
    ]
    same = ["cell", "seed", "status", "bits_per_dim", "step_seconds", "config.optim.betas"]
    merged = named[named["status"] == "ok"].sort_values(["cell", "seed"], ignore_index=True)
    pd.testing.assert_frame_equal(found[same], merged[same])
    assert set(found["study"]) == {"copied"} and set(
        load_results(copy / "Full" / "seed=0")["cell"]
    ) == {"Full"}
    assert len(load_results(study, copy)) == 6 + 3
    with pytest.raises(ConfigError, match="holds no run"):
        load_results(copy / "report")
    with pytest.raises(ConfigError, match="there is no folder nowhere/at-all"):
        load_results("nowhere/at-all")


def test_evaluations_of_a_copied_folder_and_those_made_later(tmp_path: Path) -> None:
    study = duplication_study(tmp_path, [0])
    for cell in study.cells:
        (cell.directory / "config.yaml").write_text(
            json.dumps({"seed": 0, "evaluations": EVALUATIONS})
        )
    late = study.cells[0].directory / "evaluations" / "LSH-16.json"
    late.write_text(
        json.dumps(
            {
                "name": "LSH-16",
                "overrides": [],
                "loss_nats": 0.5,
                "accuracy": 0.75,
                "bits_per_dim": 0.7,
            }
        )
    )
    (study.cells[1].directory / "evaluations" / "Full.json").unlink()
    found = load_results(study.directory).set_index(["train", "eval"])
    assert len(found) == 4 * 6 + 1 and found.loc[("Full", "LSH-16"), "accuracy"] == 0.75
    assert (
        found.loc[("LSH-4", "own"), "accuracy"]
        == load_cells(study).set_index("train").loc["LSH-4", "accuracy"]
        > 0
    )
    assert found.loc[("LSH-4", "Full"), "status"] == "missing" and pd.isna(
        found.loc[("LSH-4", "Full"), "accuracy"]
    )
    assert (
        len(load_results(study)) == 4 * 6
    )  # the study knows of five, beside the model as it was trained


def test_a_column_of_several_types_becomes_text(tmp_path: Path) -> None:
    study = sweep(tmp_path / "a", {("Full", 0): 4.0, (LABELS[1], 0): 4.1}, 100.0, 0.2)
    for cell, buckets in zip(study.cells, (32, [8, 16]), strict=False):
        (cell.directory / "config.yaml").write_text(
            json.dumps({"model": {"lsh": {"n_buckets": buckets}}})
        )
    assert list(load_results(study)["config.model.lsh.n_buckets"].dropna()) == ["32", "[8, 16]"]
    (study.cells[1].directory / "config.yaml").write_text(
        json.dumps({"model": {"lsh": {"n_buckets": 64}}})
    )
    assert (
        str(load_results(study)["config.model.lsh.n_buckets"].dtype) == "Int64"
    )  # though four cells have none


def test_a_name_a_yaml_and_a_folder_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = sweep(tmp_path / "a", {("Full", 0): 4.0}, 100.0, 0.2)
    assert open_source("demo_memory", tmp_path).directory == tmp_path / "demo_memory"
    assert open_source(tmp_path / "a" / "lm.yaml", tmp_path / "a" / "runs") == load_study(
        tmp_path / "a" / "lm.yaml", tmp_path / "a" / "runs"
    )
    monkeypatch.chdir(study.directory.parent)
    assert [cell.name for cell in open_source("lm").cells] == ["Full"]
    with pytest.raises(ConfigError, match="study 'typo' is unknown"):
        open_source("typo")


def test_export_writes_what_the_notebook_sees(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = memory_study(tmp_path, [0, 1])
    out = tmp_path / "new" / "all.csv"
    assert (
        main(["export", str(study.directory), "--out", str(out)]) == 0
        and "12 rows" in capsys.readouterr().out
    )
    assert len(pd.read_csv(out)) == 12 and pd.read_csv(out)["bits_per_dim"].notna().all()
    monkeypatch.setattr("ablations.export.find_spec", lambda name: None)
    assert main(["export", str(study.directory), "--format", "parquet", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert "pip install -e '.[parquet]'" in error and error.count("\n") == 1


@pytest.mark.skipif(
    find_spec("pyarrow") is None, reason="pyarrow is an extra: pip install -e '.[parquet]'"
)
def test_parquet_reads_back_as_it_was(tmp_path: Path) -> None:
    study = memory_study(tmp_path, [0])
    fail(study.cells[1].directory, "oom", "out of memory")
    assert (
        main(
            [
                "export",
                str(study.directory),
                "--format",
                "parquet",
                "--out",
                str(tmp_path / "all.parquet"),
            ]
        )
        == 0
    )
    found = pd.read_parquet(tmp_path / "all.parquet")
    assert (
        list(found.columns) == list(load_results(study.directory).columns)
        and found["bits_per_dim"].isna().sum() == 1
    )


def test_two_sweeps_are_compared_cell_by_cell_on_equal_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = before_and_after(tmp_path)
    assert main(["compare", str(before.directory), str(after.directory)]) == 0
    printed = capsys.readouterr().out
    assert "+0.200 [-1.071, +1.471]" in printed and "aaaa before, bbbb after" in " ".join(
        printed.split()
    )
    lines = (after.directory / "report" / "compare_lm.md").read_text().splitlines()
    rows = {
        texts[0]: texts[1:]
        for texts in ([text.strip() for text in line.strip("|").split("|")] for line in lines)
        if len(texts) > 1
    }
    assert rows["Full"] == ["+0.200 [-1.071, +1.471]", "-20.0", "+0.050", "2", "3 ok", "2 ok"]
    assert rows["LSH-chunked"] == [
        "-0.100 (n = 1)",
        "-20.0 (n = 1)",
        "+0.050 (n = 1)",
        "1",
        "1 ok",
        "2 ok",
    ]
    assert rows["Full seed=2"] == [*["only before"] * 3, "0", "yes", "-"]
    assert rows["LSH-chunked seed=1"] == [*["only after"] * 3, "0", "-", "yes"]
    data = pd.read_csv(after.directory / "report" / "compare_lm.csv").set_index("label")
    assert data.loc[
        "Full", ["bits_per_dim_before", "bits_per_dim_after", "bits_per_dim_n"]
    ].tolist() == pytest.approx([4.1, 4.3, 2])
    assert data.loc["Full", "peak_memory_gib_difference"] == pytest.approx(-20 / 1024)


def test_sweeps_of_unlike_devices_are_compared_and_the_caption_names_them(tmp_path: Path) -> None:
    before, after = before_and_after(tmp_path)

    def run_on(study: Study, device: str) -> None:
        for path in study.directory.rglob("result.json"):
            path.write_text(json.dumps({**json.loads(path.read_text()), "device": device}))

    run_on(before, "CPU: AMD EPYC x 2")
    run_on(after, "CPU: AMD EPYC x 2")
    assert "The devices are" not in comparison(before, after).caption
    run_on(after, "NVIDIA H100 80GB HBM3")
    caption = comparison(before, after).caption
    assert "(CPU: AMD EPYC x 2 before, NVIDIA H100 80GB HBM3 after)" in caption


def test_compare_takes_a_yaml_too_and_says_in_words_what_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, after = before_and_after(tmp_path)
    fail(
        after.cells[1].directory, "oom", "out of memory"
    )  # LSH + chunked, seed 0: the one it shares
    out, place = tmp_path / "out", ["--runs-dir", str(tmp_path / "a" / "runs")]
    assert (
        main(
            [
                "compare",
                str(tmp_path / "a" / "lm.yaml"),
                str(after.directory),
                "--out",
                str(out),
                *place,
            ]
        )
        == 0
    )
    text = (out / "compare_lm.md").read_text()
    assert (out / "compare_lm.tex").exists() and not (after.directory / "report").exists()
    assert (
        "| LSH-chunked | no equal seed | no equal seed | no equal seed | 0 "
        "| 1 ok, 2 missing | 1 ok, 1 oom |" in text
    )
    assert capsys.readouterr().err == ""


def test_sweeps_without_a_common_cell_or_result_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, _ = before_and_after(tmp_path)
    other = memory_study(tmp_path, [5])
    assert main(["compare", str(before.directory), str(other.directory)]) == 2
    error = capsys.readouterr().err
    assert (
        error.startswith("error: no cell of")
        and "compare sweeps of one grid" in error
        and error.count("\n") == 1
    )
    assert (
        main(
            [
                "compare",
                str(tmp_path / "a" / "lm.yaml"),
                str(before.directory),
                "--runs-dir",
                str(tmp_path / "none"),
            ]
        )
        == 2
    )
    assert "has no finished cell" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["compare", str(before.directory)])
    assert stopped.value.code == 2
