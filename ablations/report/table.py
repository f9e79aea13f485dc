"""The tables of a report: numbers to compare, as text to print and as a plain frame to compute with.

`train_eval` is the paper's Table 2, `train_cost` what each training took, `loss_memory` held-out loss against memory and time.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ablations.report.intervals import mean_interval
from ablations.report.numbers import MISSING, digits, number, with_interval
from ablations.report.pareto import pareto_front
from ablations.report.seeds import by_label, ended_badly, over_seeds, seeds_text, side_by_side
from ablations.results import OWN, labels
from ablations.study import Study
from experiments.run_dir.outcome import OK


@dataclass(frozen=True)
class Table:
    """`rows` of text under `header`, the first column a label; `best` are the (row, column) to set in bold; `data` are the bare numbers."""

    name: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]]
    data: pd.DataFrame


def score(study: Study) -> str:
    """What a study is judged by: accuracy where it trains and evaluates under different attention, else bits_per_dim."""
    return "accuracy" if "train_eval" in study.report else "bits_per_dim"


def train_eval(study: Study, cells: pd.DataFrame, results: pd.DataFrame) -> Table:
    """Table 2: accuracy in % by attention trained with (rows) and evaluated with (columns), the paper's numbers below ours."""
    names = list(study.evaluations) or [OWN]
    finished = results[results["status"] == OK].groupby(["train", "eval"], sort=False)["accuracy"]
    grid = pd.MultiIndex.from_product([labels(study), names], names=["train", "eval"])
    data = finished.agg(["mean", "count"]).reindex(grid)
    data.columns = ["accuracy_mean", "n"]
    data["n"] = data["n"].fillna(0).astype(int)
    intervals = {place: mean_interval(values) for place, values in finished}
    for i, end in enumerate(("accuracy_low", "accuracy_high")):
        data[end] = [intervals.get(place, (math.nan, math.nan))[i] for place in grid]
    data["paper_accuracy"] = [
        float(study.paper.get("train_eval", {}).get(train, {}).get(name, math.nan))
        for train, name in grid
    ]

    rows, ours = [], []
    for train in labels(study):
        found = data.loc[train].reindex(names)
        ours.append(len(rows))
        texts = [
            with_interval(
                100 * row.accuracy_mean, 100 * row.accuracy_low, 100 * row.accuracy_high, 1
            )
            for row in found.itertuples()
        ]
        word = ended_badly(cells.loc[cells["train"] == train, "status"])
        rows.append(
            (
                train,
                *(word if text == MISSING else text for text in texts),
                seeds_text(cells, train),
            )
        )
        if "train_eval" in study.paper:
            rows.append(
                (
                    f"{train}, paper",
                    *(number(100 * value, 1) for value in found["paper_accuracy"]),
                    "",
                )
            )
    means = [
        [data.loc[(train, name), "accuracy_mean"] for train in labels(study)] for name in names
    ]
    best = {
        (ours[i], column)
        for column, values in enumerate(means, 1)
        for i in best_of([round(100 * v, 1) for v in values], max)
    }
    caption = f"Held-out accuracy in %, by the attention trained with (rows) and evaluated with (columns){over_seeds(study)}."
    for name, baseline in baselines(cells).items():
        caption += (
            f" A model that knows nothing ({name}) gets {number(100 * baseline['accuracy'], 1)}."
        )
    if "train_eval" in study.paper:
        caption += " Rows marked “paper” are the numbers the paper prints."
    return Table(
        "train_eval",
        caption,
        ("trained with", *names, "seeds"),
        tuple(rows),
        frozenset(best),
        data.reset_index(),
    )


def train_cost(study: Study, cells: pd.DataFrame) -> Table:
    """What each training took: steps, seconds in all, how many seeds ended well; and seconds a step, where cells ran alone (`timed`)."""
    data = by_label(study, cells, ("steps", "step_seconds", "train_seconds"))
    rows, header = (
        [],
        ("trained with", "steps", *(["s/step"] if study.timed else []), "training (s)", "seeds"),
    )
    for row in data.itertuples():
        per_step = (
            [mean_text(cells, row, "step_seconds", digits(data["step_seconds_mean"]))]
            if study.timed
            else []
        )
        seconds = mean_text(cells, row, "train_seconds", 0)
        rows.append(
            (row.train, number(row.steps, 0), *per_step, seconds, seeds_text(cells, row.train))
        )
    caption = (
        f"What each training cost, without evaluation{over_seeds(study)}.{side_by_side(study)}"
    )
    return Table("train_cost", caption, header, tuple(rows), frozenset(), data)


def loss_memory(study: Study, cells: pd.DataFrame) -> Table:
    """Held-out loss, peak memory and time of each variant, ratios to the first, and the model that knows nothing as the last row.

    The variants on the Pareto front of score and memory are marked: no other needs at most their memory and scores at least as well.
    """
    judged, unit_gib = score(study), cells["peak_memory_gib"].max() >= 1
    data = by_label(
        study,
        cells,
        (judged, "loss_nats", "peak_memory_gib", "step_seconds", "tokens_per_second", "parameters"),
    )
    for name in ("peak_memory_gib", "step_seconds"):
        data[f"{name}_ratio"] = data[f"{name}_mean"] / data[f"{name}_mean"].iloc[0]
    front = pareto_front(
        data["peak_memory_gib_mean"], data[f"{judged}_mean"], higher_is_better=judged == "accuracy"
    )
    data["pareto_front"] = pd.array(front, dtype="boolean")  # missing in the baseline's row
    memory = data["peak_memory_gib_mean"] * (1 if unit_gib else 1024)
    scale, places = (100, 1) if judged == "accuracy" else (1, 3)

    rows = [
        (
            row.train, mean_text(cells, row, judged, places, scale), number(row.loss_nats_mean, 3),
            mean_text(cells, row, "peak_memory_gib", digits(memory), 1 if unit_gib else 1024), number(row.peak_memory_gib_ratio, 2),
            mean_text(cells, row, "step_seconds", digits(data["step_seconds_mean"])), number(row.step_seconds_ratio, 2),
            number(row.tokens_per_second_mean, 0), number(row.parameters, 0), "yes" if row.pareto_front else "", row.seeds,
        )
        for row in data.itertuples()
    ]  # fmt: skip
    best = {
        (i, 1)
        for i in best_of(
            (scale * data[f"{judged}_mean"]).round(places), max if judged == "accuracy" else min
        )
    }
    best |= {(i, 3) for i in best_of(memory.round(digits(memory)), min)}
    best |= {
        (i, 5)
        for i in best_of(data["step_seconds_mean"].round(digits(data["step_seconds_mean"])), min)
    }
    for name, baseline in baselines(cells).items():
        value = number(scale * baseline[judged], places)
        rows.append((name, value, number(baseline["loss_nats"], 3), *[MISSING] * 6, "", "baseline"))
        data.loc[len(data), ["train", f"{judged}_mean", "loss_nats_mean"]] = [
            name,
            baseline[judged],
            baseline["loss_nats"],
        ]
    said = "accuracy (%)" if judged == "accuracy" else "bits per dim"
    memory_said, costs = (
        f"memory ({'GiB' if unit_gib else 'MiB'})",
        ("s/step", "time ratio", "tokens/s", "parameters"),
    )
    header = (
        "variant",
        said,
        "loss (nats)",
        memory_said,
        "memory ratio",
        *costs,
        "Pareto front",
        "seeds",
    )
    caption = f"Held-out loss, peak memory of one training step, and speed{over_seeds(study)}. Ratios are to {labels(study)[0]}."
    caption += (
        " On the Pareto front: no other variant needs as little memory and scores as well."
        + side_by_side(study)
    )
    return Table("loss_memory", caption, header, tuple(rows), frozenset(best), data)


def mean_text(cells: pd.DataFrame, row: Any, column: str, places: int, scale: float = 1) -> str:
    """A column's mean and interval in one row of `seeds.by_label`; where no seed ended well, the word for how they ended."""
    mean, low, high = (scale * getattr(row, f"{column}_{part}") for part in ("mean", "low", "high"))
    if pd.isna(mean):
        return ended_badly(cells.loc[cells["train"] == row.train, "status"])
    return with_interval(mean, low, high, places)


def baselines(cells: pd.DataFrame) -> dict[str, dict[str, float]]:
    """What a model that knows nothing gets, by name, once for each different value."""
    found: dict[str, dict[str, float]] = {}
    for baseline in cells["baseline"].dropna():
        same = [name for name, other in found.items() if name.startswith(baseline["name"])]
        if all(
            round(found[name]["loss_nats"], 3) != round(baseline["loss_nats"], 3) for name in same
        ):
            found[baseline["name"] + (f" ({len(same) + 1})" if same else "")] = baseline
    return found


def best_of(values: Iterable[float], choose: Callable[[list[float]], float]) -> list[int]:
    """The places of the best number, ties included; none where there is nothing to compare."""
    values = list(values)
    known = [value for value in values if not pd.isna(value)]
    return [i for i, value in enumerate(values) if value == choose(known)] if len(known) > 1 else []
