"""`per_layer`: what one more layer costs, its memory split into what its parameters need, the sort
order of LSH, and the rest.
"""

import pandas as pd

from ablations.report.benchmark_rows import (
    COUNTED,
    by_place,
    disturbed_at,
    grid_rows,
    made_on,
    memory_words,
    not_measured,
    shape_words,
    slope,
    three_digits,
    two_decimals,
    value_or_status,
)
from ablations.report.drawing.figure import Drawing
from ablations.report.drawing.looks import variant_looks
from ablations.report.figures.growth import growth
from ablations.report.judged import composed
from ablations.report.table import Row, Table, Value, if_disturbed
from ablations.study import Study
from ablations.study.grid import Grid
from reformer_pl.metrics import MEMORY_MIB

BYTES_TRAINED = 16  # of a parameter in fp32: itself, its gradient, Adam's two moments
ORDER_BYTES = 8  # per token, head and round: `reformer_pl.lsh.plan.Plan`
MEBIBYTE = 2**20


def tables(study: Study, cells: pd.DataFrame) -> list[Table]:
    (grid,) = study.grids
    rows = grid_rows(grid, cells)
    memory, data = by_place(rows, "peak_memory_mib"), layer_data(grid, rows)
    lines = []
    for row in data.itertuples():
        variant, measured = row.variant, memory.loc[row.variant]
        entries = (
            *(value_or_status(rows, variant, at, measured[at]) for at in memory.columns),
            two_decimals(row.memory_mib_per_layer),
            two_decimals(row.trained_mib_per_layer),
            two_decimals(row.sort_order_mib_per_layer),
            two_decimals(row.rest_mib_per_layer),
            if_disturbed(three_digits(row.seconds_per_layer), row.seconds_are_disturbed),
            Value(measured.notna().sum()),
        )
        lines.append(Row(variant, entries, variant))
    header = (
        "variant",
        *(f"MiB at {at}" for at in memory.columns),
        "MiB a layer",
        "parameters' MiB",
        "sort order",
        "the rest",
        "s a layer",
        "n",
    )
    caption = (
        f"What one more layer adds to {COUNTED[grid.measure]}: slopes of least-squares lines over "
        f"the n numbers of layers that ran{shape_words(grid, rows)}. “Parameters” are a layer's "
        "parameters, their gradients and Adam's two moments, in fp32; the “sort order” of LSH is 8 "
        "bytes per token, head and round; “the rest” is what else is kept for the backward pass."
    )
    return [Table("per_layer", caption + made_on(grid, rows), header, tuple(lines), data)]


def figures(study: Study, cells: pd.DataFrame, tables: list[Table]) -> list[Drawing]:
    (grid,) = study.grids
    rows = grid_rows(grid, cells)
    caption = (
        f"Peak memory against the number of layers{shape_words(grid, rows)}; {memory_words(grid)}."
        f"{not_measured(rows)}"
    )
    looks = variant_looks(study, "per_layer", "lines")
    figure = growth(rows, "peak_memory_mib", MEMORY_MIB.axis, looks=looks)
    return [Drawing("per_layer", caption + looks.words, figure)]


def layer_data(grid: Grid, rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each variant: the slopes of memory (MiB), seconds and parameters over the layers,
    and the parts of the memory's.
    """
    layers, variants = by_place(rows, "n_layers").mean(), rows["variant"].unique()
    data = pd.DataFrame({"variant": variants})
    for column, name in (
        ("memory_mib", "peak_memory_mib"),
        ("seconds", "step_seconds"),
        ("parameters", "parameters"),
    ):
        values = by_place(rows, name)
        data[f"{column}_per_layer"] = [slope(layers, values.loc[variant]) for variant in variants]
    data["seconds_are_disturbed"] = [
        any(disturbed_at(rows, variant, at) for at in rows["at"].unique()) for variant in variants
    ]
    data["trained_mib_per_layer"] = data["parameters_per_layer"] * BYTES_TRAINED / MEBIBYTE
    data["sort_order_mib_per_layer"] = [
        sort_order_bytes(grid, variant) / MEBIBYTE for variant in variants
    ]
    data["rest_mib_per_layer"] = (
        data["memory_mib_per_layer"]
        - data["trained_mib_per_layer"]
        - data["sort_order_mib_per_layer"]
    )
    return data


def sort_order_bytes(grid: Grid, variant: str) -> float:
    """What one layer of LSH keeps to reach the same keys in the backward pass, averaged over the
    pattern's words; 0 for other attention.
    """
    config = composed(grid.first_cells()[variant].overrides)
    model, task = config.model, config.task
    words, chunk_len = model.attention.split(), model.lsh.chunk_len
    padded = -(-task.length // chunk_len) * chunk_len
    orders = task.batch_size * model.n_heads * model.lsh.n_hashes * padded
    return ORDER_BYTES * orders * words.count("lsh") / len(words)
