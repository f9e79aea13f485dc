"""`figures:` of a study: its words are checked in one line each, and its defaults come from the axes."""

from pathlib import Path

import pytest
import yaml

from ablations.study import Study, load_study
from ablations.study.axes.dimensions import grid_dimensions, key_dimension
from ablations.study.axes.figure_keys import FigureKeys
from reformer_pl.config import ConfigError

GRID = {
    "base": ["experiment=enwik8", "model.attention=lsh"],
    "axes": {
        "train": {
            "Full": ["model.attention=full"],
            "LSH-8": ["model.lsh.n_hashes=8"],
            "LSH-1": ["model.lsh.n_hashes=1"],
        },
        "optim.lr": [0.001, 0.0003],
        "model.residual": ["standard"],
    },
    "report": ["learning_curves", "loss_memory", "paired"],
}


def study_of(folder: Path, **values: object) -> Study:
    (folder / "s.yaml").write_text(yaml.safe_dump(GRID | values, sort_keys=False))
    return load_study(folder / "s.yaml", folder / "runs")


def test_the_keys_of_a_figure_are_read(tmp_path: Path) -> None:
    keys = {"colour": "model.lsh.n_hashes", "marker": "optim.lr", "facet": "none", "x": "tokens"}
    study = study_of(
        tmp_path,
        figures={"learning_curves": {**keys, "log": "xy", "from": 0.2}, "loss_memory": {}},
    )
    assert study.figures == {
        "learning_curves": FigureKeys(**keys, log="xy", tail=0.2),
        "loss_memory": FigureKeys(),
    }
    assert study_of(tmp_path).figures == {}


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ({"learning_curve": {}}, "figures: 'learning_curve' is no figure with keys: choose learning_curves, loss_memory"),
        ({"length_time": {}}, "figures: 'length_time' stands not in report: choose learning_curves, loss_memory"),
        ({"paired": {}}, "'paired' is no figure with keys: choose learning_curves, loss_memory"),
        ({"learning_curves": ["x"]}, "figures.learning_curves must be a mapping with the keys colour, marker, facet, x, log, from"),
        ({"learning_curves": {"color": "train"}}, "figures.learning_curves.color is unknown: choose colour, marker, facet, x, log, from"),
        ({"loss_memory": {"x": "tokens"}}, "figures.loss_memory.x is unknown: choose colour, marker, facet, log"),
        ({"learning_curves": {"x": "step"}}, "x: 'step' is unknown: choose steps, tokens, seconds"),
        ({"learning_curves": {"log": "z"}}, "log: 'z' is unknown: choose x, y, xy"),
        ({"learning_curves": {"log": True}}, "log: 'true' is unknown: choose x, y, xy"),
        ({"learning_curves": {"from": 1}}, "from 0 to below 1, not '1'"),
        ({"learning_curves": {"from": "half"}}, "from 0 to below 1, not 'half'"),
        ({"learning_curves": {"from": [0.1]}}, "from 0 to below 1, not"),
        ({"learning_curves": {"colour": "lr"}}, "colour: 'lr' is unknown: choose train, optim.lr, model.residual, none, or a key of the config"),
        ({"loss_memory": {"facet": ["train"]}}, "facet: ['train'] is unknown: choose train"),
        ({"loss_memory": {"facet": "seed"}}, "facet: 'seed' is unknown: choose train"),
        ({"loss_memory": {"facet": "model.residual"}}, "model.residual is the same in every variant: choose one of train"),
        ({"loss_memory": {"marker": "model.d_ff"}}, "model.d_ff is the same in every variant: choose one of train"),
        ({"loss_memory": {"marker": "train", "facet": "train"}}, "train is both marker and facet"),
    ],
)  # fmt: skip
def test_a_wrong_word_is_one_line_that_names_the_right_ones(
    tmp_path: Path, figures: object, message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        study_of(tmp_path, figures=figures)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_names_that_differ_in_one_number_have_it(tmp_path: Path) -> None:
    names, rates = grid_dimensions(study_of(tmp_path))
    assert names.numbers == {"LSH-8": 8, "LSH-1": 1} and not names.is_scale
    assert names.order == ["Full", "LSH-8", "LSH-1"]
    assert rates.is_scale and rates.order == ["lr=0.0003", "lr=0.001"]
    assert [rates.text(choice) for choice in rates.order] == ["0.0003", "0.001"]


def test_a_key_that_plays_no_part_in_a_variant_has_no_choice_there(tmp_path: Path) -> None:
    rounds = key_dimension(study_of(tmp_path), "model.lsh.n_hashes")
    assert rounds.is_scale and rounds.order == ["1", "8"]
    assert "Full / lr=0.001 / standard" not in rounds.choices


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        ({"3 layers": ["model.n_layers=3"], "20 layers": ["model.n_layers=20"]}, {"3 layers": 3, "20 layers": 20}),
        ({"a": ["model.n_layers=3"], "b": ["model.n_layers=3", "model.d_ff=8"], "c": ["model.d_ff=8"]}, {"a": 512, "b": 8}),
        ({"a": ["model.attention=full"], "b": ["model.residual=reversible"]}, {}),
        ({"a": ["model.n_layers=3", "model.d_ff=8"], "b": []}, {}),
        ({"on": ["model.lsh.dedupe=true"], "off": ["model.lsh.dedupe=false"]}, {}),
    ],
)  # fmt: skip
def test_the_number_of_a_name_is_read_from_its_config(
    tmp_path: Path, names: dict[str, list[str]], numbers: dict[str, float]
) -> None:
    (dimension,) = grid_dimensions(study_of(tmp_path, axes={"train": names}))
    assert dimension.numbers == numbers
