"""The values of a study's YAML: mappings, lists, numbers and overrides, each refused in one line.

A word is what is typed (yaml_file.py). It becomes a number, a truth or nothing only where one is
expected, by the rules of YAML 1.2, which read 1e3 as a number and on, 1:30 and 1_000 as words.
"""

import re
from typing import Any

from ablations.study.written.yaml_file import Plain
from experiments.hydra_options import hydra_value
from reformer_pl.config import ConfigError

FIRST_SEED = Plain("0")  # of a study that says none
SET_BY_THE_STUDY = ("seed", "out_dir", "evaluations")
NOTHING = ("", "~", "null", "Null", "NULL")
TRUTHS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+")  # 8 in YAML 1.1, 10 in YAML 1.2
WHOLE = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+")
FRACTION = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
NO_WORDS = ("inf", "nan", "none")  # Hydra reads the first two as numbers, a reader the third


def read_overrides(where: str, values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(v, str) and "=" in v for v in values):
        raise ConfigError(
            f"{where} must be a list of overrides such as [model.attention=lsh], not {values!r}"
        )
    for override in values:
        if override.split("=", 1)[0].lstrip("+").split(".", 1)[0] in SET_BY_THE_STUDY:
            raise ConfigError(
                f"{where}: {override} is set by the study itself: use its seeds and evaluations"
            )
    return [str(override) for override in values]


def read_mapping(values: dict[str, Any], key: str) -> dict[str, Any]:
    value = values.get(key) or {}
    if is_nothing(value):
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{key} must be a mapping, not {value!r}")
    return value


def read_list(values: dict[str, Any], key: str, default: list[Any]) -> list[Any]:
    value = values.get(key, default)
    if not isinstance(value, list):
        raise ConfigError(f"{key} must be a list, not {value!r}")
    return value


def read_truth(values: dict[str, Any], key: str) -> bool:
    """False where the key is not there. YAML's older words on, off, yes and no count, too."""
    word = values.get(key, "false")
    if not isinstance(word, str) or word.lower() not in TRUTHS:
        raise ConfigError(f"{key} is true or false, not {word!r}")
    return TRUTHS[word.lower()]


def read_seeds(values: dict[str, Any]) -> list[int]:
    seeds = [plain_value("seeds", seed) for seed in read_list(values, "seeds", [FIRST_SEED])]
    wrong = [seed for seed in seeds if type(seed) is not int]
    if wrong:
        raise ConfigError(f"seeds must be whole numbers, not {wrong[0]!r}")
    return seeds


def is_nothing(value: Any) -> bool:
    return isinstance(value, Plain) and value in NOTHING


def plain_value(where: str, value: Any) -> Any:
    """What a word without quotes is: None, a truth, a number, or the word. Others stay.

    Raises ConfigError for a number that begins with 0, of which YAML's versions differ.
    """
    match value:
        case Plain() if is_nothing(value):
            return None
        case Plain() if value.lower() in ("true", "false"):
            return value.lower() == "true"
        case Plain() if LEADING_ZERO.fullmatch(value):
            raise ConfigError(
                f"{where}: {value} begins with 0, which is octal to some: write "
                f"{int(value.replace('_', ''))}, or '{value}' in quotes where it is a word"
            )
        case Plain() if WHOLE.fullmatch(value):
            return int(value, 0) if value[:2] in ("0x", "0o") else int(value)
        case Plain() if FRACTION.fullmatch(value):
            return float(value.lower().replace(".inf", "inf").replace(".nan", "nan"))
        case list():
            return [plain_value(where, item) for item in value]
        case dict():
            return {key: plain_value(f"{where}.{key}", item) for key, item in value.items()}
        case str():
            return str(value)
    return value


def is_word(value: Any) -> bool:
    """Whether a value is a label by itself: 0.1, true, on, 1:30 and 2024-01-01 need their key."""
    if not isinstance(value, Plain):
        return isinstance(value, str)
    no_word = (*NOTHING, *TRUTHS, *NO_WORDS)
    return value.lower() not in no_word and not re.match(r"[-+.]?[0-9]|[-+]?\.(inf|nan)", value)


def text_of(value: Any) -> str:
    """A value as it is typed."""
    if isinstance(value, list):
        return f"[{','.join(map(text_of, value))}]"
    return str(value)


def override_value(where: str, value: Any, is_text: bool = False) -> str:
    """A value of the YAML in Hydra's override grammar, numbers as they are typed.

    `is_text`: its key holds a text, so that 1e3 and true are words as well. Raises ConfigError.
    """
    match value:
        case Plain() if is_nothing(value):
            return "null"
        case Plain() if is_text:
            return hydra_value(str(value))
        case Plain():
            read = plain_value(where, value)
            number = not isinstance(read, bool | str) and re.fullmatch(r"[-+.eE0-9]+", value)
            return str(value) if number else hydra_value(read)
        case list():
            return f"[{','.join(override_value(where, item, is_text) for item in value)}]"
    return hydra_value(value)
