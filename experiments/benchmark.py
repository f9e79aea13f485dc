"""Measure cost without training.

examples:
  python -m experiments.benchmark benchmark.measure=layer model.attention=full,lsh task.length=1024
  python -m experiments.benchmark benchmark.measure=attention task.length=1024,4096
  python -m experiments.benchmark benchmark.measure=layer task.length=16384 benchmark.paired=true
  python -m experiments.benchmark benchmark.measure=step model.residual=standard,reversible

The arguments are Hydra overrides of configs/run.yaml. `python -m experiments.train --help` lists
all keys. Values with commas are several cases, their product: each runs in a process of its own,
and a table of all ends the output, with times in ms and memory in MiB (GiB where one is reached). A
case that is done is not measured again; one that failed is. Each leaves config.yaml, log.txt and
result.json in its directory, as a training run does. --cfg job prints the config of each case and
measures nothing.

exit codes: 0 done, 1 a case failed, was out of memory or would not fit (result.json says which),
2 bad input, 130 stopped by Ctrl-C
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from experiments.compose import Bases, compose, product
from experiments.fast_imports import without_collector
from experiments.hydra_options import split_options
from experiments.log import Output, logged, printing
from experiments.rank import check_world
from experiments.run_dir.files import RESULT, claim_directory, config_text
from experiments.run_dir.identity import check_asked
from experiments.run_dir.lock import locked
from experiments.run_dir.outcome import (
    BENCHMARK_NUMBERS,
    forget_result,
    is_ok,
    read_result,
    record,
    result_row,
)
from experiments.run_dir.provenance import PACKAGES
from experiments.run_dir.rounds import forget_rounds
from experiments.safe_path import safe_path
from experiments.times.disturbed import MARK_MEANS, disturbance, is_disturbed, marked
from reformer_pl.config import ConfigError, RunConfig, check_installed
from reformer_pl.config.rules import PEER_PACKAGES
from reformer_pl.units import memory, memory_unit, milliseconds, three_digits


def main(arguments: list[str]) -> int:
    with printing() as output:
        return _main(arguments, output)


def _main(arguments: list[str], output: Output) -> int:
    if set(arguments) & {"-h", "--help"}:
        from experiments.help_text import help_text

        print(help_text(__doc__ or "", "benchmark."))
        return 0
    try:
        overrides, shows_config = split_options(arguments)
        cases, bases = product(overrides), Bases()
        configs = [check_case(compose(case, bases), case) for case in cases]
        if shows_config:
            print("---\n".join(map(config_text, configs)), end="")
            return 0
        check_world(1)
        output.is_all = False
        return run_each(cases, configs) if len(cases) > 1 else run_one(configs[0])
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped: the same command goes on with the case it stopped in", file=sys.stderr)
        return 130


def check_case(config: RunConfig, case: list[str]) -> RunConfig:
    """Refuse what is no benchmark, or lacks a package, before anything starts."""
    if config.benchmark.measure == "none":
        training = f"; to train, use python -m experiments.train {shlex.join(case)}" if case else ""
        words = "benchmark.measure=attention, layer or step"
        raise ConfigError(f"which measurement? add {words}{training}")
    check_installed(config)
    return config


def run_one(config: RunConfig) -> int:
    check_asked(config)
    with locked(Path(config.out_dir)):
        directory = claim_directory(config)
        done = read_result(directory)
        if done is not None and is_ok(done):
            print(f"already done: {directory / RESULT}")
            return tell(done, directory)
        with logged(directory):
            return tell(run(config, directory), directory)


def run(config: RunConfig, directory: Path) -> dict[str, Any]:
    """Measure one case in this process, leave result.json and return it."""
    forget_result(directory)
    forget_rounds(directory)
    benchmark, names = config.benchmark, ("status", "error", "measure", "peer", *BENCHMARK_NUMBERS)
    row: dict[str, Any] = dict.fromkeys(names) | {
        "measure": benchmark.measure,
        "peer": benchmark.peer,
        "length": config.task.length,
        "batch_size": config.task.batch_size,
        "n_layers": config.model.n_layers if benchmark.measure == "step" else 1,
    }

    def work() -> dict[str, Any]:
        with without_collector():
            from experiments.benchmarking.timing import measure
        return measure(config, row)

    package = PEER_PACKAGES.get(benchmark.peer)
    result = record(work, directory, row, (*PACKAGES, package) if package else PACKAGES)
    assert result is not None  # only a training run that is stopped leaves none
    return result


def tell(done: dict[str, Any], directory: Path) -> int:
    """Print how a case ended; returns the exit code."""
    parts = {
        "forward": ("forward_seconds", milliseconds),
        "backward": ("backward_seconds", milliseconds),
        "whole": ("step_seconds", milliseconds),
        "memory": ("peak_memory_gib", memory),
        "predicted": ("predicted_memory_gib", memory),
    }
    numbers = [
        f"{name} {text(done[key])}" for name, (key, text) in parts.items() if done[key] is not None
    ]
    if done["speedup"] is not None:
        numbers.append(f"{three_digits(done['speedup'])} times as fast as full attention")
    note = disturbance(done) if is_ok(done) else ""
    how = "; ".join(filter(None, [done["error"] or ", ".join(numbers), note]))
    print(f"{done['status']}: {how} ({directory})", flush=True)
    return 0 if is_ok(done) else 1


def run_each(cases: list[list[str]], configs: list[RunConfig]) -> int:
    """Each case in a process of its own, one after the other, and a table of all.

    Returns the worst exit code. Raises ConfigError where cases would share a directory.
    """
    directories = [config.out_dir for config in configs]
    if len(set(directories)) < len(directories):
        advice = "leave out_dir and repeated values out"
        raise ConfigError(f"these {len(cases)} cases would share a directory: {advice}")
    codes = []
    for case in cases:
        print(f"{len(codes) + 1}/{len(cases)}: {shlex.join(case)}", flush=True)
        command = [sys.executable, "-m", "experiments.benchmark", *case]
        codes.append(subprocess.run(command, env={**os.environ, **safe_path()}).returncode)
        if codes[-1] == 130:
            raise KeyboardInterrupt
    print_table(cases, [result_row(Path(directory)) or {} for directory in directories])
    # A case that the system killed has a negative code.
    return max(code if code in (0, 1, 2) else 1 for code in codes)


def print_table(cases: list[list[str]], results: list[dict[str, Any]]) -> None:
    """A row for each case: what only it says, how it ended, milliseconds and memory."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    shared = set(cases[0]).intersection(*cases)
    table = Table(box=SIMPLE_HEAD)
    times = {
        "forward ms": ("forward_seconds", 1e3),
        "backward ms": ("backward_seconds", 1e3),
        "whole ms": ("step_seconds", 1e3),
        "iqr": ("step_seconds_iqr", 1e3),
        "x full": ("speedup", 1),
    }
    peaks = ("peak_memory_gib", "predicted_memory_gib")
    unit = memory_unit(max(result.get(name) or 0 for result in results for name in peaks))
    columns = times | {
        unit.suffix: ("peak_memory_gib", unit.scale),
        "predicted": ("predicted_memory_gib", unit.scale),
    }
    table.add_column("case", no_wrap=True)
    table.add_column("status")
    for column in columns:
        table.add_column(column, justify="right")
    for case, result in zip(cases, results, strict=True):
        texts = [
            "-"
            if result.get(name) is None
            else marked(f"{scale * result[name]:.4g}", title in times and is_disturbed(result))
            for title, (name, scale) in columns.items()
        ]
        table.add_row(
            " ".join(word for word in case if word not in shared),
            result.get("status", "no result"),
            *texts,
        )
    console = Console()
    console = console if console.is_terminal else Console(file=sys.stdout, width=160)
    console.print(table)
    if any(map(is_disturbed, results)):
        console.print(MARK_MEANS, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
