"""What a notebook loads: any source by any loader, and like runs with like."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from ablations.__main__ import main
from ablations.results import load_coverage, load_curves, load_results
from ablations.study import Study, load_study
from grid_study import grid_study
from reformer_pl.config import ConfigError

LOADERS = (load_results, load_curves, load_coverage)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Attention x hash rounds: 4 words x (1, 2, 4) x standard and reversible, one seed."""
    folder = tmp_path_factory.mktemp("grid")
    return grid_study(folder, seeds=1, numbers="model.lsh.n_hashes", endings={}, evaluations=True)


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("named", ["a preset's name", "a YAML file", "a study"])
def test_a_study_that_nobody_ran_here_is_one_error_with_the_fix(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    load: Callable[..., pd.DataFrame],
    named: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    grid_study(tmp_path, 12, 1, runs=False)
    source, command = {
        "a preset's name": ("demo_hashes", "run demo_hashes"),
        "a YAML file": ("./grid.yaml", "run ./grid.yaml"),
        "a study": (load_study("./grid.yaml"), "run grid"),
    }[named]
    with pytest.raises(ConfigError) as raised:
        load(source)
    message = str(raised.value)
    assert "\n" not in message and f"python -m ablations {command}" in message
    assert f"nothing of it was run below {tmp_path / 'runs'}" in message and "runs_dir" in message


def test_what_ran_elsewhere_is_found_by_runs_dir_and_a_bare_folder_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grid_study(tmp_path / "there", 12, 1)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="nothing of it was run below"):
        load_results("there/grid.yaml")
    assert len(load_results("there/grid.yaml", runs_dir=Path("there/runs"))) == 12
    with pytest.raises(ConfigError, match=r"'grid' is unknown.*there/runs/grid is a folder"):
        load_results("grid", runs_dir=Path("there/runs"))
    assert main(["export", "there/grid.yaml", "--out", "all.csv"]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1 and "nothing of it was run below" in errors
    assert not Path("all.csv").exists()


@pytest.mark.parametrize("load", LOADERS)
def test_every_loader_takes_a_study_a_path_a_folder_and_several(
    tmp_path: Path, load: Callable[..., pd.DataFrame]
) -> None:
    for name in ("one", "two"):
        study = grid_study(tmp_path / name, 4, 1)
        row = {"step": 10, "layer": 0, "head": 0, "rounds": 1, "coverage": 0.5, "chance": 0.1}
        for cell in study.cells:
            (cell.directory / "coverage.jsonl").write_text(json.dumps(row) + "\n")
    one, two = (tmp_path / name for name in ("one", "two"))
    whole = load(load_study(one / "grid.yaml", one / "runs"))
    assert len(whole) and list(whole.columns[:2]) == ["study", "variant"]
    pd.testing.assert_frame_equal(load(one / "grid.yaml", runs_dir=one / "runs"), whole)
    pd.testing.assert_frame_equal(load(str(one / "grid.yaml"), runs_dir=one / "runs"), whole)
    assert len(load(one / "runs" / "grid")) == len(whole)
    both = load(one / "runs" / "grid", two / "runs" / "grid")
    assert len(both) == 2 * len(whole)
    assert both["variant"].equals(both["train"])


GROUPS = {
    "config.model.lsh.n_hashes": "lsh",
    "config.model.lsh.chunk_len": "lsh",
    "config.model.lsh.dedupe": "lsh",
    "config.model.local.chunk_len": "local",
}


@pytest.mark.parametrize(("column", "word"), GROUPS.items())
def test_a_key_that_a_variant_does_not_read_groups_none_of_its_runs(
    grid: Study, column: str, word: str
) -> None:
    own = load_results(grid).query("eval == 'own'")
    assert set(own[own[column].notna()]["config.model.attention"]) == {word}
    counts = own.groupby(column)["bits_per_dim"].count()
    assert counts.sum() == 6, "the runs of one word: 3 numbers x 2 residuals"


def test_numbers_words_and_truths_of_keys_keep_their_types(grid: Study) -> None:
    results = load_results(grid)
    assert str(results["config.model.lsh.n_hashes"].dtype) == "Int64"
    assert str(results["config.model.lsh.dedupe"].dtype) == "boolean"
    assert (
        results["config.optim.lr"].notna().all() and results["config.model.ff_chunks"].eq(1).all()
    )
    assert results["config.task.pairs"].isna().all(), "of recall alone"


def test_the_first_example_of_the_door_groups_like_runs(grid: Study) -> None:
    """Its two lines, run as they stand."""
    import ablations.results

    documented = ablations.results.__doc__ or ""
    filtered, grouped_by = (line.strip() for line in documented.splitlines() if "own" in line)
    assert filtered.startswith("own = ") and "n_hashes" in grouped_by
    results = load_results(grid)
    own = eval(filtered.removeprefix("own = "), {"results": results})
    grouped = eval(grouped_by, {"own": own})
    lsh = results[(results["eval"] == "own") & (results["config.model.attention"] == "lsh")]
    for rounds, row in grouped.iterrows():
        rows = lsh[lsh["config.model.lsh.n_hashes"] == rounds]
        assert row["count"] == len(rows) == 2
        assert row["mean"] == pytest.approx(rows["bits_per_dim"].mean())
    assert sorted(grouped.index) == [1, 2, 4]


def test_a_folder_of_runs_with_a_config_that_says_little_keeps_what_it_says(
    tmp_path: Path,
) -> None:
    """Nobody knows what a run reads whose config does not say its choice."""
    directory = tmp_path / "runs" / "x" / "seed=0"
    directory.mkdir(parents=True)
    (directory / "config.yaml").write_text(yaml.safe_dump({"model": {"lsh": {"n_hashes": 4}}}))
    (directory / "result.json").write_text(json.dumps({"status": "ok", "error": None}))
    assert load_results(tmp_path / "runs")["config.model.lsh.n_hashes"].tolist() == [4]
