"""README.md and docs/ are true: YAML and Python run, commands parse, keys and links exist."""

import argparse
import fnmatch
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import pytest

from ablations.arguments.parser import parser
from ablations.results import load_results
from ablations.study import compose_cells, load_study
from ablations.study.load import KEYS
from doc_pages import copy_sources, run_commands
from experiments import benchmark, evaluate, train
from experiments.compose import compose, presets, product
from experiments.evaluate import split_as_override
from reformer_pl.config import ConfigError, RunConfig, flat, load, to_dict

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    path.name: path.read_text(encoding="utf-8")
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
}
README = PAGES["README.md"]
# Each is applied to a copy of the repository, where its commands run.
APPLIED = {"variant.md", "task.md", "report_part.md", "launcher.md"}
MANUAL = {name: page for name, page in PAGES.items() if name not in APPLIED}
# TensorBoard's, and those of experiments.train
OTHER_OPTIONS = {
    *("--logdir", "--index-url", "--cfg", "--help", "--multirun", "--split", "--gpus-per-task"),
}
TINY = [
    *(
        "model.d_model=8",
        "model.n_heads=2",
        "model.d_ff=8",
        "task.length=64",
        "task.batch_size=2",
        "task.eval_sequences=2",
    ),
    *(
        "trainer.max_steps=4",
        "trainer.eval_every_steps=2",
        "trainer.log_every_steps=2",
        "trainer.threads=1",
        "trainer.accelerator=cpu",
    ),
]


def options_of_help() -> set[str]:
    (commands,) = (
        action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    return {
        option
        for sub in commands.choices.values()
        for action in sub._actions
        for option in action.option_strings
        if option[:2] == "--"
    }


def blocks(language: str, page: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def indented(page: str) -> list[str]:
    """The commands of a page: its indented lines, without their comments."""
    outside = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    lines = re.findall(r"^    (\S.*)$", outside, re.MULTILINE)
    return [command for line in lines if (command := re.sub(r"(^|\s)#.*$", "", line).strip())]


def commands() -> Iterator[tuple[str, str]]:
    """Every command of every page and of every YAML head, with the file it stands in."""
    inline = r"`((?:python -m [^`\s]+ [^`\s]+|make|pip) [^`\n]+)`"
    for name, page in MANUAL.items():
        for command in [*indented(page), *re.findall(inline, page)]:
            yield name, command
    for path, head in HEADS.items():
        yield path, head.get("Command", "")


def head_of(text: str) -> dict[str, str]:
    """Command, duration and result of a YAML file, from the comment at its top."""
    comment = "".join(f"{line}\n" for line in text.splitlines() if line.startswith("#"))
    words = r"^# (Command|Duration|Result): +(.*(?:\n#   .*)*)"
    return {key: re.sub(r"\n# +", " ", value) for key, value in re.findall(words, comment, re.M)}


HEADS = {
    str(path.relative_to(ROOT)): head_of(path.read_text(encoding="utf-8"))
    for folder in ("experiment", "study")
    for path in sorted((ROOT / "configs" / folder).glob("*.yaml"))
}


def test_the_readme_is_read_in_five_minutes() -> None:
    assert len(README.splitlines()) <= 130
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^(\|| {4}).*$", "", prose, flags=re.MULTILINE)
    assert len(prose.split()) <= 1000


@pytest.mark.parametrize("path", HEADS)
def test_a_preset_and_a_study_begin_with_command_duration_and_result(path: str) -> None:
    head = HEADS[path]
    assert list(head) == ["Command", "Duration", "Result"], head
    program, name = ("experiments.train", f"experiment={Path(path).stem}")
    if "study" in path:
        program, name = ("ablations run", Path(path).stem)
    assert head["Command"].startswith(f"python -m {program} {name}")
    assert len(head["Duration"]) > 5 and len(head["Result"]) > 5


@pytest.mark.parametrize("page, command", list(dict.fromkeys(commands())))
def test_every_command_can_be_typed(page: str, command: str) -> None:
    words = shlex.split(command)
    match words:
        case ["python", "-m", "ablations", *arguments]:
            arguments = parser().parse_args(arguments)  # exits where it cannot be
            for study in getattr(arguments, "studies", getattr(arguments, "study", [])):
                assert study in presets("study") or study.endswith(".yaml") or "/" in study
        case ["python", "-m", "experiments.train", *overrides]:
            compose([word for word in overrides if word not in ("--help", "--cfg", "job")])
        case ["python", "-m", "experiments.benchmark", *overrides]:
            for case in product(overrides):
                assert compose(case).benchmark.measure != "none"
        case ["python", "-m", "experiments.evaluate", _, *arguments]:
            load({}, split_as_override(arguments))
        case ["python", "-m", "pytest", *arguments]:
            files = [word for word in arguments if word.startswith("tests/")]
            assert all((ROOT / path).exists() for path in files)
        case ["make", *targets]:
            rules = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
            assert {word for word in targets if "=" not in word} <= rules
        case ["pip", "install", *arguments]:
            project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
            for extras in re.findall(r"\[(.*)\]", arguments[-1]):
                assert set(extras.split(",")) <= set(project["optional-dependencies"])
        case ["cp", source, _]:
            assert (ROOT / source).is_file()
        case ["tensorboard", "--logdir", _] | [".venv/bin/python", *_]:
            pass
        case _:
            pytest.fail(f"{page}: no test knows how to check: {command}")


def apply(path: Path, diff: str) -> None:
    """The lines not marked + become the lines not marked -. The former stand there once."""
    before, after = (
        "".join(f"{line[1:]}\n" for line in diff.splitlines() if line[:1] != mark) for mark in "+-"
    )
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{path} does not have this once:\n{before}"
    path.write_text(text.replace(before, after), encoding="utf-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study of docs/studies.md in a folder: two cells trained at a tiny size, one failed."""
    folder = tmp_path_factory.mktemp("newcomer")
    yaml, *_ = blocks("yaml", PAGES["studies.md"])
    assert yaml.count("\n") == 5  # lines
    (folder / "my_study.yaml").write_text(yaml)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        cells = load_study("my_study.yaml").cells
        for cell, more, code in (
            (cells[0], [], 0),
            (cells[-1], [], 0),
            (cells[1], ["optim.lr=1e30"], 1),
        ):
            assert train.main([*cell.overrides, *TINY, *more]) == code
    return folder


def test_the_five_lines_of_yaml_are_a_study_of_twelve_cells(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    study = load_study("my_study.yaml")
    configs = compose_cells(study)  # raises where a cell or an evaluation cannot be
    assert len(configs) == 12 and "its 12 cells" in PAGES["studies.md"]
    assert {(c.model.lsh.n_hashes, c.optim.lr, c.seed) for c in configs} == {
        (n, lr, s) for n in (1, 2, 4) for lr in (1e-3, 2e-3) for s in (0, 1)
    }


def test_the_study_of_the_readme_is_the_one_whose_picture_stands_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (yaml,) = blocks("yaml", README)
    assert yaml.count("\n") == 5  # lines
    Path("my_study.yaml").write_text(yaml)
    ours, pictured = load_study("my_study.yaml"), load_study("fig4_hash_rounds")
    assert len(ours.cells) == 15 and "its 15 cells" in README
    assert pictured.report == (*ours.report, "tuning") and "`tune:`" in README
    for one, other in zip(ours.cells, pictured.cells, strict=True):
        assert (one.train, one.seed) == (other.train, other.seed)
    for one, other in zip(compose_cells(ours), compose_cells(pictured), strict=True):
        alike = {"out_dir": "", "optim": None}  # the learning rate is tuned in the picture
        assert to_dict(one) | alike == to_dict(other) | alike


def test_the_ten_lines_of_python_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python", README)
    assert len([line for line in code.splitlines() if line]) <= 10
    names: dict[str, object] = {}
    exec(code.replace("max_steps=300", "max_steps=1"), names)
    assert names["out"].shape == names["qk"].shape == (1, 4, 4096, 64)
    assert names["model"].config == names["config"]


@pytest.mark.usefixtures("stub_configs")
def test_the_page_about_python_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its study is trained before, one seed of it at a tiny size."""
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    Path("text").write_bytes(bytes(range(256)) * 20)
    (yaml,) = blocks("yaml", README)
    Path("my_study.yaml").write_text(yaml)
    for cell in load_study("my_study.yaml").cells:
        if cell.seed == 0:
            small = [*TINY, "model.n_layers=1", "task.curve_sequences=0", "task.source=text"]
            assert train.main([*cell.overrides, *small]) == 0
    names: dict[str, object] = {}
    for code in blocks("python", PAGES["python.md"]):
        exec(code, names)
    assert all(p.grad is not None and p.grad.norm() > 0 for p in names["stack"].parameters())
    assert next(Path("logs").rglob("metrics.csv")).read_text().count("\n") > 5
    assert names["model"].config.model.lsh.n_hashes == 8
    assert names["logits"].shape == (*names["tokens"].shape, 128)
    assert names["memory"]["total"] > 0 and names["coverage"].mass.shape == (4, 2, 4)
    assert list(names["scores"].index) == [1, 2, 4, 8] and names["scores"].notna().all()
    assert len(names["left"].lines) == 5 and Path("figure4.png").stat().st_size > 10_000


@pytest.mark.usefixtures("stub_configs")
def test_the_notebook_runs_on_it(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    (code,) = blocks("python", PAGES["run-directory.md"])
    names: dict[str, object] = {}
    exec(code, names)
    results, curves = names["results"], names["curves"]
    assert (
        sorted(set(results["status"])) == ["failed", "missing", "ok"] and len(results) == 12 * 3
    )  # as trained, and two evaluations
    assert results[results["status"] == "ok"]["accuracy"].notna().all()
    assert list(curves["step"].unique()) == [2, 4]
    assert "LSH-8" in capsys.readouterr().out


@pytest.mark.usefixtures("stub_configs")
def test_the_columns_of_load_results_are_the_ones_that_are_documented(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    columns = list(load_results("my_study.yaml").columns)
    page = PAGES["run-directory.md"]
    table = page.split("| columns of `load_results` | what |\n|---|---|\n")[1].split("\n\n")[0]
    named = [
        name for row in table.splitlines() for name in re.findall(r"`([^`]+)`", row.split(" | ")[0])
    ]
    for name in named:
        assert fnmatch.filter(columns, name), f"{name} is no column"
    for column in columns:
        assert any(fnmatch.fnmatch(column, name) for name in named), f"{column} is not documented"


# Of runs that measure coverage or rounds, of text, and while a run lives.
SOMETIMES = (
    "coverage.jsonl",
    "rounds.jsonl",
    "data.json",
    ".owner",
    "checkpoints/previous.ckpt",
    "asked.json",
    "sample.json",
    "result.at-step-N.json",
    "evaluations.at-step-N/",
)


def test_a_run_directory_holds_what_is_documented(place: Path) -> None:
    table = PAGES["run-directory.md"].split("## Files")[1].split("\n\n")[2]
    named = [
        name.removeprefix(mark)
        for mark in ("├ ", "└ ")
        for name in re.findall(rf"^\| `({mark}[^`]+)`", table, re.MULTILINE)
    ]
    patterns = [name.replace("NAME", "*").rstrip("/") for name in named]
    (run,) = (path for path in (place / "runs/my_study").glob("n_hashes=1_lr=0.001/seed=0"))
    found = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    for pattern in patterns:
        assert fnmatch.filter(found, pattern) or pattern in SOMETIMES, f"{pattern} is not there"
    for name in found:
        assert any(fnmatch.fnmatch(name, pattern) for pattern in patterns), (
            f"{name} is not documented"
        )


def test_every_option_is_documented_and_every_documented_option_exists() -> None:
    documented = {
        option
        for page in MANUAL.values()
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", page)
    }
    assert documented - OTHER_OPTIONS == options_of_help() - {"--help"}


@pytest.mark.parametrize("command", ["", "plan", "run", "status", "report", "export", "compare"])
def test_help_has_examples_that_parse_and_exit_codes(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit:
        parser().parse_args([command, "--help"] if command else ["--help"])
    assert exit.value.code == 0
    printed = capsys.readouterr().out
    assert re.search(r"^exit codes:", printed, re.MULTILINE | re.IGNORECASE)
    examples = re.findall(
        r"python -m ablations ((?:plan|run|status|report|export|compare) .*?)(?:  .*)?$",
        printed.split("examples:")[1],
        re.MULTILINE,
    )
    assert len(examples) >= 2 and all(
        not command or example.startswith(f"{command} ") for example in examples
    )
    for example in examples:
        parser().parse_args(shlex.split(example))  # exits where it cannot be


@pytest.mark.parametrize("program", [train, benchmark, evaluate])
def test_help_of_a_run_lists_the_keys_and_examples_that_compose(
    program: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert "exit codes: 0 done" in printed and printed.count(f"python -m {program.__name__} ") >= 3
    keys = set(flat(to_dict(RunConfig())))
    table = printed.partition("keys and their defaults:")[2]
    listed = set(re.findall(r"^  ([a-z_.]+)=", table, re.MULTILINE)) - {
        "experiment",
        "model",
        "task",
        "trainer",
    }
    assert (
        listed
        == {
            train: keys,
            benchmark: {key for key in keys if key.startswith("benchmark.")},
            evaluate: set(),
        }[program]
    )


def anchors(page: str) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_every_key_path_and_link_of_a_page_exists(name: str) -> None:
    page, keys = PAGES[name], set(flat(to_dict(RunConfig())))
    here = ROOT / "docs" / name if (ROOT / "docs" / name).exists() else ROOT / name
    for link, anchor in re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]+))?\)", page):
        target = here.parent / link if link else here
        assert target.exists(), f"{name}: {link}"
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), anchor
    if name in APPLIED:
        return
    for key in re.findall(r"\b((?:model|task|optim|trainer|benchmark)\.[a-z_.]+)=", page):
        assert key in keys, f"{name}: {key}"
    for path in re.findall(
        r"`((?:configs|reformer_pl|experiments|ablations|tests|docs)/[\w./]+)`", page
    ):
        assert (ROOT / path).exists(), f"{name}: {path}"


def test_the_keys_and_report_words_of_a_study_are_documented(tmp_path: Path) -> None:
    words = set()
    for measure in ("", "measure: attention"):
        path = tmp_path / "study.yaml"
        path.write_text(f"axes: {{task.length: [64]}}\nreport: [nothing]\n{measure}\n")
        with pytest.raises(ConfigError, match="'nothing' is unknown") as refusal:
            load_study(path)
        words |= set(str(refusal.value).partition("choose ")[2].split(", "))
    page = PAGES["studies.md"]
    table = page.split("## The words of `report:`")[1].split("\n\n")[1]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == words
    table = page.split("## The keys")[1].split("\n\n")[1]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == set(KEYS)


def test_the_worked_example_of_an_attention_variant(tmp_path: Path) -> None:
    """docs/variant.md, done as it says on a copy of the sources, and its commands."""
    copy_sources(tmp_path)
    page = PAGES["variant.md"].split("\n## ")[0]
    changed: list[str] = []
    for prose, diff in re.findall(r"(.*?)^```diff\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        changed += re.findall(r"^\*\*The [^,]*, in `([\w/.]+)`", prose, re.MULTILINE)[-1:]
        apply(tmp_path / changed[-1], diff)
    assert changed == [
        "reformer_pl/config/rules.py",
        "reformer_pl/config/unread.py",
        "reformer_pl/attention.py",
        "reformer_pl/reach/keys_per_token.py",
        "tests/test_attention.py",
    ]
    tested, _ = run_commands(page, tmp_path, r"-m (?:pytest|experiments\.train) .*")
    assert int(re.search(r"(\d+) passed", tested)[1]) >= 15, tested
