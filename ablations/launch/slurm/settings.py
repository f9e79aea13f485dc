"""What a study asks of a SLURM cluster.

A small YAML, such as configs/launcher/slurm.yaml, and the words of it that reach sbatch.
"""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ablations.study.written.yaml_file import read_yaml_file
from ablations.study.written.yaml_values import NOTHING, plain_value
from reformer_pl.config import ConfigError, RunConfig

OURS = (
    "array", "error", "gpus-per-node", "job-name", "nodes", "ntasks", "ntasks-per-node",
    "open-mode", "output", "requeue", "signal", "wait",
)  # fmt: skip
OWN_KEY = {
    "time": "time",
    "mem": "memory_gib",
    "partition": "partition",
    "account": "account",
    "cpus-per-task": "cpus",
}
EARLY_SECONDS = 60  # by which SLURM may send its signal too early


@dataclass(frozen=True)
class Slurm:
    """None does not reach sbatch, so that the cluster's default holds."""

    partition: str | None = None
    account: str | None = None
    nodes: int = 1  # of each cell
    gpus: int | None = None  # on each node
    cpus: int | None = None  # of each process
    memory_gib: int | None = None  # on each node
    time: int | None = None  # minutes of one job; a cell that needs longer is requeued
    save_seconds: int = 120  # from SLURM's signal to the time limit
    at_once: int | None = None  # cells of one array that run at the same time
    setup: list[str] = field(default_factory=list)  # shell lines before each cell
    sbatch: dict[str, str | int | bool] = field(default_factory=dict)  # further long options

    def processes_per_node(self, cell: str, config: RunConfig) -> int:
        """A cell's processes on each of its nodes. Raises ConfigError where they do not fit."""
        processes, rest = divmod(config.trainer.devices, self.nodes)
        if rest or not processes:
            raise ConfigError(
                f"{cell} has trainer.devices={config.trainer.devices}, "
                f"which nodes: {self.nodes} does not divide"
            )
        if self.gpus is not None and config.trainer.accelerator != "cpu" and processes > self.gpus:
            raise ConfigError(
                f"{cell} has {processes} processes on a node and gpus: {self.gpus}: "
                f"give gpus: {processes}, or more nodes"
            )
        return processes

    def words(self, processes_per_node: int) -> dict[str, Any]:
        """As submitit calls them.

        None keeps submitit's own defaults out of the script: 5 minutes, and a wckey.
        """
        memory = None if self.memory_gib is None else f"{self.memory_gib}G"
        more = {"requeue": True, "signal": f"USR1@{self.save_seconds}"}
        words = {
            **{
                "nodes": self.nodes,
                "ntasks_per_node": processes_per_node,
                "gpus_per_node": self.gpus,
                "mem": memory,
                "time": self.time,
            },
            **{
                "partition": self.partition,
                "account": self.account,
                "setup": self.setup or None,
                "wckey": None,
                "stderr_to_stdout": True,
            },
            "additional_parameters": more
            | {name: value for name, value in self.sbatch.items() if value is not False},
            "srun_args": [
                "--kill-on-bad-exit=1"
            ],  # a rank that ends badly would leave the others waiting for it
        }
        if self.cpus is not None:  # since 22.05 srun does not take it over from sbatch
            words |= {
                "cpus_per_task": self.cpus,
                "srun_args": [*words["srun_args"], f"--cpus-per-task={self.cpus}"],
            }
        return words


def load_slurm(path: Path | None) -> Slurm:
    """The YAML of --slurm; None is the cluster's defaults. Raises ConfigError."""
    if path is None:
        return Slurm()
    keys = {word.name: word for word in fields(Slurm)}
    try:
        words = read_yaml_file(path)
        words = {} if words is None else words
        if not isinstance(words, dict):
            raise ConfigError(f"{path} must be a mapping with the keys {', '.join(keys)}")
        values = {key: _value(f"{path}: {key}", word) for key, word in words.items()}
    except ConfigError as error:
        raise ConfigError(f"--slurm {error}") from error
    for key, value in values.items():
        if key not in keys:
            raise ConfigError(f"--slurm {path}: unknown key {key}: choose {', '.join(keys)}")
        expected = _expected(keys[key].type, value)
        if expected:
            raise ConfigError(f"--slurm {path}: {key} must be {expected}, not {value!r}")
    slurm = Slurm(**values)
    if slurm.time is not None and 60 * slurm.time <= slurm.save_seconds + EARLY_SECONDS:
        least = (slurm.save_seconds + EARLY_SECONDS) // 60 + 1
        raise ConfigError(
            f"--slurm {path}: time: {slurm.time} leaves no time to train: "
            f"SLURM may send its signal {EARLY_SECONDS} s earlier than "
            f"save_seconds: {slurm.save_seconds}: "
            f"give time: {least} or more, or fewer save_seconds"
        )
    return slurm


def _value(where: str, word: Any) -> Any:
    """A number or nothing, where it is one. Of a mapping only true and false are no words."""
    if not isinstance(word, dict):
        return plain_value(where, word)
    return {
        name: plain_value(where, value) if value in ("true", "false", *NOTHING) else value
        for name, value in word.items()
    }


def _expected(kind: Any, value: Any) -> str:
    """What a value of the YAML should have been; empty where it is."""
    if kind in (int, int | None):
        return "" if type(value) is int and value > 0 else "a whole number of at least 1"
    if kind == str | None:
        return "" if isinstance(value, str) and value.strip() else "a word"
    if kind == list[str]:
        return (
            ""
            if isinstance(value, list) and all(isinstance(line, str) for line in value)
            else "a list of shell lines"
        )
    if not isinstance(value, dict) or not all(
        isinstance(word, str | int) for pair in value.items() for word in pair
    ):
        return "a mapping from long options of sbatch to words, numbers or true"
    names = {str(name): str(name).lstrip("-").replace("_", "-") for name in value}
    for name, option in names.items():
        if option in OURS:
            return f"without {name}, which is set by what a cell is"
        if option in OWN_KEY:
            return f"without {name}: give {OWN_KEY[option]} beside it"
    return ""
