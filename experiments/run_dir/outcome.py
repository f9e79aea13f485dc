"""How a run ended: result.json, written last, when the work is done and when it failed.

A failure is data. The status words, the numbers of a result, and the scores of its evaluations
stand here.
"""

import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from experiments.rank import first_rank
from experiments.run_dir.files import (
    RESULT,
    evaluation_path,
    json_text,
    plain_evaluation_path,
    read_json,
    write_json,
    write_partial,
    written_at,
)
from experiments.run_dir.provenance import PACKAGES, now, provenance
from reformer_pl.config import ConfigError
from reformer_pl.metrics import SCORES

OK = "ok"
OOM = "oom"  # out of memory
FAILED = "failed"
TIMEOUT = "timeout"
WOULD_NOT_FIT = "would_not_fit"  # refused for its predicted memory
MISSING = "missing"  # of a reader: there is no result
CHANGED = "changed"  # of a reader: the directory holds a run of another config
UNEVALUATED = "unevaluated"  # of a reader: trained, without one of its evaluations

# The numbers of a run's result.json: null where a run failed. Seconds of a step, and of training,
# are forward, backward and update, without making the batch. The last two are its overhead: from
# the start of the process to the first step, and from the end of the last step to the result. The
# held-out scores are a part of the latter.
RESULT_NUMBERS = (
    "steps", *(score.name for score in SCORES), "peak_memory_gib", "step_seconds",
    "tokens_per_second", "parameters", "train_seconds", "startup_seconds", "closing_seconds",
)  # fmt: skip
# Those of a benchmark. Times are medians, and step_seconds is the whole. full_seconds and speedup
# (full / this) belong to `paired`.
BENCHMARK_NUMBERS = (
    "length", "batch_size", "n_layers", "n_repeats", "forward_seconds", "backward_seconds",
    "step_seconds", "step_seconds_iqr", "full_seconds", "speedup", "peak_memory_gib",
    "predicted_memory_gib", "tokens_per_second", "parameters",
)  # fmt: skip

Result = dict[str, Any]


def read_result(directory: Path) -> Result | None:
    """result.json, or None when the run is not done. Raises ConfigError where it is damaged."""
    path = directory / RESULT
    result = read_json(path)
    if result is not None and not isinstance(result.get("status"), str):
        raise ConfigError(f"{path} has no status: delete it and the cell runs again")
    return result


def write_result(directory: Path, result: Result) -> None:
    write_json(directory / RESULT, result)


def is_ok(result: Result | None) -> bool:
    return result is not None and result["status"] == OK


def forget_result(directory: Path) -> None:
    """Of a failure that is tried again."""
    (directory / RESULT).unlink(missing_ok=True)


def read_evaluation(directory: Path, name: str, overrides: list[str]) -> Result | None:
    """The scores of a run under a named evaluation.

    None when there are none yet, and when they were made under other overrides.
    """
    paths = (evaluation_path(directory, name), plain_evaluation_path(directory, name))
    for path in dict.fromkeys(paths):
        scores = read_json(path)
        # Another evaluation may have had the plain path.
        if scores and scores.get("overrides") == overrides and scores.get("name", name) == name:
            return scores
    return None


def write_evaluation(
    directory: Path, name: str, overrides: list[str], scores: dict[str, float]
) -> None:
    write_json(evaluation_path(directory, name), {"name": name, "overrides": overrides, **scores})


def missing_evaluations(directory: Path, evaluations: dict[str, list[str]]) -> list[str]:
    """The names of the evaluations that a run lacks, under the overrides that they have now."""
    return [
        name
        for name, overrides in evaluations.items()
        if not read_evaluation(directory, name, overrides)
    ]


def write_failure(
    directory: Path,
    status: str,
    error: str,
    numbers: tuple[str, ...],
    replace: bool = True,
    **numbers_so_far: float,
) -> Result:
    """Write the result of a run that left none, and return it. Its numbers are null.

    Unless `replace`, a result that has appeared meanwhile stays.
    """
    result = {
        "status": status,
        "error": error,
        **dict.fromkeys(numbers),
        **numbers_so_far,
        "finished_at": now(),
    }
    path = directory / RESULT
    partial = write_partial(path, json_text(result))
    if replace:
        os.replace(partial, path)
    else:
        with suppress(FileExistsError):
            os.link(partial, path)
        partial.unlink()
    return result


def record(
    work: Callable[[], Result | None],
    directory: Path,
    failed: Result,
    packages: tuple[str, ...] = PACKAGES,
) -> Result | None:
    """Do the work, leave what it returns in result.json and return it.

    Work that was stopped returns None and leaves nothing. Work that raises leaves `failed`, a
    result without numbers, under the status oom or failed; ConfigError passes. Of several ranks the
    one that fails first leaves the failure: it may be the only one that knows why. What the others
    then raise, if they are not killed before, is that it went away.
    """
    made_by, path = provenance(packages), directory / RESULT
    before = written_at(path)  # a failure that is tried again
    try:
        result = work()
    except ConfigError:
        raise
    except Exception as error:  # printed here and recorded below
        oom = out_of_memory(error)
        if not oom and not isinstance(error, FloatingPointError):
            traceback.print_exc()
        first = f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0]}"
        print(first, file=sys.stderr)
        result = failed | {"status": OOM if oom else FAILED, "error": first}
        if written_at(path) not in (None, before):  # by another rank
            return read_json(path)
    else:
        if not first_rank():
            return result
    if result is not None:
        write_result(directory, result | made_by | {"finished_at": now()})
    return result


def out_of_memory(error: BaseException) -> bool:
    import torch

    text = str(error)
    return (
        isinstance(error, MemoryError | torch.OutOfMemoryError)
        or "can't allocate memory" in text
        or "out of memory" in text
    )
