"""`--sample N` draws the same cells each time, and every reader shows what ran."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ablations.__main__ import main
from ablations.results import load_results
from ablations.study import Sample, Study, load_study
from ablations.study.runs.sample import draw
from fake_cells import begun
from reformer_pl.config import ConfigError

RATES = [round(0.001 * i, 3) for i in range(1, 21)]


def grid_of(path: Path, **values: object) -> Study:
    written = {"base": ["experiment=duplication"], "axes": {"optim.lr": RATES}, "seeds": [0, 1, 2]}
    (path / "large.yaml").write_text(yaml.safe_dump(written | values, sort_keys=False))
    return load_study(path / "large.yaml", path / "runs")


def names(study: Study) -> list[str]:
    return list(map(str, study.cells))


@pytest.mark.parametrize("seed", [0, 1, 7])
@pytest.mark.parametrize("n", [1, 7, 59, 60, 1000])
def test_a_sample_is_the_same_each_time(tmp_path: Path, n: int, seed: int) -> None:
    study = grid_of(tmp_path)
    some = draw(study, [Sample(n, seed)])
    assert names(some) == names(draw(study, [Sample(n, seed)]))
    assert len(some.cells) == min(n, 60) and some.n_whole == 60
    assert names(some) == [name for name in names(study) if name in names(some)], "in their order"
    assert set(names(some)) <= set(names(draw(study, [Sample(n + 1, seed)]))), "more only add"
    assert some.baseline in {cell.train for cell in some.cells}
    if n == 7:
        assert names(some) != names(draw(study, [Sample(n, seed + 1)]))


def test_an_axis_that_grows_keeps_what_was_drawn_of_the_rest(tmp_path: Path) -> None:
    before = set(names(draw(grid_of(tmp_path), [Sample(20)])))
    study = grid_of(tmp_path, axes={"optim.lr": [*RATES, 0.5]})
    after = set(names(draw(study, [Sample(20)])))
    assert len(before & after) >= 17 and len(after) == 20


def test_cells_of_one_run_are_drawn_together(tmp_path: Path) -> None:
    axes = {"group": {"A": [], "B": []}, "optim.lr": RATES}
    some = draw(grid_of(tmp_path, axes=axes), [Sample(4)])
    assert len({cell.directory for cell in some.cells}) == 4 and len(some.cells) == 8


def test_the_variants_that_are_drawn_are_tuned(tmp_path: Path) -> None:
    tune = {"optim.warmup_steps": [0, 10]}
    some = draw(grid_of(tmp_path, tune=tune), [Sample(3)])
    assert some.tuning is not None and len(some.cells) == 3
    variants = {cell.train for cell in some.cells}
    assert set(some.tuning.choices) == set(some.tuning.options) == variants
    assert len(some.tuning.grid.cells) == 2 * len(variants)


def test_run_draws_and_readers_show_it(
    study_of: Callable[..., Study],
    capfd: pytest.CaptureFixture[str],
    stub_configs: None,
) -> None:
    study = study_of("a", "b", "c", "d", "e", "f")

    def ran() -> list[str]:
        return [c.name for c in study.cells if c.directory.exists() and begun(c) == 1]

    drawn = [cell.name for cell in draw(study, [Sample(2)]).cells]
    assert main(["run", "./mine.yaml", "--sample", "2", "--dry-run"]) == 0
    assert "2 cells, 2 would start" in capfd.readouterr().out and not ran()
    assert main(["run", "./mine.yaml", "--sample", "2"]) == 0
    assert "2 of 6 cells, those of --sample 2 --sample-seed 0" in capfd.readouterr().out
    assert ran() == drawn
    assert main(["run", "./mine.yaml", "--sample", "2", "--sample-seed", "0"]) == 0
    assert ran() == drawn, "a second start"
    assert main(["status", "./mine.yaml"]) == 0
    assert "mine: 2 cells: 2 ok" in capfd.readouterr().out
    assert sorted(load_results("./mine.yaml")["variant"]) == drawn
    assert load_study("./mine.yaml").notes[-1].startswith("Shown are 2 of 6 cells")

    assert main(["run", "./mine.yaml", "--sample", "3", "--sample-seed", "1"]) == 0
    both = {cell.name for cell in draw(study, [Sample(2), Sample(3, 1)]).cells}
    assert set(ran()) == both == {cell.name for cell in load_study("./mine.yaml").cells}
    assert main(["run", "./mine.yaml", "--parallel", "2"]) == 0
    assert len(ran()) == 6 == len(load_study("./mine.yaml").cells)
    assert main(["plan", "./mine.yaml", "--sample", "0"]) == 2
    assert "--sample must be at least 1, not 0" in capfd.readouterr().err
    assert main(["run", "./mine.yaml", "--sample-seed", "3"]) == 2
    assert "--sample-seed 3 is of --sample: add --sample N" in capfd.readouterr().err


@pytest.mark.parametrize("text", ['{"samples": [{"n": 0, "seed": 1}]}', '{"samples": [3]}', "{"])
def test_a_damaged_record_is_one_line(tmp_path: Path, text: str) -> None:
    grid_of(tmp_path)
    (tmp_path / "runs/large").mkdir(parents=True)
    (tmp_path / "runs/large/sample.json").write_text(text)
    with pytest.raises(ConfigError, match="sample"):
        grid_of(tmp_path)
    assert len(load_study(tmp_path / "large.yaml", tmp_path / "runs", whole=True).cells) == 60
