"""A YAML file as mappings, lists and words, and each word stays as it is typed.

YAML itself makes True of on, 8 of 010, 90 of 1:30 and 1000.0 of 1e3. A label of a variant is none
of these. So every key is a word here, and every value too: yaml_values.py makes numbers of those
that must be numbers. A hostile file is refused at once: what an anchor repeats is counted, and
never copied.
"""

import codecs
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
)

from reformer_pl.config import ConfigError

MAX_VALUES = 100_000  # what anchors repeat counts again
MAX_DEPTH = 20
MERGE = "<<"
ENCODINGS = (  # of a byte order mark; that of UTF-16 begins that of UTF-32
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Plain(str):
    """A word without quotes. Where a number, a truth or nothing is expected, it may be that."""

    __slots__ = ()


@dataclass
class Open:
    """A mapping or a list whose end has not been read. `size` counts its values, deep."""

    value: Any
    anchor: str | None = None
    size: int = 1
    key: str | None = None  # of the value that comes next
    merged: list[dict[str, Any]] = field(default_factory=list)  # what `<<` adds

    def add(self, value: Any, size: int) -> None:
        """The next value, or the key of it. Raises ConfigError."""
        self.size += size
        if self.size > MAX_VALUES:
            raise ConfigError(f"it has more than {MAX_VALUES} values, with those anchors repeat")
        if isinstance(self.value, list):
            self.value.append(value)
        elif self.key is None:
            self.key = _key(value, self.value)
        elif self.key is MERGE:
            self.key = None
            parts = value if isinstance(value, list) else [value]
            if not all(isinstance(part, dict) for part in parts):
                raise ConfigError("<< adds mappings, and this is none")
            self.merged += parts
        else:
            self.value[self.key], self.key = value, None

    def closed(self) -> Any:
        if not self.merged:
            return self.value
        whole: dict[str, Any] = {}
        for part in self.merged:
            whole = {**whole, **{key: part[key] for key in part if key not in whole}}
        return whole | self.value


def _key(value: Any, others: dict[str, Any]) -> str:
    if isinstance(value, Plain) and value == MERGE:
        return MERGE
    if not isinstance(value, str):
        raise ConfigError("a key must be a word, and one is a list or a mapping")
    if value in others:
        raise ConfigError(f"duplicate key {value}")
    return str(value)


def read_yaml_file(path: Path) -> Any:
    """The one document of a file: dicts with words as keys, lists, and words as `Plain` or str.

    Raises ConfigError in one line.
    """
    text = ""
    try:
        text = _text(path.read_bytes())
        return _document(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).replace('"<unicode string>", ', "").split())
        advice = "; indent with blanks, not with tabs" if "\t" in text else ""
        raise ConfigError(f"{path} is not readable YAML: {reason}{advice}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is no text in UTF-8 (at byte {error.start}): save it as UTF-8"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _text(data: bytes) -> str:
    encoding = next((name for mark, name in ENCODINGS if data.startswith(mark)), "utf-8-sig")
    return data.decode(encoding)


def _document(text: str) -> Any:
    """From the events of the parser, which does not nest: no depth is too much for it."""
    root = Open([])
    opened, anchors = [root], dict[str, tuple[Any, int]]()
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        try:
            _take(event, opened, anchors)
        except ConfigError as error:
            raise ConfigError(f"line {event.start_mark.line + 1}: {error}") from error
    return root.value[0] if root.value else None


def _take(event: Event, opened: list[Open], anchors: dict[str, tuple[Any, int]]) -> None:
    match event:
        case DocumentStartEvent() if opened[0].value:
            raise ConfigError("a second document begins here: leave --- out")
        case AliasEvent(anchor=name) if any(part.anchor == name for part in opened):
            raise ConfigError(f"*{name} stands within &{name} itself")
        case AliasEvent(anchor=name):
            if name not in anchors:
                raise ConfigError(f"*{name} stands for &{name}, and there is none before it")
            opened[-1].add(*anchors[name])
        case ScalarEvent():
            _check_tag(event)
            word = Plain(event.value) if event.implicit[0] else event.value
            if event.anchor:
                anchors[event.anchor] = word, 1
            opened[-1].add(word, 1)
        case CollectionStartEvent():
            _check_tag(event)
            if len(opened) > MAX_DEPTH:
                raise ConfigError("it is nested too deep: a study has three levels")
            is_mapping = isinstance(event, MappingStartEvent)
            opened.append(Open({} if is_mapping else [], event.anchor))
        case CollectionEndEvent():
            ended = opened.pop()
            value = ended.closed()
            if ended.anchor:
                anchors[ended.anchor] = value, ended.size
            opened[-1].add(value, ended.size)


def _check_tag(event: NodeEvent) -> None:
    tag = getattr(event, "tag", None)
    if tag not in (None, "!", "tag:yaml.org,2002:str"):
        word = tag.replace("tag:yaml.org,2002:", "!!")
        raise ConfigError(f"the tag {word} is not read here: leave it out")
