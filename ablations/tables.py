"""The tables of a report: numbers to compare, as text to print and as a plain frame to compute with.

`train_eval` is the paper's Table 2, `train_cost` what each training took, `loss_memory` held-out loss against memory and time.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pandas as pd

from ablations.results import COUNTS, OWN, labels, load_results
from ablations.study import Study

MISSING = "-"


@dataclass(frozen=True)
class Table:
    """`rows` of text under `header`, the first column a label; `best` are the (row, column) to set in bold; `data` are the bare numbers."""

    name: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]]
    data: pd.DataFrame


def study_tables(study: Study, cells: pd.DataFrame) -> list[Table]:
    """The tables the study asks for, from `results.load_cells` and the evaluations."""
    tables = []
    if "train_eval" in study.report:
        tables += [train_eval(study, cells, load_results(study)), train_cost(study, cells)]
    if "loss_memory" in study.report:
        tables.append(loss_memory(study, cells))
    if "coverage" in study.report:
        from ablations.coverage import coverage_table  # late: it builds on this file

        tables.append(coverage_table(study, cells))
    return tables or [loss_memory(study, cells)]


def score(study: Study) -> str:
    """What a study is judged by: accuracy where it trains and evaluates under different attention, else bits_per_dim."""
    return "accuracy" if "train_eval" in study.report else "bits_per_dim"


def train_eval(study: Study, cells: pd.DataFrame, results: pd.DataFrame) -> Table:
    """Table 2: accuracy in % by attention trained with (rows) and evaluated with (columns), the paper's numbers below ours."""
    names = list(study.evaluations) or [OWN]
    finished = results[results["status"] == "ok"].groupby(["train", "eval"], sort=False)["accuracy"]
    grid = pd.MultiIndex.from_product([labels(study), names], names=["train", "eval"])
    data = finished.agg(["mean", "std", "count"]).reindex(grid)
    data.columns = ["accuracy_mean", "accuracy_sd", "n"]
    data["n"] = data["n"].fillna(0).astype(int)
    data["paper_accuracy"] = [float(study.paper.get("train_eval", {}).get(train, {}).get(name, math.nan)) for train, name in grid]

    rows, ours = [], []
    for train in labels(study):
        found = data.loc[train].reindex(names)
        ours.append(len(rows))
        texts = [mean_sd(100 * row.accuracy_mean, 100 * row.accuracy_sd, 1) for row in found.itertuples()]
        rows.append((train, *texts, seeds_text(cells, train)))
        if "train_eval" in study.paper:
            rows.append((f"{train}, paper", *(number(100 * value, 1) for value in found["paper_accuracy"]), ""))
    means = [[data.loc[(train, name), "accuracy_mean"] for train in labels(study)] for name in names]
    best = {(ours[i], column) for column, values in enumerate(means, 1) for i in best_of([round(100 * v, 1) for v in values], max)}
    caption = f"Held-out accuracy in %, by the attention trained with (rows) and evaluated with (columns){over_seeds(study)}."
    for name, baseline in baselines(cells).items():
        caption += f" A model that knows nothing ({name}) gets {number(100 * baseline['accuracy'], 1)}."
    if "train_eval" in study.paper:
        caption += " Rows marked “paper” are the numbers the paper prints."
    return Table("train_eval", caption, ("trained with", *names, "seeds"), tuple(rows), frozenset(best), data.reset_index())


def train_cost(study: Study, cells: pd.DataFrame) -> Table:
    """What each training took: steps, seconds in all, how many seeds ended well; and seconds a step, where cells ran alone (`timed`)."""
    data = _by_label(study, cells, ("steps", "step_seconds", "train_seconds"))
    rows, header = [], ("trained with", "steps", *(["s/step"] if study.timed else []), "training (s)", "seeds")
    for row in data.itertuples():
        per_step = [mean_sd(row.step_seconds_mean, row.step_seconds_sd, digits(data["step_seconds_mean"]))] if study.timed else []
        seconds = mean_sd(row.train_seconds_mean, row.train_seconds_sd, 0)
        rows.append((row.train, number(row.steps, 0), *per_step, seconds, seeds_text(cells, row.train)))
    caption = f"What each training cost, without evaluation{over_seeds(study)}.{side_by_side(study)}"
    return Table("train_cost", caption, header, tuple(rows), frozenset(), data)


def loss_memory(study: Study, cells: pd.DataFrame) -> Table:
    """Held-out loss, peak memory and time of each variant, ratios to the first, and the model that knows nothing as the last row."""
    judged, unit_gib = score(study), cells["peak_memory_gib"].max() >= 1
    data = _by_label(study, cells, (judged, "loss_nats", "peak_memory_gib", "step_seconds", "tokens_per_second", "parameters"))
    for name in ("peak_memory_gib", "step_seconds"):
        data[f"{name}_ratio"] = data[f"{name}_mean"] / data[f"{name}_mean"].iloc[0]
    memory = data["peak_memory_gib_mean"] * (1 if unit_gib else 1024)
    scale, places = (100, 1) if judged == "accuracy" else (1, 3)

    rows = [
        (
            row.train, mean_sd(scale * getattr(row, f"{judged}_mean"), scale * getattr(row, f"{judged}_sd"), places),
            mean_sd(row.loss_nats_mean, row.loss_nats_sd, 3), number(held, digits(memory)), number(row.peak_memory_gib_ratio, 2),
            mean_sd(row.step_seconds_mean, row.step_seconds_sd, digits(data["step_seconds_mean"])), number(row.step_seconds_ratio, 2),
            number(row.tokens_per_second_mean, 0), number(row.parameters, 0), seeds_text(cells, row.train),
        )
        for row, held in zip(data.itertuples(), memory, strict=True)
    ]  # fmt: skip
    best = {(i, 1) for i in best_of((scale * data[f"{judged}_mean"]).round(places), max if judged == "accuracy" else min)}
    best |= {(i, 3) for i in best_of(memory.round(digits(memory)), min)}
    best |= {(i, 5) for i in best_of(data["step_seconds_mean"].round(digits(data["step_seconds_mean"])), min)}
    for name, baseline in baselines(cells).items():
        value = number(scale * baseline[judged], places)
        rows.append((name, value, number(baseline["loss_nats"], 3), *[MISSING] * 6, "baseline"))
        data.loc[len(data), ["train", f"{judged}_mean", "loss_nats_mean"]] = [name, baseline[judged], baseline["loss_nats"]]
    said = "accuracy (%)" if judged == "accuracy" else "bits per dim"
    unit = "GiB" if unit_gib else "MiB"
    header = ("variant", said, "loss (nats)", f"memory ({unit})", "memory ratio", "s/step", "time ratio", "tokens/s", "parameters", "seeds")
    caption = f"Held-out loss, peak memory of one training step, and speed{over_seeds(study)}. Ratios are to {labels(study)[0]}."
    caption += side_by_side(study)
    return Table("loss_memory", caption, header, tuple(rows), frozenset(best), data)


def baselines(cells: pd.DataFrame) -> dict[str, dict[str, float]]:
    """What a model that knows nothing gets, by name, once for each different value."""
    found: dict[str, dict[str, float]] = {}
    for baseline in cells["baseline"].dropna():
        same = [name for name, other in found.items() if name.startswith(baseline["name"])]
        if all(round(found[name]["loss_nats"], 3) != round(baseline["loss_nats"], 3) for name in same):
            found[baseline["name"] + (f" ({len(same) + 1})" if same else "")] = baseline
    return found


def seeds_text(cells: pd.DataFrame, train: str) -> str:
    """How the seeds of one variant ended: "3 ok", or "2 ok, 1 oom"."""
    counts = cells.loc[cells["train"] == train, "status"].value_counts()
    return ", ".join(f"{counts[status]} {status}" for status in sorted(counts.index, key=lambda status: (status != "ok", status)))


def side_by_side(study: Study) -> str:
    """A warning where the cells may have shared the machine."""
    return "" if study.timed else " Cells may have run side by side: their seconds say what was spent, not which variant is faster."


def over_seeds(study: Study) -> str:
    seeds = len({cell.seed for cell in study.cells})
    return f", mean ± standard deviation over the seeds that ended well (of {seeds})" if seeds > 1 else ", one seed"


def number(value: float, places: int) -> str:
    """A number as text; what is missing is a dash, never 0."""
    return MISSING if pd.isna(value) else f"{value:,.{places}f}"


def mean_sd(mean: float, sd: float, places: int) -> str:
    """ "99.9 ± 0.1", or the number alone when there is one seed."""
    return number(mean, places) if pd.isna(mean) or pd.isna(sd) else f"{number(mean, places)} ± {number(sd, places)}"


def digits(values: Iterable[float]) -> int:
    """Decimals that leave the smallest number of a column three digits."""
    smallest = min((abs(value) for value in values if not pd.isna(value) and value), default=1.0)
    return min(6, max(0, 2 - math.floor(math.log10(smallest))))


def best_of(values: Iterable[float], choose: Callable[[list[float]], float]) -> list[int]:
    """The places of the best number, ties included; none where there is nothing to compare."""
    values = list(values)
    known = [value for value in values if not pd.isna(value)]
    return [i for i, value in enumerate(values) if value == choose(known)] if len(known) > 1 else []


def _by_label(study: Study, cells: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """One row per variant: n seeds that ended well, and the mean and sd of each column over them."""
    finished = cells[cells["status"] == "ok"]
    data = pd.DataFrame({"train": labels(study)})
    data["n"] = [int((finished["train"] == label).sum()) for label in data["train"]]
    data["n"] = data["n"].astype("Int64")
    data["seeds"] = [seeds_text(cells, label) for label in data["train"]]
    for column in columns:
        grouped = finished[column].astype(float).groupby(finished["train"])
        if column in COUNTS:  # the same for every seed of a variant
            data[column] = data["train"].map(grouped.mean())
            continue
        data[f"{column}_mean"] = data["train"].map(grouped.mean())
        data[f"{column}_sd"] = data["train"].map(grouped.std())
    return data
