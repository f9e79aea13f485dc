"""Train one run: `python -m experiments.train experiment=duplication model.attention=lsh model.lsh.n_hashes=4`.

The arguments are Hydra overrides of configs/run.yaml. The same command resumes a run that was stopped, and prints the result of one that is
done. Exit codes: 0 done, 1 failed or out of memory (result.json says which), 2 bad input, 130 stopped by Ctrl-C.
"""

import os
import sys
from pathlib import Path
from typing import Any

from experiments.compose import compose
from experiments.files import claim_directory, provenance, read_json, write_json
from reformer_pl.config import ConfigError, RunConfig


def main(arguments: list[str]) -> int:
    if set(arguments) & {"-h", "--help"}:
        print(__doc__)
        return 0
    first_rank = os.environ.get("LOCAL_RANK", "0") == "0"
    try:
        config = compose(arguments)
        directory = claim_directory(config)
        done = read_json(directory / "result.json")
        if done and done["status"] == "ok" and "LOCAL_RANK" not in os.environ:
            print(f"already done: {directory / 'result.json'}")
        else:
            done = run(config, directory)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        done = None
    if done is None and first_rank:
        print("stopped: the same command resumes", file=sys.stderr)
        return 130
    if not first_rank:  # it would be killed by the first, were it to say 130
        return 0 if done is None or done["status"] == "ok" else 1
    said = ", ".join(
        f"{key} {done[key]:.4g}"
        for key in ("loss_nats", "accuracy", "bits_per_dim", "peak_memory_gib", "step_seconds")
        if done[key] is not None
    )
    print(f"{done['status']}: {said or done['error']} ({directory})", flush=True)
    return 0 if done["status"] == "ok" else 1


def run(config: RunConfig, directory: Path) -> dict[str, Any] | None:
    """Train to the end, score every evaluation, leave result.json and return it; None when Ctrl-C stopped the run."""
    from experiments import training

    try:
        result = training.train(config, directory)
    except SystemExit as error:  # what Lightning makes of a Ctrl-C in an evaluation
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        return None
    except (MemoryError, RuntimeError, FloatingPointError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        result = dict.fromkeys(training.NUMBERS) | {"status": "oom" if training.out_of_memory(error) else "failed", "error": first}
    if result is not None and int(os.environ.get("LOCAL_RANK", "0")) == 0:
        write_json(directory / "result.json", result | provenance())
    return result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
