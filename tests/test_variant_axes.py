"""What each variant is on each axis: values that a page filters by, and labels without what all share."""

from pathlib import Path

import pytest
import yaml

from ablations.report.drawing.looks import variant_looks
from ablations.study import Study, load_study
from ablations.study.axes.dimensions import grid_dimensions
from ablations.study.axes.variant_axes import short_labels, variant_axes
from tests.grid_study import grid_study


def study_of(folder: Path, **values: object) -> Study:
    (folder / "s.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return load_study(folder / "s.yaml", folder / "runs")


def test_each_variant_of_a_grid_has_its_words_and_numbers(tmp_path: Path) -> None:
    axes = variant_axes(grid_study(tmp_path, runs=False))
    assert len(axes) == 24
    assert axes["local / lr=0.001 / reversible"] == {
        "model.attention": "local",
        "optim.lr": 0.001,
        "model.residual": "reversible",
    }


@pytest.mark.parametrize(
    ("choices", "values"),
    [
        ([1, 2, 16], [1, 2, 16]),
        ([0.0003, 1e-3], [0.0003, 0.001]),
        (["null", 8], ["n_buckets=null", 8]),
        (["[2,4]", "[4,8]"], ["[2,4]", "[4,8]"]),
        ({"few": ["model.lsh.n_buckets=8"], "16": ["model.lsh.n_buckets=16"]}, ["few", "16"]),
        ({"8": ["model.lsh.n_buckets=8"], "16": ["model.lsh.n_buckets=16"]}, [8, 16]),
    ],
)
def test_an_axis_of_numbers_has_numbers_and_any_other_its_labels(
    tmp_path: Path, choices: object, values: list[object]
) -> None:
    text = yaml.safe_dump({"axes": {"model.lsh.n_buckets": choices}}, sort_keys=False)
    (tmp_path / "s.yaml").write_text(text.replace("'", "").replace("null", "~"))
    study = load_study(tmp_path / "s.yaml")
    found = [axes["model.lsh.n_buckets"] for axes in variant_axes(study).values()]
    whole_words = any(isinstance(value, str) for value in values)
    assert found == ([cell.train for cell in study.cells] if whole_words else values)


def test_labels_drop_what_all_variants_share(tmp_path: Path) -> None:
    study = study_of(
        tmp_path,
        axes={"model.residual": ["reversible"], "optim.lr": [0.001, 0.002], "model.d_ff": [512]},
    )
    assert short_labels(study) == {
        f"reversible / lr={lr} / d_ff=512": f"lr={lr}" for lr in (0.001, 0.002)
    }
    alone = study_of(tmp_path, axes={"model.residual": ["reversible"]})
    assert short_labels(alone) == {"reversible": "reversible"}


def test_labels_of_several_grids_keep_the_grid(tmp_path: Path) -> None:
    lengths = {"task.length": [256, 512]}
    grids = {
        name: {"measure": "step", "base": base, "axes": lengths}
        for name, base in (("a", []), ("b", ["model.n_layers=2"]))
    }
    study = study_of(tmp_path, grids=grids)
    assert list(short_labels(study).values()) == [
        f"{grid} / length={length}" for grid in "ab" for length in (256, 512)
    ]
    assert variant_axes(study)["b / length=512"] == {"task.length": 512}


def test_an_axis_that_a_variant_has_not_leaves_the_others_their_numbers(tmp_path: Path) -> None:
    """Full attention has no rounds: the rounds of the others stay a scale, and no label is torn."""
    study = study_of(
        tmp_path,
        axes={"model.attention": ["full", "lsh"], "model.lsh.n_hashes": [1, 2, 8]},
        when={"model.lsh.n_hashes": {"model.attention": ["lsh"]}},
    )
    assert variant_axes(study) == {
        "full": {"model.attention": "full"},
        **{
            f"lsh / n_hashes={n}": {"model.attention": "lsh", "model.lsh.n_hashes": n}
            for n in (1, 2, 8)
        },
    }
    assert short_labels(study) == {variant: variant for variant in variant_axes(study)}
    attention, rounds = grid_dimensions(study)
    assert rounds.is_scale and rounds.order == [f"n_hashes={n}" for n in (1, 2, 8)]
    assert rounds.of("full") == "" and attention.of("full") == "full"
    looks = variant_looks(study, "learning_curves")
    assert set(looks.styles) == set(variant_axes(study))
    assert not any(name.endswith(" / ") for name in looks.names.values())
