"""What --help lists: the presets, and every key of a run with its default and its meaning.

Defaults and meanings stand in reformer_pl/config/schema.py.
"""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from experiments.compose import presets
from experiments.hydra_options import HELP
from reformer_pl.config import RunConfig


def help_text(about: str, group: str = "") -> str:
    """`about`, what Hydra users should know, the presets and the keys, or those of one group."""
    files = [
        f"  {name}={'|'.join(presets(name))}" for name in ("experiment", "model", "task", "trainer")
    ]
    keys = [line for line in key_lines(RunConfig()) if line.strip().startswith(group)]
    return "\n".join(
        [
            about.strip(),
            "",
            HELP,
            "",
            "presets, each a YAML file below configs/:",
            *files,
            "",
            "keys and their defaults:",
            *keys,
        ]
    )


def key_lines(config: Any, prefix: str = "") -> Iterator[str]:
    """A line for each key of a config: its default, and the help of its field."""
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            yield from key_lines(value, f"{prefix}{field.name}.")
        else:
            override = f"{prefix}{field.name}={_as_override(value)}"
            yield f"  {override:<38}{field.metadata.get('help', '')}".rstrip()


def _as_override(value: object) -> str:
    """A default as it is written in an override."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case tuple() | list():
            return f"[{','.join(map(_as_override, value))}]"
        case _:
            return str(value)
