"""Numbers and words set straight on a config of dataclasses.

OmegaConf would have nothing to convert and nothing to refuse there. It takes tens of milliseconds
for a whole config, and a study of a thousand cells has some thousand configs that differ in a few
values. Whatever is not plain (another type, an unknown key, a list, an interpolation) is left to
it.
"""

from dataclasses import is_dataclass
from functools import cache
from typing import Any, get_type_hints

from reformer_pl.config.schema import RunConfig


def set_plain(config: Any, key: str, value: Any) -> bool:
    """Set a value at a dotted key, in place.

    Returns False and does nothing where the key or the value is not plain.
    """
    *path, name = key.split(".")
    holder = config
    for part in path:
        holder = getattr(holder, part, None)
    if not is_dataclass(holder) or name not in _types(type(holder)):
        return False
    match _types(type(holder))[name], value:
        case (kind, int() | float() | str()) if kind in (type(value), Any):
            pass
        case (kind, int()) if kind is float and type(value) is int:
            value = float(value)
        case (kind, None) if kind is Any:
            pass
        case _:
            return False
    # What OmegaConf reads as a reference, and as a missing value.
    if isinstance(value, str) and ("${" in value or value == "???"):
        return False
    setattr(holder, name, value)
    return True


def type_of(key: str) -> Any:
    """The type of a dotted key of a RunConfig; None where there is no such key."""
    kind: Any = RunConfig
    for part in key.split("."):
        kind = _types(kind).get(part) if is_dataclass(kind) else None
    return kind


@cache
def _types(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def last_word(key: str) -> str:
    """n_hashes of model.lsh.n_hashes."""
    return key.rsplit(".", 1)[-1]
