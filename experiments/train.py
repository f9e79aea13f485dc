"""Train one run.

examples:
  python -m experiments.train experiment=smoke model.attention=lsh
  python -m experiments.train experiment=duplication model.attention=lsh model.lsh.n_hashes=4 seed=1
  python -m experiments.train experiment=enwik8 task.source=enwik8.zip "model.attention=local local lsh local" out_dir=mine
  python -m experiments.train experiment=smoke trainer=ddp trainer.devices=2

The arguments are Hydra overrides of configs/run.yaml. The run's directory, which it prints, is out_dir, or else lies below runs/single
and is named by the overrides. The same command resumes a run that was stopped, and prints the result of one that is done; if
+evaluations={NAME:[key=value]} names further ones, they are made. Ctrl-C saves a checkpoint and stops, a second one stops at once.

exit codes: 0 done, 1 failed or out of memory (result.json says which), 2 bad input, 130 stopped by Ctrl-C
"""

import ctypes
import os
import shlex
import signal
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from experiments.cluster import first_rank, stopped_by_the_cluster
from experiments.compose import compose
from experiments.fast_imports import without_collector
from experiments.log import logged
from experiments.run_dir.files import RESULT, claim_directory
from experiments.run_dir.lock import locked
from experiments.run_dir.outcome import (
    RESULT_NUMBERS,
    is_ok,
    missing_evaluations,
    read_result,
    record,
)
from experiments.safe_path import safe_path
from reformer_pl.config import ConfigError, RunConfig, check_installed


def main(arguments: list[str]) -> int:
    if set(arguments) & {"-h", "--help"}:
        from experiments.help_text import help_text

        print(help_text(__doc__ or ""))
        return 0
    if not arguments:
        print(
            "error: which run? python -m experiments.train experiment=smoke (or duplication, enwik8) [key=value ...]",
            file=sys.stderr,
        )
        return 2
    end_with_the_first_rank()
    try:
        config = compose(arguments)
        if config.benchmark.measure != "none":
            said = f"benchmark.measure={config.benchmark.measure} measures and does not train"
            raise ConfigError(
                f"{said}: use python -m experiments.benchmark {shlex.join(arguments)}"
            )
        check_installed(config)
        if config.trainer.devices > 1:  # Lightning starts the other ranks with this environment
            os.environ.update(safe_path())
        with locked(Path(config.out_dir)) if first_rank() else nullcontext():
            directory = claim_directory(config)
            done = read_result(directory)
            if done is not None and is_ok(done):
                return tell(add_evaluations(config, directory, done), directory)
            with _logged(directory), stopped_by_the_cluster(directory):
                return tell(run(config, directory), directory)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return tell(None, None)


def tell(done: dict[str, Any] | None, directory: Path | None) -> int:
    """Print how a run ended, on the first rank alone; returns the exit code."""
    if not first_rank():  # Lightning would kill the first rank, were this one to say 130
        return 0 if done is None or is_ok(done) else 1
    if done is None:
        print("stopped: the same command resumes", file=sys.stderr)
        return 130
    names = ("loss_nats", "accuracy", "bits_per_dim", "peak_memory_gib", "step_seconds")
    said = ", ".join(f"{name} {done[name]:.4g}" for name in names if done[name] is not None)
    print(f"{done['status']}: {said or done['error']} ({directory})", flush=True)
    if not is_ok(done):
        return 1
    known = done["baseline"]
    print(
        f"{known['name']} alone: " + ", ".join(f"{name} {known[name]:.4g}" for name in names[:3]),
        flush=True,
    )
    return 0


def run(config: RunConfig, directory: Path) -> dict[str, Any] | None:
    """Train to the end, score every evaluation, leave result.json and return it; None when Ctrl-C stopped the run."""
    with without_collector():
        from experiments.training import fit as training

    def work() -> dict[str, Any] | None:
        try:
            return training.train(config, directory)
        except SystemExit as error:  # what Lightning makes of a Ctrl-C in an evaluation
            if not isinstance(error.__context__, KeyboardInterrupt):
                raise
            return None

    return record(work, directory, dict.fromkeys(RESULT_NUMBERS))


def add_evaluations(config: RunConfig, directory: Path, done: dict[str, Any]) -> dict[str, Any]:
    """A run that is done is not trained again; evaluations that its config gained since are made."""
    names = missing_evaluations(directory, config.evaluations)
    if first_rank():
        print(
            f"already done: {directory / RESULT}"
            + (f", but for {', '.join(names)}" if names else "")
        )
    if names:
        with without_collector():
            from experiments.training import fit as training
        with _logged(directory):
            training.evaluate_again(config, directory, names)
    return done


def _logged(directory: Path) -> AbstractContextManager[None]:
    return logged(directory) if first_rank() else nullcontext()


def end_with_the_first_rank() -> None:
    """Ask Linux to kill this rank when the first one, which started it, is killed: it would wait in a collective for ever."""
    if os.environ.get("LOCAL_RANK", "0") == "0" or not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it died before the call
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
