"""Command-line overrides to a checked RunConfig, by Hydra."""

import itertools
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from experiments.compose_many import Bases as Bases
from experiments.compose_many import compose_on_base
from experiments.hydra_options import USE_A_STUDY, hydra_value, quote_paths, refuse_hydra_keys
from experiments.run_dir.files import safe_name
from reformer_pl.config import ConfigError, RunConfig, check, load, one_line
from reformer_pl.config.evaluations import phase_configs
from reformer_pl.config.run_rules import check_scored

_HERE = Path(__file__).resolve().parent
_PACKAGED = _HERE / "configs"  # of a wheel; a clone has configs/ beside this package
CONFIG_DIR = _PACKAGED if _PACKAGED.is_dir() else _HERE.parent / "configs"

NAMED_OTHERWISE = ("seed=", "experiment=", "out_dir=", "evaluations=", "evaluations.")
EVALUATIONS = "+evaluations={NAME:['key=value']}"

ConfigStore.instance().store(name="schema", node=RunConfig)


def compose(overrides: Iterable[str], bases: Bases | None = None) -> RunConfig:
    """Compose configs/run.yaml with overrides, check it, and give the run its default directory.

    Give the cells of a study one dict of `bases`, empty at first: then Hydra composes once what
    they have in common (compose_many.py).

    Raises ConfigError with one sentence for an unknown key, word, preset or value. The second,
    strict load catches `+model.lsh.n_hash=2`, which Hydra accepts and would drop in silence.
    """
    overrides = list(overrides)
    refuse_hydra_keys(overrides)
    quoted = quote_paths(overrides)
    config = None if bases is None else compose_on_base(quoted, bases, _composed)
    config = load(_composed(quoted)[0]) if config is None else check(config)
    check_scored(config)
    phase_configs(config)
    if not config.out_dir:
        config.out_dir = default_out_dir(overrides, config.seed)
    return config


def _composed(overrides: list[str]) -> tuple[dict[str, Any], bool]:
    """What Hydra makes of the overrides, and whether a value of it refers to another one."""
    try:
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            composed = hydra_compose("run", overrides=overrides)
        values = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        # ValueError: a number for a group, such as model=3
        raise ConfigError(_reason(error)) from error
    return values, values != OmegaConf.to_container(composed)


def product(overrides: Iterable[str]) -> list[list[str]]:
    """Every combination of one value each, of overrides whose values are separated by commas.

    "a=1,2 b=[3,4]" is two lists of two. Raises ConfigError for what is no override.
    """
    try:
        parsed = OverridesParser.create().parse_overrides(quote_paths(overrides))
    except HydraException as error:
        raise ConfigError(_reason(error)) from error
    choices = [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        if override.is_sweep_override()
        else [override.input_line or ""]
        for override in parsed
    ]
    return [list(case) for case in itertools.product(*choices)]


def default_out_dir(overrides: Iterable[str], seed: int) -> str:
    """The same command always names the same directory, so that typing it again resumes.

    Evaluations are left out: a finished run that gains one is evaluated where it lies.
    """
    overrides = list(overrides)
    naming = [o for o in overrides if not o.lstrip("+").startswith(NAMED_OTHERWISE)]
    preset = next((o.split("=", 1)[1] for o in overrides if o.startswith("experiment=")), "run")
    words = "_".join(sorted(naming)) or "default"
    return str(Path("runs") / "single" / preset / safe_name(words) / f"seed={seed}")


def presets(group: str) -> list[str]:
    """The names of the YAML files of one group, such as experiment or study."""
    return sorted(path.stem for path in (CONFIG_DIR / group).glob("*.yaml"))


def _how_to_write(override: str) -> str:
    """How to write what Hydra cannot read, in a file and in a shell."""
    key, equals, value = override.partition("=")
    if key.lstrip("+~").split(".")[0] == "evaluations":
        return f"write {EVALUATIONS}, in a shell {shlex.quote(EVALUATIONS)}"
    written = f"{key}={hydra_value(value)}"
    if not key or not equals:
        return "write key=value"
    try:
        OverridesParser.create().parse_overrides([written])
    except HydraException:
        return "write key=value"
    return f"quote its value as in {written}, in a shell {shlex.quote(written)}"


def _reason(error: Exception) -> str:
    """The useful sentence of an error, which Hydra wraps: that of its cause.

    It names the override or the valid presets.
    """
    if isinstance(error, OverrideParseException):
        return f"'{error.override}' is no override: {_how_to_write(error.override or '')}"
    if str(error).startswith(("Ambiguous value", "Sweep parameters")):
        override = str(error).split("'")[1]
        return f"'{override}' has several values: {USE_A_STUDY}"
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    text = one_line(cause)
    if "'study" in text:
        return "a study is no part of a run: use python -m ablations run STUDY"
    if "Could not find" in text or ("Could not override" in text and "/" in text):
        for group in ("experiment", "model", "task", "trainer"):
            if f"{group}/" in text or f"'{group}'" in text:
                return f"{text.rstrip('.')}: {group} is one of {', '.join(presets(group))}"
    key = str(getattr(cause, "full_key", ""))
    if isinstance(cause, ConfigKeyError) and key.startswith("evaluations"):
        return f"{text}: evaluations are added, so write {EVALUATIONS}"
    return text
