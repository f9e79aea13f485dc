"""The rows that a run's JSON-lines files should have, and which of them are gone.

A config says how often a run writes: trainer.log_every_steps, eval_every_steps and
coverage_every_steps. What lacks is reported and never invented.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from experiments.run_dir.reading import read_bytes

Row = dict[str, Any]
MOST_RANGES = 3  # that a sentence names


def read_rows(
    path: Path, last: int | None = None, parse: Callable[[str], Row | None] | None = None
) -> list[Row]:
    """The whole rows of a JSON-lines file, or those in its last so many bytes.

    Damaged rows are left out, and so is what follows the last newline: half a row of a run that is
    writing or was killed. Raises ConfigError for a file that cannot be read.
    """
    lines = (read_bytes(path, last) or b"").decode(errors="replace").split("\n")[:-1]
    return [row for row in map(parse or parse_row, lines) if row is not None]


def parse_row(line: str) -> Row | None:
    """None of a damaged one: a row has its step and otherwise numbers, and the name of its part."""
    row = parse_step(line)
    if row is None:
        return None
    numbers = (value for name, value in row.items() if name != "split")
    whole = all(value is None or isinstance(value, int | float) for value in numbers)
    return row if whole and isinstance(row.get("split", ""), str) else None


def parse_step(line: str) -> Row | None:
    """None of a line that is no whole object with a step."""
    row = parse_object(line)
    return row if row is not None and type(row.get("step")) is int and row["step"] >= 0 else None


def parse_object(line: str) -> Row | None:
    """None of a line that is no whole JSON object."""
    if "\ufffd" in line:  # bytes that are no UTF-8
        return None
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def missing_metrics(
    rows: Iterable[Row],
    config: Row,
    end: int | None = None,
    splits: tuple[str, ...] = ("train", "valid"),
) -> list[int]:
    """The steps up to `end` whose row of training or evaluation lacks.

    `config` are the plain values of config.yaml. Without `end` it is the step of the last row.
    """
    trainer = _trainer(config)
    present = {(row["step"], row.get("split")) for row in rows}
    last = max((step for step, _ in present), default=0) if end is None else end
    split_steps = {
        "train": _multiples(trainer.get("log_every_steps"), last),
        "valid": _multiples(trainer.get("eval_every_steps"), last),
    }
    if end is not None and end == trainer.get("max_steps") and split_steps["valid"] is not None:
        split_steps["valid"].add(end)
    if end is None:  # the evaluation of the last step may be at work
        (split_steps["valid"] or set()).discard(last)
    return sorted(
        {
            step
            for split, steps in split_steps.items()
            for step in (steps or () if split in splits else ())
            if (step, split) not in present
        }
    )


def missing_coverage(rows: Iterable[Row], config: Row, end: int | None = None) -> list[int]:
    """The steps up to `end` that lack in coverage.jsonl, where the config asks for it."""
    trainer, model = _trainer(config), config.get("model")
    words = str(model.get("attention", "")).split() if isinstance(model, dict) else []
    present = {row["step"] for row in rows}
    last = max(present, default=0) if end is None else end
    steps = _multiples(trainer.get("coverage_every_steps"), last)
    if steps is None or "lsh" not in words:
        return []
    steps |= {0} if last or present else set()
    if end is not None and end == trainer.get("max_steps"):
        steps.add(end)
    return sorted(steps - present)


def steps_text(missing: list[int], present: Iterable[int]) -> str:
    """ "the rows of steps 20 to 60 and 80", where 70 is present; long lists are cut."""
    if len(missing) == 1:
        return f"the rows of step {missing[0]}"
    gone, ranges = set(missing), []
    for step in sorted(gone.union(present)):
        if step not in gone:
            ranges.append([])
        elif not ranges or not ranges[-1]:
            ranges.append([step, step])
        else:
            ranges[-1][1] = step
    pairs = [pair for pair in ranges if pair]
    texts = [str(first) if first == last else f"{first} to {last}" for first, last in pairs]
    if len(texts) > MOST_RANGES:
        texts = [*texts[:MOST_RANGES], f"{len(texts) - MOST_RANGES} more"]
    listed = " and ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else texts[0]
    return f"the rows of steps {listed}"


def _trainer(config: Row) -> Row:
    trainer = config.get("trainer")
    return trainer if isinstance(trainer, dict) else {}


def _multiples(every: Any, last: int) -> set[int] | None:
    """None where a config does not say how often; none at 0, which is never."""
    if type(every) is not int or every < 1:
        return None
    return set(range(every, last + 1, every))
