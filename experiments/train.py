"""Train one run.

examples:
  python -m experiments.train experiment=smoke model.attention=lsh
  python -m experiments.train experiment=duplication model.lsh.n_hashes=4 seed=1
  python -m experiments.train experiment=enwik8 "model.attention=local local lsh local" out_dir=mix
  python -m experiments.train experiment=smoke trainer=ddp trainer.devices=2
  python -m experiments.train experiment=smoke optim.lr=1e-2 --cfg job
  python -m experiments.train experiment=smoke trainer.max_steps=900 out_dir=RUN_DIR --extend

The arguments are Hydra overrides of configs/run.yaml. The run's directory, which it prints, is
out_dir, or else lies below runs/single and is named by the overrides. The same command resumes a
run that was stopped, and prints the result of one that is done. Evaluations that it names in
addition are then made: "+evaluations={LSH-8:['model.lsh.n_hashes=8']}". Ctrl-C saves a checkpoint
and stops, a second one stops at once. In a folder with a package of its own that is named
experiments, write python -P -m: Python would else import that one.

exit codes: 0 done, 1 failed or out of memory (result.json says which), 2 bad input, 130 Ctrl-C
or a closed terminal
"""

import ctypes
import math
import os
import shlex
import signal
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from experiments.cluster import stopped_by_the_cluster
from experiments.compose import compose
from experiments.fast_imports import without_collector
from experiments.hydra_options import split_options
from experiments.log import Output, logged, printing
from experiments.rank import check_world, first_rank, leave
from experiments.run_dir.extend import extend
from experiments.run_dir.files import RESULT, claim_directory, config_text
from experiments.run_dir.identity import check_asked
from experiments.run_dir.lock import locked
from experiments.run_dir.outcome import (
    RESULT_NUMBERS,
    NotEvaluated,
    first_line,
    is_ok,
    missing_evaluations,
    read_result,
    record,
)
from experiments.safe_path import safe_path
from experiments.times.disturbed import disturbance, is_disturbed
from reformer_pl.config import ConfigError, RunConfig, check_installed
from reformer_pl.metrics import SCORES
from reformer_pl.units import memory, per_step

EXTEND = "--extend"


def main(arguments: list[str]) -> int:
    with printing() as output:
        return _main(arguments, output)


def _main(arguments: list[str], output: Output) -> int:
    if set(arguments) & {"-h", "--help"}:
        from experiments.help_text import help_text

        print(help_text(__doc__ or ""))
        return 0
    if not arguments:
        command = "python -m experiments.train experiment=smoke (or duplication, enwik8)"
        print(f"error: which run? {command} [key=value ...]", file=sys.stderr)
        return 2
    end_with_the_first_rank()
    try:
        extends = EXTEND in arguments
        overrides, shows_config = split_options(
            [argument for argument in arguments if argument != EXTEND]
        )
        config = compose(overrides)
        if shows_config:
            print(config_text(config), end="")
            return 0
        output.is_all = False
        check_trains(config, overrides)
        check_world(config.trainer.devices)
        check_asked(config)
        if config.trainer.devices > 1:  # Lightning starts the other ranks with this environment
            os.environ.update(safe_path())
        with locked(Path(config.out_dir)) if first_rank() else nullcontext():
            if extends and first_rank():
                extend(Path(config.out_dir), config)
            directory = claim_directory(config)
            done = read_result(directory)
            if done is not None and is_ok(done):
                return tell(add_evaluations(config, directory, done), directory)
            with _logged(directory), stopped_by_the_cluster(directory):
                left_out: list[str] = []
                code = tell(run(config, directory, left_out), directory)
                for line in left_out:  # the last line of the log, which a driver shows
                    print(line, file=sys.stderr)
                return 1 if left_out else code
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return tell(None, None)


def check_trains(config: RunConfig, overrides: list[str]) -> None:
    """Refuse a benchmark, and a logger whose package is missing, before anything starts."""
    if config.benchmark.measure != "none":
        raise ConfigError(
            f"benchmark.measure={config.benchmark.measure} measures and does not train: "
            f"use python -m experiments.benchmark {shlex.join(overrides)}"
        )
    check_installed(config)


def tell(done: dict[str, Any] | None, directory: Path | None) -> int:
    """Print how a run ended, on the first rank alone; returns the exit code."""
    if not first_rank():  # Lightning would kill the first rank, were this one to return 130
        return 0 if done is None or is_ok(done) else 1
    if done is None:
        print("stopped: the same command resumes", file=sys.stderr)
        return 130
    names = [score.name for score in SCORES]
    values = [f"{name} {done[name]:.4g}" for name in names if is_number(done.get(name))]
    if is_number(done.get("peak_memory_gib")):
        values.append(f"memory {memory(done['peak_memory_gib'])}")
    if is_number(done.get("step_seconds")):
        values.append(per_step(done["step_seconds"]))
    note = f"; {disturbance(done)}" if is_ok(done) and is_disturbed(done) else ""
    numbers = ", ".join(values) or done.get("error")
    print(f"{done['status']}: {numbers}{note} ({directory})", flush=True)
    if not is_ok(done):
        return 1
    baseline = done.get("baseline")
    if not baseline:
        return 0
    scores = ", ".join(f"{name} {baseline[name]:.4g}" for name in names if name in baseline)
    print(f"{baseline.get('name')} alone: {scores}", flush=True)
    return 0


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def run(config: RunConfig, directory: Path, left_out: list[str]) -> dict[str, Any] | None:
    """Train to the end, score every evaluation, leave result.json and return it.

    None when Ctrl-C stopped the run. `left_out` gains a line where a run is trained, and was out of
    memory in an evaluation.
    """
    with without_collector():
        from experiments.training import fit

    def work() -> dict[str, Any] | None:
        try:
            return fit.train(config, directory)
        except NotEvaluated as error:
            left_out.append(f"an evaluation failed: {first_line(error.__cause__ or error)}")
            raise
        except SystemExit as error:  # what Lightning makes of a Ctrl-C in an evaluation
            if not isinstance(error.__context__, KeyboardInterrupt):
                raise
            return None

    return record(work, directory, dict.fromkeys(RESULT_NUMBERS))


def add_evaluations(config: RunConfig, directory: Path, done: dict[str, Any]) -> dict[str, Any]:
    """Make the evaluations that the config of a finished run has gained. It trains no more."""
    names = missing_evaluations(directory, config.evaluations)
    if first_rank():
        missing = f", but for {', '.join(names)}" if names else ""
        print(f"already done: {directory / RESULT}{missing}")
    if names:
        with without_collector():
            from experiments.training import fit
        with _logged(directory):
            fit.evaluate_again(config, directory, names)
    return done


def _logged(directory: Path) -> AbstractContextManager[None]:
    return logged(directory) if first_rank() else nullcontext()


def end_with_the_first_rank() -> None:
    """Ask Linux to kill this rank when the first one, which started it, is killed.

    Otherwise it would wait in a collective for ever.
    """
    if os.environ.get("LOCAL_RANK", "0") == "0" or not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it died before the call
        sys.exit(1)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
