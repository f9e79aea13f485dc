"""A study's YAML means what is typed: labels, values and names, and files that are hostile or odd."""

import codecs
import json
import re
import time
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ablations.__main__ import main
from ablations.launch.slurm.settings import load_slurm
from ablations.study import Study, compose_cells, load_study
from experiments.run_dir.files import evaluation_path, safe_name
from fake_cells import result
from reformer_pl.config import ConfigError


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


LABELS = (
    "on", "off", "yes", "No", "010", "1:30", "1e3", "1E+3", "None", "nan", "null", "1_000", "0x10",
    "2024-01-01", "0.10", "+5", "True", "1.", "12e03", "0b11", "-1", "inf", "y",
)  # fmt: skip


@pytest.mark.parametrize("label", LABELS)
def test_a_label_stays_as_it_is_typed(tmp_path: Path, label: str) -> None:
    text = f"axes: {{train: {{{label}: [], other: []}}}}\nbaseline: {label}\n"
    study = load_study(written(tmp_path, text), tmp_path)
    assert [cell.train for cell in study.cells] == [label, "other"] and study.baseline == label
    assert study.cells[0].name == label.replace(":", "-").replace("E+", "E").strip("-+")


VALUES = {
    "a power of ten": ("optim.lr", "1e30", "lr=1e30", 1e30),
    "with a sign": ("optim.lr", "1e+30", "lr=1e+30", 1e30),
    "without a zero": ("optim.lr", ".5", "lr=.5", 0.5),
    "with a zero at the end": ("optim.lr", "0.10", "lr=0.10", 0.1),
    "a truth": ("model.lsh.dedupe", "on", "dedupe=on", True),
    "another truth": ("model.lsh.dedupe", "False", "dedupe=False", False),
    "underscores": ("trainer.max_steps", "1_000", "max_steps=1_000", 1000),
    "hexadecimal": ("trainer.max_steps", "0x10", "max_steps=0x10", 16),
    "a word that is a number": ("task.source", "1e3", "source=1e3", "1e3"),
    "a word that is a date": ("task.source", "2024-01-01", "source=2024-01-01", "2024-01-01"),
    "a word that is a time": ("task.source", "1:30", "source=1:30", "1:30"),
    "a word that is a truth": ("task.source", "yes", "source=yes", "yes"),
    "a word in quotes": ("task.source", "'010'", "010", "010"),
    "another in quotes": ("task.source", "'true'", "true", "true"),
}


@pytest.mark.parametrize("what", VALUES)
def test_a_value_is_what_its_key_needs(tmp_path: Path, what: str) -> None:
    key, typed, label, value = VALUES[what]
    study = load_study(written(tmp_path, f"axes: {{{key}: [{typed}]}}\n"), tmp_path)
    (config,) = compose_cells(study)
    assert study.cells[0].train == label
    assert (attrgetter(key)(config), type(attrgetter(key)(config))) == (value, type(value))


@pytest.mark.parametrize("word", ["yes", "on", "True", "true"])
def test_other_words_of_a_study(tmp_path: Path, word: str) -> None:
    text = (
        f"description: {word}\ntimed: {word}\naxes: {{train: {{1e3: []}}}}\n"
        f"evaluations: {{own2: []}}\nnotes: [{word}, 1_0]\nseeds: [3, 0x10]\n"
        "paper: {train_eval: {1e3: {own2: 5e-1}}}\n"
    )
    study = load_study(written(tmp_path, text), tmp_path)
    assert (study.description, study.timed, study.notes) == (word, True, (word, "1_0"))
    assert [cell.seed for cell in study.cells] == [3, 16]
    assert study.paper == {"train_eval": {"1e3": {"own2": 0.5}}}


def test_a_label_is_the_same_in_folders_tables_and_csv(
    study_of: Callable[..., Study], tmp_path: Path
) -> None:
    study_of("fine")
    labels = ["on", "1e3", "1_0", "None", "nan"]
    variants = [f"{label}: [optim.warmup_steps={i}]" for i, label in enumerate(labels)]
    Path("mine.yaml").write_text(f"axes: {{train: {{{', '.join(variants)}}}}}\n")
    assert main(["run", "./mine.yaml"]) == 0 and main(["report", "./mine.yaml"]) == 0
    assert main(["export", "./mine.yaml", "--out", "all.csv"]) == 0
    assert {path.name for path in Path("runs/mine").iterdir()} >= set(labels)
    for path in ("runs/mine/report/results.csv", "all.csv"):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        assert list(dict.fromkeys(table["train"])) == labels


DISTINCT = {
    "a joint in a label": ("a: {a / b: [], a: []}\n  b: {c: [], b / c: []}", "a / b / c"),
    "a joint in a word": ("a: {x_y: [], x: []}\n  b: {z: [], y_z: []}", "x_y_z"),
    "a blank": ("a: {a b: [], a-b: []}", "a-b"),
    "case": ("a: {A: [], a: []}", "a"),
    "composed accents": ('a: {"\\xe9": [], "e\\u0301": []}', "é"),
    "case beyond ASCII": ("a: {STRASSE: [], straße: []}", "straße"),
    "signs": ("a: {<8: [], '>8': []}", "8"),
    "an exponent": ("a: {1e+30: [], 1e30: []}", "1e30"),
}


@pytest.mark.parametrize("what", DISTINCT)
def test_two_labels_never_become_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    axes, text = DISTINCT[what]
    path = written(tmp_path, f"axes:\n  {axes}\n")
    assert main(["plan", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f", {text}: [" in error and "] and [" in error


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "measure: attention\ngrids: {A: {axes: {a: {x: []}}}, a: {axes: {a: {y: []}}}}\n",
            "the grids A and a",
        ),
        ("axes: {a: {x: []}}\nevaluations: {LSH: [], lsh: []}\n", "the evaluations LSH and lsh"),
        (
            "measure: attention\naxes: {length: {8: [], length=8: []}}\n",
            "the same place,  at 8: ['8'] and ['length=8']",
        ),
    ],
)
def test_two_names_of_files_never_become_one(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(reason)):
        load_study(written(tmp_path, text), tmp_path)


def laughs(first: str, form: str) -> str:
    lines = [f"a: &a {first}"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} {form.format(','.join([f'*{before}'] * 10))}")
    return "\n".join(lines) + "\n"


HOSTILE: dict[str, tuple[str | bytes, str]] = {
    "a billion laughs": (laughs("[x]", "[{}]"), "more than 100000 values"),
    "a billion merges": (laughs("{x: 1}", "{{<<: [{}]}}"), "more than 100000 values"),
    "a billion keys": (laughs("{x: 1}", "{{y: [{}]}}"), "more than 100000 values"),
    "an anchor in itself": ("base: &a [*a]\n", "*a stands within &a itself"),
    "a mapping in itself": ("axes: &a {x: {y: *a}}\n", "*a stands within &a itself"),
    "a reference to itself": ("base: ${base}\naxes: {a: {x: []}}\n", "base must be a list"),
    "an unknown anchor": ("base: *a\n", "*a stands for &a, and there is none"),
    "deep lists": ("axes: " + "[" * 50_000, "nested too deep"),
    "deep mappings": ("axes: " + "{a: " * 50_000, "nested too deep"),
    "a hundred thousand cells": (
        f"axes: {{task.length: {list(range(1, 401))}, a.b: {list(range(1, 251))}}}\n",
        "100000 cells, more than 10000",
    ),
    "a number of cells without end": (
        "axes:\n" + "".join(f"  a{i}: {list(range(1, 100))}\n" for i in range(90)),
        "more than 10000",
    ),
    "a name of one dot": ("axes: {a: {.: []}}\n", "'.' cannot name"),
    "a name of two dots": ("axes: {a: {..: []}}\n", "'..' cannot name"),
    "a way out": ("axes: {a: {../../x: []}}\n", "the label '../../x' cannot name"),
    "a hidden folder": (
        "axes: {a: {.5: []}}\n",
        "use another one, of letters and digits, such as 0.5 for .5",
    ),
    "a duplicate key": ("axes: {a: {x: []}}\naxes: {}\n", "line 2: duplicate key axes"),
    "a duplicate number": ("axes: {a: {1: [], '1': []}}\n", "duplicate key 1"),
    "tabs": ("axes:\n\ta: {x: []}\n", "indent with blanks, not with tabs"),
    "two documents": ("axes: {a: {x: []}}\n---\naxes: {}\n", "line 2: a second document"),
    "an empty file": ("", "must be a mapping"),
    "comments alone": ("# axes\n", "must be a mapping"),
    "bytes": (b"\xff\xd8\x00\x10JFIF", "no text in UTF-8"),
    "Latin-1": ("axes: {a: {\xe9: []}}".encode("latin-1"), "no text in UTF-8 (at byte 11)"),
    "null bytes": ("axes: {a: {x\0: []}}\n", "not readable YAML"),
    "a tag": ("axes: !!python/object/apply:os.abort []\n", "the tag !!python/object/apply"),
    "a key that is a list": ("? [a]\n: b\n", "a key must be a word"),
    "an octal seed": ("axes: {a: {x: []}}\nseeds: [010]\n", "write 10, or '010' in quotes"),
    "an octal value": ("axes: {optim.lr: [007]}\n", "write 7, or '007' in quotes"),
    "a time as a seed": ("axes: {a: {x: []}}\nseeds: [1:30]\n", "seeds must be whole numbers"),
    "a truth as a seed": ("axes: {a: {x: []}}\nseeds: [yes]\n", "seeds must be whole numbers"),
    "nothing to merge": ("axes: {a: {<<: 3}}\n", "<< adds mappings"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    text, reason = HOSTILE[what]
    path, started = written(tmp_path, text), time.process_time()
    assert main(["plan", str(path)]) == 2
    assert time.process_time() - started < 1
    error = capsys.readouterr().err
    assert reason in error and error.count("\n") == 1 and len(error) < 500


def test_a_folder_is_no_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.yaml").mkdir()
    assert main(["plan", str(tmp_path / "x.yaml")]) == 2
    assert "is a folder" in capsys.readouterr().err


GOOD = "axes:\n  train: {é: [], on: []}\nseeds: [1]\n"


@pytest.mark.parametrize(
    "data",
    [
        codecs.BOM_UTF8 + GOOD.encode(),
        GOOD.encode("utf-16"),
        codecs.BOM_UTF16_BE + GOOD.encode("utf-16-be"),
        GOOD.encode("utf-32"),
        GOOD.replace("\n", "\r\n").encode(),
        f"%YAML 1.1\n---\n{GOOD}...\n".encode(),
        b"seeds: [1]\naxes: {<<: {train: {\xc3\xa9: [], on: []}}}\n",
        "axes: {train: {? é : [], on: []}}\nseeds:\n- 1".encode(),
    ],
)
def test_an_odd_file_is_read(tmp_path: Path, data: bytes) -> None:
    study = load_study(written(tmp_path, data), tmp_path)
    assert [str(cell) for cell in study.cells] == ["é seed=1", "on seed=1"]


@pytest.mark.parametrize("label", ["数" * 100, "é" * 150, "🙂x" * 60, "a" * 300])
def test_a_long_label_has_a_short_folder(study_of: Callable[..., Study], label: str) -> None:
    study = study_of(label, f"{label}2")
    assert [cell.train for cell in study.cells] == [label, f"{label}2"]
    assert all(len(cell.name.encode()) <= 200 for cell in study.cells)
    assert main(["run", "./mine.yaml"]) == 0
    assert {result(cell)["status"] for cell in study.cells} == {"ok"}


@pytest.mark.parametrize("name", ["数" * 100, "é" * 119, "🙂" * 60, "word" * 60])
def test_a_long_evaluation_has_a_short_file(tmp_path: Path, name: str) -> None:
    path = evaluation_path(tmp_path, name)
    path.parent.mkdir(parents=True)
    path.with_name(f"{path.name}.4194304.partial").touch()
    assert evaluation_path(tmp_path, f"{name}-") != path
    assert safe_name("x" * 120) == "x" * 120, "the name of a file that is there already"


@pytest.mark.parametrize("depth", [20, 1000])
def test_a_path_that_is_too_long_is_refused_before_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], depth: int
) -> None:
    path = written(tmp_path, "axes: {a: {x: []}}\n")
    for part in ("数" * 66, "x" * 255):
        runs = "/".join(["", *[part] * depth])
        assert main(["plan", str(path), "--runs-dir", runs]) == 2
        assert "give a shorter --runs-dir" in (error := capsys.readouterr().err)
        assert error.count("\n") == 1
    assert main(["plan", str(path), "--runs-dir", "x" * 256]) == 2
    assert "has 256 bytes, more than 255" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("time: 4:00\n", "time must be a whole number of at least 1, not '4:00'"),
        ("time: 4:00:00\n", "not '4:00:00'"),
        ("time: 0240\n", "time: 0240 begins with 0"),
        ("nodes: 1\nnodes: 2\n", "duplicate key nodes"),
    ],
)
def test_a_time_of_slurm_is_not_taken_for_minutes(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(reason)):
        load_slurm(written(tmp_path, text))


def test_the_words_of_sbatch_stay_as_they_are_typed(tmp_path: Path) -> None:
    slurm = load_slurm(
        written(tmp_path, "sbatch: {time-min: 1:30, qos: on, nice: 0100, exclusive: true}\n")
    )
    words: dict[str, Any] = {"time-min": "1:30", "qos": "on", "nice": "0100", "exclusive": True}
    assert slurm.sbatch == words and json.dumps(slurm.sbatch) == json.dumps(words)
