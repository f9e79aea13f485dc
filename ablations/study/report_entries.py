"""The list below `report:` of a study: words, and mappings with more about one of them.

report:
  - paired
  - loss_memory: {columns: [bits per dim, s/step]}     # of its tables these columns alone
  - table: {rows: model.attention, columns: [optim.lr, evaluation], value: accuracy}
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from experiments.run_dir.outcome import BENCHMARK_NUMBERS
from reformer_pl.config import ConfigError
from reformer_pl.metrics import DRAWS, KEYS_PER_TOKEN, SCORES

TABLE = "table"
EVALUATION = "evaluation"
TABLE_KEYS = ("rows", "columns", "value")
TRAINING_NUMBERS = (
    *(metric.name for metric in SCORES), *DRAWS, KEYS_PER_TOKEN.name,
    "peak_memory_gib", "step_seconds", "tokens_per_second", "train_seconds", "startup_seconds",
    "closing_seconds", "steps", "parameters", "n_timed_steps", "n_rounds",
)  # fmt: skip


@dataclass(frozen=True)
class UserTable:
    """A table of the user's choice: axes of the grid as rows and columns, and what stands there."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    value: str


@dataclass(frozen=True)
class ReportEntries:
    """`words` in their order, each once; `columns` are those that a word's tables are to show."""

    words: tuple[str, ...]
    tables: tuple[UserTable, ...] = ()
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)


def read_entries(
    values: list[Any], axes: Iterable[str], evaluations: Iterable[str], measure: str
) -> ReportEntries:
    """What stands below `report:` of a grid with these axes. Raises ConfigError."""
    keys = [*axes, *([EVALUATION] if list(evaluations) else [])]
    numbers = tuple(BENCHMARK_NUMBERS) if measure else TRAINING_NUMBERS
    words: list[str] = []
    tables: list[UserTable] = []
    columns: dict[str, tuple[str, ...]] = {}
    for value in values:
        if isinstance(value, dict) and len(value) == 1:
            ((word, settings),) = value.items()
            if word == TABLE:
                tables.append(_table(settings, keys, numbers))
            else:
                columns[word] = _columns(word, settings)
        elif isinstance(value, str):
            word = str(value)
        else:
            raise ConfigError(f"report: {value!r} is neither a word nor a mapping of one word")
        words.append(word)
    if TABLE in words and not tables:
        raise ConfigError(f"report: {TABLE} is a mapping with the keys {', '.join(TABLE_KEYS)}")
    return ReportEntries(tuple(dict.fromkeys(words)), tuple(tables), columns)


def _columns(word: str, settings: Any) -> tuple[str, ...]:
    names = settings.get("columns") if isinstance(settings, dict) and len(settings) == 1 else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or not names:
        raise ConfigError(f"report: {word} may have a list of columns alone, not {settings!r}")
    return tuple(map(str, names))


def _table(settings: Any, keys: list[str], numbers: tuple[str, ...]) -> UserTable:
    where = f"report: {TABLE}"
    if not isinstance(settings, dict) or set(settings) != set(TABLE_KEYS):
        raise ConfigError(f"{where} must be a mapping with the keys {', '.join(TABLE_KEYS)}")
    rows, columns = (_keys(f"{where}.{name}", settings[name], keys) for name in TABLE_KEYS[:2])
    twice = [key for key in rows if key in columns]
    if twice:
        raise ConfigError(f"{where}: {twice[0]} is both in rows and in columns")
    unlike = [key for key in keys if key not in (*rows, *columns, EVALUATION)]
    if unlike:
        raise ConfigError(
            f"{where}: a mean over {', '.join(unlike)} would be of unlike runs: add it to rows or "
            f"columns, as in rows: [{', '.join([*rows, *unlike])}]"
        )
    if settings["value"] not in numbers:
        raise ConfigError(
            f"{where}.value: {settings['value']!r} is unknown: choose {', '.join(numbers)}"
        )
    return UserTable(rows, columns, str(settings["value"]))


def _keys(where: str, value: Any, keys: list[str]) -> tuple[str, ...]:
    names = value if isinstance(value, list) else [value]
    for name in names:
        if name not in keys:
            raise ConfigError(f"{where}: {name!r} is unknown: choose {', '.join(keys)}")
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"{where} must name axes, each once: choose {', '.join(keys)}")
    return tuple(map(str, names))
