"""What --help lists: the presets, and every key of a run with its default and what it means, as reformer_pl/config/schema.py says."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from experiments.compose import presets
from reformer_pl.config import RunConfig


def help_text(about: str, group: str = "") -> str:
    """`about`, then the presets and the keys, or those of one group alone."""
    files = [
        f"  {name}={'|'.join(presets(name))}" for name in ("experiment", "model", "task", "trainer")
    ]
    keys = [line for line in key_lines(RunConfig()) if line.strip().startswith(group)]
    return "\n".join(
        [
            about.strip(),
            "",
            "presets, each a YAML file below configs/:",
            *files,
            "",
            "keys and their defaults:",
            *keys,
        ]
    )


def key_lines(config: Any, prefix: str = "") -> Iterator[str]:
    """A line for each key of a config: its default, and what its field says."""
    comments = {field.name: field.metadata.get("help", "") for field in fields(config)}
    for name in (field.name for field in fields(config)):
        value = getattr(config, name)
        if is_dataclass(value):
            yield from key_lines(value, f"{prefix}{name}.")
        else:
            said = f"{prefix}{name}={_said(value)}"
            yield f"  {said:<38}{comments[name]}".rstrip()


def _said(value: object) -> str:
    """As an override says it."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case tuple() | list():
            return f"[{','.join(map(_said, value))}]"
        case _:
            return str(value)
