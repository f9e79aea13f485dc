"""Which of Hydra's own options work here, which do not, and why; and values in its grammar.

Nothing of Hydra is imported.
"""

import re
from collections.abc import Iterable
from typing import Any

from reformer_pl.config import ConfigError
from reformer_pl.config.local_path import PATH_KEYS, as_typed
from reformer_pl.config.phases import read_phases

USE_A_STUDY = (
    "many runs are a study: write their values as axes into a YAML file "
    "and use python -m ablations run FILE"
)
HELP = """\
if you know Hydra:
  works as there    key=value, GROUP=NAME, +key=value, lists, quotes, ${...}, and --cfg job, which
                    prints the composed config and starts nothing
  --multirun, -m,   not here: many runs are a study, a YAML file with axes, as those below
  seed=1,2,         configs/study. python -m ablations run FILE resumes, packs and reports its
  seed=range(3)     runs. Cases of one benchmark are the exception: experiments.benchmark takes
                    model.attention=full,lsh
  hydra.*           not here: Hydra only composes. out_dir names the run's directory, in which
                    config.yaml and log.txt are
  --config-name     and all other options of Hydra: not here. configs/run.yaml is the one root"""


# What Hydra reads as a word, and neither as a number nor as one of HYDRA_WORDS.
WORD = re.compile(r"(?:[A-Za-z_/]|\.{1,2}/)[\w./+-]*", re.ASCII)
HYDRA_WORDS = ("null", "true", "false", "inf", "nan")
HYDRA_KEY = re.compile(r"[+~]*hydra([./@:=]|$)")
SWEEP = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag)\(.*\)", re.DOTALL)


def split_options(arguments: list[str]) -> tuple[list[str], bool]:
    """(the overrides, whether `--cfg job` is among the arguments).

    Raises ConfigError for any other option; its sentence says what to use in its place.
    """
    overrides, shows_config, rest = [], False, iter(arguments)
    for argument in rest:
        option, _, value = argument.partition("=")
        match option:
            case "--cfg" | "-c":
                value = value or next(rest, "")
                if value != "job":
                    raise ConfigError(f"--cfg {value} is not here: --cfg job prints the config")
                shows_config = True
            case "--multirun" | "-m":
                raise ConfigError(f"{option} is not here: {USE_A_STUDY}")
            case _ if argument.startswith("-"):
                raise ConfigError(f"{argument} is no option: see --help")
            case _:
                overrides.append(argument)
    return overrides, shows_config


def refuse_hydra_keys(overrides: Iterable[str]) -> None:
    """Raises ConfigError for hydra.*: Hydra would accept it, and it would change nothing."""
    for override in overrides:
        if HYDRA_KEY.match(override):
            raise ConfigError(
                f"'{override}' changes nothing here, where Hydra only composes: "
                f"out_dir names the run's directory, and {USE_A_STUDY}"
            )


def hydra_value(value: Any) -> str:
    """A plain value in Hydra's override grammar, for Hydra to read as the same value.

    A text is put in quotes where it is more than a word. Raises ConfigError for what is no value.
    """
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case list():
            return f"[{','.join(hydra_value(v) for v in value)}]"
        case str() if WORD.fullmatch(value) and value.lower() not in HYDRA_WORDS:
            return value
        case str():  # backslashes count only where a quote follows
            return (
                '"'
                + re.sub(r'(\\*)("|$)', lambda m: m[1] * 2 + ('\\"' if m[2] else ""), value)
                + '"'
            )
    raise ConfigError(f"{value!r} cannot be one value: use words, numbers or lists of them")


def quote_paths(overrides: Iterable[str]) -> list[str]:
    """The overrides with quotes around each path, so that Hydra reads it as it was typed.

    Phases, too, need no quotes of Hydra's, and no + before them.
    """
    return [_phases_added(_quote_path(override)) for override in overrides]


def _phases_added(override: str) -> str:
    key, equals, value = override.partition("=")
    place = key.removeprefix("+")
    if place.split(".")[0] != "phases" or not equals:
        return override
    phases = read_phases(place, value)
    return f"+phases={{{','.join(f'{start}:{hydra_value(v)}' for start, v in phases.items())}}}"


def _quote_path(override: str) -> str:
    key, _, value = override.partition("=")
    path = as_typed(value) if key.lstrip("+") in PATH_KEYS else None
    return override if path is None or SWEEP.fullmatch(path) else f"{key}={hydra_value(path)}"
