"""rounds.jsonl: the times of a cell, measured again and again in turn with those of its study.

A row is one round of one cell, measured in a process of its own. It has the times of a result, the
number of its round (`round`), and the seconds that its process took (`wall_seconds`). A row with an
`error` has no times: that cell is measured no more. The result of a benchmark is its first round.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from experiments.run_dir.durable import replace_text
from experiments.run_dir.files import ROUNDS, append_rows, json_text
from experiments.run_dir.outcome import Result, is_ok
from experiments.run_dir.reading import read_bytes
from experiments.run_dir.rows import parse_object, read_rows
from experiments.times.disturbed import is_disturbed

Round = dict[str, Any]

# What a round measures again. Those of a cell are the medians over its rounds.
ROUND_NUMBERS = (
    "step_seconds", "step_seconds_q1", "step_seconds_q3", "step_seconds_iqr", "forward_seconds",
    "backward_seconds", "full_seconds", "speedup", "speedup_q1", "speedup_q3", "waited_share",
)  # fmt: skip
COUNTED = ("n_repeats", "n_timed_steps", "involuntary_switches")  # sums over the rounds


def append_round(directory: Path, row: Round) -> None:
    """Behind the whole rows: half a row of a process that was killed goes."""
    path = directory / ROUNDS
    text = (read_bytes(path) or b"").decode(errors="replace")
    if text and not text.endswith("\n"):
        replace_text(path, text[: text.rfind("\n") + 1])
    append_rows(path, [row])


def forget_rounds(directory: Path) -> None:
    """Of a run that starts over."""
    (directory / ROUNDS).unlink(missing_ok=True)


def forget_failed_rounds(directory: Path) -> None:
    """Of a cell that is tried again: its rows with an error."""
    path = directory / ROUNDS
    rows = read_rows(path, parse=parse_round)
    kept_rows = [row for row in rows if "error" not in row]
    if len(kept_rows) < len(rows):
        replace_text(path, "".join(json_text(row, indent=None) for row in kept_rows))


def read_rounds(directory: Path, result: Result | None) -> list[Round]:
    """The rounds of a run that ended with `result`; none of one that did not end well."""
    if not is_ok(result):
        return []
    # Of a benchmark the run itself is one. Its "error" is null, and that of a round says why it
    # failed.
    first = {key: value for key, value in result.items() if key != "error"} | {"round": 1}
    own = [first] if "measure" in result else []
    return own + read_rows(directory / ROUNDS, parse=parse_round)


def parse_round(line: str) -> Round | None:
    """None of a damaged row: a round has its number, and each of its times is a number or null."""
    row = parse_object(line)
    if row is None or type(row.get("round")) is not int:
        return None
    times = (row.get(name) for name in (*ROUND_NUMBERS, *COUNTED))
    return row if all(value is None or isinstance(value, int | float) for value in times) else None


def measured(rounds: Iterable[Round]) -> list[Round]:
    """Those with times. Of two of one number, which a killed driver may leave, the last."""
    by_number = {row["round"]: row for row in rounds if row.get("step_seconds")}
    return list(by_number.values())


def kept(rounds: Iterable[Round]) -> list[Round]:
    """The rounds whose times count: those that nothing disturbed, or all where each one was."""
    rounds = measured(rounds)
    return [row for row in rounds if not is_disturbed(row)] or rounds


def over_rounds(result: Result, rounds: Sequence[Round]) -> Result:
    """A result whose times are medians over the rounds that count.

    It gains `n_rounds`, which is None where there are none; `disturbed`, where every round was; and
    `training_is_disturbed`, for the seconds that stay those of the run itself.
    """
    rounds = kept(rounds)
    own = is_disturbed(result)
    if not rounds:
        return {**result, "n_rounds": None, "disturbed": own, "training_is_disturbed": own}
    numbers: dict[str, Any] = {}
    for name in ROUND_NUMBERS:
        values = [row[name] for row in rounds if row.get(name) is not None]
        numbers[name] = median(values) if values else None
    for name in COUNTED:
        if name in result:
            key = "n_repeats" if name == "n_timed_steps" else name
            numbers[name] = sum(row.get(key) or 0 for row in rounds)
    tokens, seconds = result.get("tokens_per_second"), result.get("step_seconds")
    if tokens and seconds:
        numbers["tokens_per_second"] = tokens * seconds / numbers["step_seconds"]
    if any(row.get("device_is_shared") for row in rounds):
        numbers["device_is_shared"] = True
    everywhere = all(is_disturbed(row) for row in rounds)
    return {
        **result,
        **{name: value for name, value in numbers.items() if name in result or value is not None},
        "n_rounds": len(rounds),
        "disturbed": everywhere,
        "training_is_disturbed": own,
    }


def ratios(rounds: Iterable[Round], base: Iterable[Round]) -> tuple[list[float], bool]:
    """(seconds of a step over those of the base, one a round, whether something disturbed them).

    Rounds in which neither was disturbed; where there is none, all that both have.
    """
    other = {row["round"]: row for row in measured(base)}
    pairs = [(row, other[row["round"]]) for row in measured(rounds) if row["round"] in other]
    quiet = [pair for pair in pairs if not any(map(is_disturbed, pair))]
    values = [this["step_seconds"] / first["step_seconds"] for this, first in quiet or pairs]
    return values, bool(pairs) and not quiet
