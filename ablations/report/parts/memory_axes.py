"""`memory_axes`: memory against each axis that grows, a panel a grid: predicted as far as the study
asks, and measured where it ran.
"""

import math

import pandas as pd

from ablations.report.benchmark_rows import COUNTED, DTYPES, grid_rows
from ablations.report.drawing.figure import Drawing
from ablations.report.figures.memory_panels import MemoryPanel, count_text, memory_panels
from ablations.report.judged import composed
from ablations.report.numbers import digits
from ablations.report.table import Row, Table, Value
from ablations.study import Study
from ablations.study.axes.choices import number_of
from ablations.study.grid import Grid
from experiments.run_dir.outcome import OK
from reformer_pl.config import RunConfig, flat, to_dict
from reformer_pl.config.plain_values import last_word
from reformer_pl.metrics import memory_metric

# Bytes of a weight and of a score, by trainer.precision.
BYTES = {"32-true": (4, 4), "bf16-mixed": (4, 2), "64-true": (8, 8)}
STATES = {"adafactor": 0}  # of a weight in the optimiser: what is no matrix's is little; else 2
LENGTH, LAYERS, BATCH = "task.length", "model.n_layers", "task.batch_size"
NAMES = {LENGTH: "length", LAYERS: "layers", BATCH: "batch"}


def tables(study: Study, cells: pd.DataFrame) -> list[Table]:
    """A row a variant: what is predicted at the end of each axis, and how exact it was."""
    data = memory_data(study, cells)
    metric = memory_metric(data["predicted_memory_gib"].max())
    last = {grid.name: data[data["grid"] == grid.name]["place"].max() for grid in study.grids}
    ends = data[data["place"] == data["grid"].map(last)].copy()
    ends["shown"] = metric.scale * ends["predicted_memory_gib"]
    by_variant = ends.pivot(index="variant", columns="grid", values="shown")
    lines = []
    for variant in data["variant"].unique():
        ratios = data.loc[data["variant"] == variant, "ratio"].dropna()
        shown = [by_variant[name].get(variant, math.nan) for name in last]
        entries = (
            *(
                Value(value, places=digits(by_variant[name]))
                for name, value in zip(last, shown, strict=True)
            ),
            Value(ratios.mean(), ratios.min(), ratios.max(), places=3, is_range=True),
            Value(len(ratios)),
        )
        lines.append(Row(variant, entries, variant))
    heads = [
        f"{_name(grid)} {count_text(end)} ({metric.suffix})"
        for grid, end in zip(study.grids, last.values(), strict=True)
    ]
    header = ("variant", *heads, "measured / predicted", "n")
    (measure, *_) = study.grids
    config = composed(measure.cells[0].overrides)
    caption = (
        f"Peak memory of {COUNTED[measure.measure]}, predicted at the end of each axis, the other "
        f"axes as in the figure; {DTYPES[config.trainer.precision]}. Measured / predicted is the "
        "mean over the n places of all axes that ran, from lowest to highest."
    )
    return [Table("memory_axes", caption, header, tuple(lines), data)]


def figures(study: Study, cells: pd.DataFrame, tables: list[Table]) -> list[Drawing]:
    data = tables[0].data
    panels = [
        MemoryPanel(_name(grid), shared_words(study, grid), data[data["grid"] == grid.name])
        for grid in study.grids
    ]
    caption = (
        f"Peak memory of {COUNTED[study.grids[0].measure]} against each axis, the others as in the "
        "head of the panel: predicted on fake tensors (lines) and measured where it ran (points). "
        "Where a line runs along the grey area, the step holds little beside the weights."
    )
    return [Drawing("memory_axes", caption, memory_panels(panels))]


def memory_data(study: Study, cells: pd.DataFrame) -> pd.DataFrame:
    """A row for each variant and place of each grid: `place` is the number on the axis, and
    predicted_memory_gib and peak_memory_gib are means over the seeds.

    `weights_gib` is what weights, gradients and the optimiser's state take, which no choice of
    attention, residual or chunks changes. `scores_gib` is one layer's score matrix, had it been
    stored; along an axis of lengths alone.
    """
    return pd.concat([_grid_data(grid, cells) for grid in study.grids], ignore_index=True)


def _grid_data(grid: Grid, cells: pd.DataFrame) -> pd.DataFrame:
    rows = grid_rows(grid, cells)
    ended = rows["status"] == OK
    rows["peak_memory_gib"] = rows["peak_memory_gib"].where(ended)
    numbers = ["predicted_memory_gib", "peak_memory_gib", "parameters"]
    rows[numbers] = rows[numbers].astype(float)
    data = rows.groupby(["variant", "at"], sort=False)[numbers].mean().reset_index()
    data.insert(0, "grid", grid.name)
    places = {at: number_of(at, grid.grown or "") for at in data["at"]}
    data.insert(3, "place", data["at"].map(places).astype(float))
    configs = {grid.place(cell): composed(cell.overrides) for cell in grid.cells}
    own = [configs[place] for place in zip(data["variant"], data["at"], strict=True)]
    copies = [trained_bytes(config) if grid.measure == "step" else math.nan for config in own]
    data["weights_gib"] = data.pop("parameters") * copies / 2**30
    is_length = grid.grown == "length"
    data["scores_gib"] = [score_bytes(c) / 2**30 if is_length else math.nan for c in own]
    data["ratio"] = data["peak_memory_gib"] / data["predicted_memory_gib"]
    labels = rows.drop_duplicates(["variant", "at"])["train"]
    data["cell"] = labels.to_list()
    return data


def trained_bytes(config: RunConfig) -> int:
    """Of one weight: itself, its gradient, and the optimiser's state."""
    weight, _ = BYTES[config.trainer.precision]
    return weight * (2 + STATES.get(config.optim.name, 2))


def score_bytes(config: RunConfig) -> int:
    """Of one layer's scores of every query with every key: the paper's b n_h l² (section 2)."""
    _, score = BYTES[config.trainer.precision]
    task = config.task
    return score * task.batch_size * config.model.n_heads * task.length**2


def shared_words(study: Study, grid: Grid) -> str:
    """ "4 layers, batch 1": the values here of what grows in the other grids."""
    values = flat(to_dict(composed(grid.cells[0].overrides)) | {"evaluations": {}})
    words = []
    for key in dict.fromkeys(_grown_key(other) for other in study.grids):
        if key in values and key != _grown_key(grid):
            number = f"{values[key]:,}"
            layers = f"{number} layer{'' if values[key] == 1 else 's'}"
            words.append(layers if key == LAYERS else f"{NAMES.get(key, last_word(key))} {number}")
    return ", ".join(words)


def _grown_key(grid: Grid) -> str:
    """The key of the config that grows; a named axis of lengths or layers stands for one."""
    axis = next(axis for axis in grid.axes if last_word(axis) == grid.grown)
    return {"length": LENGTH, "n_layers": LAYERS}.get(axis, axis)


def _name(grid: Grid) -> str:
    """What grows, as an axis says it."""
    return NAMES.get(_grown_key(grid), grid.grown or "")
