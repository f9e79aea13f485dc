"""The memory that each cell of a study will need, predicted before it starts.

`plan` shows it, `plan --budget` turns it round, and `run --memory-limit` refuses by it.
"""

import dataclasses
import json

from ablations.study import Study, compose_cells
from ablations.study.cell import Cell
from experiments.terminal.units import memory
from reformer_pl.config import RunConfig, TaskConfig, flat, to_dict

# Keys that no memory depends on: cells that differ in nothing else share a prediction.
WITHOUT_MEMORY = (
    "seed", "out_dir", "evaluations", "optim.lr", "optim.betas", "optim.weight_decay",
    "optim.warmup_steps", "optim.schedule", "task.source", "task.eval_sequences",
    "task.curve_sequences",
    "trainer.max_steps", "trainer.eval_every_steps", "trainer.log_every_steps",
    "trainer.coverage_every_steps", "trainer.compile", "benchmark.paired",
    "benchmark.repeats", "benchmark.seconds", "benchmark.memory_limit_gib",
    "benchmark.predict_only",
)  # fmt: skip


class Predictions:
    """GiB by kind of any config, each predicted once, for the device that it would get.

    `for_gpu` says that it would get a GPU, also where this machine has none.
    """

    def __init__(self, for_gpu: bool = False) -> None:
        self.for_gpu = for_gpu
        self.predicted: dict[str, dict[str, float] | None] = {}

    def of(self, config: RunConfig) -> dict[str, float] | None:
        """`reformer_pl.measure.predict_run`."""
        key = memory_key(config)
        if key not in self.predicted:
            from experiments.device import device_kind  # torch takes seconds to import
            from reformer_pl.measure import predict_run

            gets_gpu = self.for_gpu and config.trainer.accelerator != "cpu"
            device = "cuda" if gets_gpu else device_kind(config)
            self.predicted[key] = predict_run(config, device)
        return self.predicted[key]

    def needed_gib(self, config: RunConfig) -> float | None:
        """What must be free for it; None for a public Reformer."""
        predicted = self.of(config)
        if predicted is None:
            return None
        from reformer_pl.measure import needed_gib

        return needed_gib(predicted)


def memory_key(config: RunConfig) -> str:
    """Equal for two configs that need equally much."""
    values = flat(to_dict(config) | {"evaluations": {}})
    return json.dumps(
        {key: value for key, value in values.items() if key not in WITHOUT_MEMORY}, sort_keys=True
    )


def too_large(
    cells: dict[Cell, RunConfig],
    limit_gib: float | None,
    signals: list[int],
    for_gpu: bool = False,
) -> dict[Cell, tuple[str, float]]:
    """The cells that are predicted above the limit: why, and the GiB. Stops early at a signal."""
    errors: dict[Cell, tuple[str, float]] = {}
    predictions = Predictions(for_gpu)
    for cell, config in cells.items():
        if limit_gib is None or signals:
            break
        if config.benchmark.predict_only:
            continue
        needed = predictions.needed_gib(config)
        if needed is not None and needed > limit_gib:
            error = f"predicted to need {memory(needed)}, above --memory-limit {limit_gib:g}"
            errors[cell] = (error, needed)
    return errors


def print_longest(study: Study, budget: str, for_gpu: bool) -> int:
    """A line for each variant: the longest sequence that the budget holds. Returns the exit code.

    Cells that differ in nothing but length and seed are one variant, named by the first.
    """
    from reformer_pl.memory.longest import longest_length, read_budget

    budget_gib, predictions = read_budget(budget), Predictions(for_gpu)
    names: dict[str, tuple[str, RunConfig]] = {}
    for cell, config in zip(study.cells, compose_cells(study), strict=True):
        values = memory_key(dataclasses.replace(config, task=_without_length(config)))
        names.setdefault(values, (cell.name, config))
    for name, config in names.values():
        if predictions.needed_gib(config) is None:
            print(f"# {name}: no prediction for a public Reformer", flush=True)
            continue
        longest = longest_length(config, budget_gib, predictions.needed_gib)
        if longest is None:
            line = f"no length fits into {budget}"
        else:
            length, needed = longest
            line = f"{length:,} tokens fit into {budget}, {memory(needed)}"
        batch = f"batch {config.task.batch_size // config.trainer.devices} a process"
        if config.optim.accumulate > 1:
            batch += f" in {config.optim.accumulate} micro-batches"
        print(f"# {name}: {line} ({batch})", flush=True)
    return 0


def _without_length(config: RunConfig) -> TaskConfig:
    return dataclasses.replace(config.task, length=0)


def prediction_line(predicted: dict[str, float] | None) -> str:
    """One line: "126 MiB predicted (parameters 20.5 MiB, ...)"."""
    if predicted is None:
        return "no prediction for a public Reformer"
    sums = ("total", "reserved")
    kinds = [f"{kind} {memory(value)}" for kind, value in predicted.items() if kind not in sums]
    reserved = predicted.get("reserved")
    where = "" if reserved is None else f" on a GPU, in segments of {memory(reserved)}"
    return f"{memory(predicted['total'])} predicted{where} ({', '.join(kinds)})"
