"""The memory that each cell of a study will need, predicted before it starts.

`plan` shows it, and `run --memory-limit` refuses by it.
"""

import json
import math

from ablations.study.cell import Cell
from reformer_pl.config import RunConfig, flat, to_dict

# Keys that no memory depends on: cells that differ in nothing else share a prediction.
WITHOUT_MEMORY = (
    "seed", "out_dir", "evaluations", "optim.lr", "optim.betas", "optim.warmup_steps",
    "optim.schedule", "task.source", "task.eval_sequences", "task.curve_sequences",
    "trainer.max_steps", "trainer.eval_every_steps", "trainer.log_every_steps",
    "trainer.coverage_every_steps", "trainer.compile", "benchmark.paired",
    "benchmark.repeats", "benchmark.seconds", "benchmark.memory_limit_gib",
)  # fmt: skip


class Predictions:
    """GiB by kind of any config, each predicted once."""

    def __init__(self) -> None:
        self.predicted: dict[str, dict[str, float] | None] = {}

    def of(self, config: RunConfig) -> dict[str, float] | None:
        """`reformer_pl.measure.predict_run`."""
        key = memory_key(config)
        if key not in self.predicted:
            from reformer_pl.measure import predict_run  # torch takes seconds to import

            self.predicted[key] = predict_run(config)
        return self.predicted[key]


def memory_key(config: RunConfig) -> str:
    """Equal for two configs that need equally much."""
    values = flat(to_dict(config) | {"evaluations": {}})
    return json.dumps(
        {key: value for key, value in values.items() if key not in WITHOUT_MEMORY}, sort_keys=True
    )


def too_large(
    cells: dict[Cell, RunConfig], limit_gib: float | None, signals: list[int]
) -> dict[Cell, tuple[str, float]]:
    """The cells that are predicted above the limit: why, and the GiB. Stops early at a signal."""
    errors: dict[Cell, tuple[str, float]] = {}
    predictions = Predictions()
    for cell, config in cells.items():
        if limit_gib is None or signals:
            break
        predicted = predictions.of(config)
        if predicted is not None and predicted["total"] > limit_gib:
            total = predicted["total"]
            error = f"predicted to need {gib(total)} GiB, above --memory-limit {limit_gib:g}"
            errors[cell] = (error, total)
    return errors


def prediction_line(predicted: dict[str, float] | None) -> str:
    """One line: "0.123 GiB predicted (parameters 0.02, ...)"."""
    if predicted is None:
        return "no prediction for a public Reformer"
    kinds = [f"{kind} {gib(value)}" for kind, value in predicted.items() if kind != "total"]
    return f"{gib(predicted['total'])} GiB predicted ({', '.join(kinds)})"


def gib(value: float) -> str:
    """Three digits, from 0.000001 GiB on."""
    return f"{value:.{min(6, max(0, 2 - math.floor(math.log10(value))))}f}" if value else "0"
