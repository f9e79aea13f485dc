"""The house: rooms import downwards, no circle, one home for each file name, and English that a reader need not decode."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from experiments.run_dir import files

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("reformer_pl", "experiments", "ablations")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SOURCES
}
# From the ground up: a module stands on the floor of the longest name here that it begins with.
FLOORS = (
    "reformer_pl.config",
    "reformer_pl.metrics",
    "reformer_pl.out_of_memory",
    "reformer_pl.lsh",
    "reformer_pl.loss",
    "reformer_pl.tasks",
    "reformer_pl.sparse",
    "reformer_pl",  # the parts of a model
    "reformer_pl.memory",
    "reformer_pl.measure",
    "experiments.rank",
    "experiments.safe_path",
    "experiments.times",
    "experiments.run_dir",
    "experiments",  # what the commands stand on: log, device, cluster, compose
    "experiments.training",
    "experiments.benchmarking",
    "experiments.train",
    "experiments.evaluate",
    "experiments.benchmark",
    "ablations.study",
    "ablations.result_columns",
    "ablations.results",
    "ablations.launch",
    "ablations.report",
    "ablations",  # the commands
)
# Imports within a function that close a circle of files, and the command whose start they keep
# free of torch.
LATE: dict[tuple[str, str], str] = {}


def imports(module: str) -> Iterator[str]:
    """The modules of ours that a module imports: within functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in MODULES else node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


GRAPH = {
    module: {name for name in imports(module) if name in MODULES and (module, name) not in LATE}
    for module in MODULES
}


def floor(module: str) -> int:
    fitting = [name for name in FLOORS if module == name or module.startswith(f"{name}.")]
    return FLOORS.index(max(fitting, key=len))


def first_circle() -> list[str]:
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return path[path.index(module) :]
        if module in done:
            return []
        for name in sorted(GRAPH[module]):
            if ring := visit(name, [*path, module]):
                return ring
        done.add(module)
        return []

    return next((ring for module in sorted(GRAPH) if (ring := visit(module, []))), [])


def test_no_import_circle() -> None:
    assert first_circle() == []


def test_late_imports_are_real() -> None:
    for module, name in LATE:
        assert name in set(imports(module)), (
            f"{module} imports {name} no more: leave it out of LATE"
        )


def test_rooms_import_downwards() -> None:
    upwards = [
        f"{module} -> {name}"
        for module, names in GRAPH.items()
        for name in names
        if floor(name) > floor(module) and module not in PACKAGES  # a package's door opens upwards
    ]
    assert upwards == []


def test_the_upper_packages_are_never_imported_from_below() -> None:
    for module, names in GRAPH.items():
        package = module.split(".")[0]
        for name in names:
            assert PACKAGES.index(name.split(".")[0]) <= PACKAGES.index(package), (module, name)


def test_each_file_name_of_a_run_stands_in_one_source_file() -> None:
    names = {
        value
        for name, value in vars(files).items()
        if name.isupper() and isinstance(value, str) and "." in value
    }
    assert {"result.json", "log.txt", "config.yaml", "metrics.jsonl", "last.ckpt"} <= names
    homes: Counter[str] = Counter()
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        literals = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        homes.update(names & {value for value in literals if isinstance(value, str)})
    assert dict(homes) == dict.fromkeys(names, 1)


# A catalogue has a file for each word that a user may write.
CATALOGUES = {"ablations/report/parts": "the words of report:"}


def test_rooms_are_of_a_dozen_files() -> None:
    rooms = Counter(path.parent for path in SOURCES if path.name != "__init__.py")
    crowded = {str(room.relative_to(ROOT)): n for room, n in rooms.items() if n > 13}
    assert set(crowded) <= set(CATALOGUES), crowded
    entries = {
        path.name
        for path in (ROOT / "ablations").iterdir()
        if path.name not in ("__main__.py", "__pycache__")
    }
    assert len(entries) <= 8, sorted(entries)


def test_the_english_needs_no_decoding() -> None:
    for path in SOURCES:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            where = f"{path.relative_to(ROOT)}:{number}"
            assert len(line) <= 100, f"{where} has {len(line)} characters"
            assert not re.search(r"\b(said|told|mine)\b", line), where


def test_public_functions_and_classes_say_what_they_do() -> None:
    silent = []
    for module, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if path.read_text(encoding="utf-8").strip() and not ast.get_docstring(tree):
            silent.append(module)
    assert silent == []
