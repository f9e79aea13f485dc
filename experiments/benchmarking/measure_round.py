"""One round of a cell of a timed study: a few of its steps in a fresh process, for rounds.jsonl.

    python -m experiments.benchmarking.measure_round --round=2 OVERRIDES

The driver of a study starts it, for all cells in turn. A cell that trains is timed by training
steps of its own config on random tokens, as `benchmark.measure=step` times them.
"""

import dataclasses
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from experiments import STARTED
from experiments.compose import compose
from experiments.fast_imports import without_collector
from experiments.log import logged
from experiments.run_dir.lock import locked
from experiments.run_dir.outcome import first_line
from experiments.run_dir.provenance import now
from experiments.run_dir.rounds import append_round
from experiments.times.disturbed import disturbance
from reformer_pl.config import ConfigError, RunConfig


def main(arguments: list[str]) -> int:
    number, *overrides = arguments
    try:
        config = compose(overrides)
        directory = Path(config.out_dir)
        with locked(directory), logged(directory):
            return run(config, directory, int(number.removeprefix("--round=")))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def run(config: RunConfig, directory: Path, number: int) -> int:
    """Append the round's row, also where it fails; returns the exit code."""
    with without_collector():
        from experiments.benchmarking.timing import measure_round

    row: dict[str, Any] = {"round": number}
    try:
        row |= measure_round(as_benchmark(config))
    except Exception as error:  # printed here and recorded below
        traceback.print_exc()
        row["error"] = first_line(error)
    row |= {"wall_seconds": time.perf_counter() - STARTED, "finished_at": now()}
    append_round(directory, row)
    if "error" in row:
        return 1
    how = [f"round {number}: {row['step_seconds']:.4g} s", disturbance(row)]
    print("; ".join(filter(None, how)), flush=True)
    return 0


def as_benchmark(config: RunConfig) -> RunConfig:
    """A config that trains, as one that measures its training step."""
    if config.benchmark.measure != "none":
        return config
    measured = dataclasses.replace(config.benchmark, measure="step")
    return dataclasses.replace(config, benchmark=measured)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
