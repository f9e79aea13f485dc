"""Which of Hydra's own options work here, which do not, and why. Nothing of Hydra is imported."""

from collections.abc import Iterable

from reformer_pl.config import ConfigError

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
                raise ConfigError(f"{argument} is no option: there are --help and --cfg job")
            case _:
                overrides.append(argument)
    return overrides, shows_config


def refuse_hydra_keys(overrides: Iterable[str]) -> None:
    """Raises ConfigError for hydra.*: Hydra would accept it, and it would change nothing."""
    for override in overrides:
        if override.lstrip("+~").startswith(("hydra.", "hydra/", "hydra=")):
            raise ConfigError(
                f"'{override}' changes nothing here, where Hydra only composes: "
                f"out_dir names the run's directory, and {USE_A_STUDY}"
            )
