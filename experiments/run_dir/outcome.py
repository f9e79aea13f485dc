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
from experiments.run_dir.durable import put_in_place, write_partial
from experiments.run_dir.files import (
    RESULT,
    evaluation_path,
    json_text,
    plain_evaluation_path,
    read_json,
    write_json,
    written_at,
)
from experiments.run_dir.plain_text import plain_text
from experiments.run_dir.provenance import PACKAGES, now, provenance
from reformer_pl.config import ConfigError
from reformer_pl.metrics import DRAWS, KEYS_PER_TOKEN, SCORES
from reformer_pl.out_of_memory import is_out_of_memory

OK = "ok"
OOM = "oom"  # out of memory
FAILED = "failed"
TIMEOUT = "timeout"
WOULD_NOT_FIT = "would_not_fit"  # refused for its predicted memory
FAILURES = (OOM, FAILED, TIMEOUT, WOULD_NOT_FIT)  # which `run --retry` tries again
MISSING = "missing"  # of a reader: there is no result
CHANGED = "changed"  # of a reader: the directory holds a run of another config
UNEVALUATED = "unevaluated"  # of a reader: trained, without one of its evaluations
UNREADABLE = "unreadable"  # of a reader: a file that says how it ended cannot be read

STATUSES = (OK, *FAILURES)  # of a result.json

# How well the time of a step is known: quartiles in seconds, and what disturbed the timed steps.
# Null where the system does not count it.
STEP_NUMBERS = (
    "step_seconds_q1", "step_seconds_q3", "waited_share", "involuntary_switches",
    "device_is_shared",
)  # fmt: skip
# The numbers of a run's result.json: null where a run failed. Seconds of a step, and of training,
# are forward, backward and update, without making the batch. The last two are its overhead: from
# the start of the process to the first step, and from the end of the last step to the result. The
# held-out scores are a part of the latter.
RESULT_NUMBERS = (
    "steps", *(score.name for score in SCORES), KEYS_PER_TOKEN.name, "peak_memory_gib",
    "step_seconds",
    "tokens_per_second", "parameters", "train_seconds", "startup_seconds", "closing_seconds",
    "n_timed_steps", *STEP_NUMBERS,
)  # fmt: skip
# Those of a benchmark. Times are medians, and step_seconds is the whole. full_seconds and speedup
# (full / this) belong to `paired`.
BENCHMARK_NUMBERS = (
    "length", "batch_size", "n_layers", "n_repeats", "forward_seconds", "backward_seconds",
    "step_seconds", "step_seconds_iqr", "full_seconds", "speedup", "peak_memory_gib",
    "predicted_memory_gib", "tokens_per_second", "parameters",
    "speedup_q1", "speedup_q3", *STEP_NUMBERS,
)  # fmt: skip

Result = dict[str, Any]


class NotEvaluated(Exception):
    """A run that is trained was out of memory in an evaluation: its `result` stays.

    The error of the evaluation is the cause.
    """

    def __init__(self, result: Result) -> None:
        super().__init__("an evaluation was out of memory")
        self.result = result


def read_result(directory: Path) -> Result | None:
    """result.json, or None when the run is not done. Raises ConfigError where it is damaged."""
    path = directory / RESULT
    result = read_json(path)
    if result is None:
        return None
    reason = _disorder(result)
    if reason:
        raise ConfigError(f"{path} {reason}: move it away, and the next run makes it anew")
    if result.get("error") is not None:
        result["error"] = plain_text(result["error"])
    return result


def _is_named(scores: Any) -> bool:
    return isinstance(scores, dict) and isinstance(scores.get("name"), str)


def _disorder(result: Result) -> str:
    """Why this is no result; else empty."""
    if result.get("status") not in STATUSES:
        return "has no status"
    for key in ("baseline", "versions"):
        if not isinstance(result.get(key, {}), dict | None):
            return f"has {key} that are no keys and values"
    models = result.get("count_models") or []
    if not isinstance(models, list) or not all(_is_named(model) for model in models):
        return "has count_models that are no list of named scores"
    scores = [pair for one in (result.get("baseline") or {}, *models) for pair in one.items()]
    numbers = [(key, result.get(key)) for key in (*RESULT_NUMBERS, *DRAWS, *BENCHMARK_NUMBERS)]
    for key, value in [*numbers, *(pair for pair in scores if pair[0] != "name")]:
        if not isinstance(value, int | float | None):
            return f"has {key} that is no number"
    for key in ("error", "device", "git_commit", "finished_at"):
        if not isinstance(result.get(key), str | None):
            return f"has {key} that is no text"
    return ""


def result_row(directory: Path) -> Result | None:
    """`read_result`, where a result that cannot be read is a row like any failure.

    Its status is UNREADABLE, and its error names the file and what to do.
    """
    try:
        return read_result(directory)
    except ConfigError as error:
        return {"status": UNREADABLE, "error": str(error)}


def write_result(directory: Path, result: Result) -> None:
    write_json(directory / RESULT, result)


def is_ok(result: Result | None) -> bool:
    return result is not None and result["status"] == OK


def forget_result(directory: Path) -> None:
    """Of a failure that is tried again."""
    (directory / RESULT).unlink(missing_ok=True)


def read_evaluation(directory: Path, name: str, overrides: list[str]) -> Result | None:
    """The scores of a run under a named evaluation.

    None when there are none yet, and when they were made under other overrides. Raises ConfigError
    for a file that cannot be read.
    """
    paths = (evaluation_path(directory, name), plain_evaluation_path(directory, name))
    for path in dict.fromkeys(paths):
        scores = read_scores(path)
        # Another evaluation may have had the plain path.
        if scores and scores.get("overrides") == overrides and scores.get("name", name) == name:
            return scores
    return None


def read_scores(path: Path) -> Result | None:
    """The file of an evaluation; None where there is none. Raises ConfigError."""
    scores = read_json(path)
    for key in (*(score.name for score in SCORES), *DRAWS, KEYS_PER_TOKEN.name):
        if not isinstance((scores or {}).get(key), int | float | None):
            raise ConfigError(
                f"{path} has {key} that is no number: move it away, and the next run makes it anew"
            )
    return scores


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
    text = json_text(result)
    partial = write_partial(path, lambda place: place.write_text(text, encoding="utf-8"))
    if replace:
        put_in_place(partial, path)
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
    except NotEvaluated as error:  # of any rank, for it ends the others
        result = error.result
        if written_at(path) not in (None, before):
            return read_json(path)
    except Exception as error:  # printed here and recorded below
        oom = is_out_of_memory(error)
        if not oom and not isinstance(error, FloatingPointError):
            traceback.print_exc()
        first = first_line(error)
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


def first_line(error: BaseException) -> str:
    """An error as a result and a round keep it: its type, and the first line of its message."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0]}"
