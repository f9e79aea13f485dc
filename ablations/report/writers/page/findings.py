"""What a report finds, in sentences made from its data: the best, the Pareto front, the differences
that its intervals show, and the cells that did not end well.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from ablations.report.benchmark_rows import by_place, disturbed_at, grid_rows
from ablations.report.interval import INTERVAL, Difference, paired_difference
from ablations.report.judged import judged_by
from ablations.report.numbers import digits, number, signed
from ablations.report.report import Report
from ablations.report.variant_means import means_by_variant, metric_places
from ablations.report.winners import pareto_front, winners
from ablations.study.grid import Grid
from experiments.run_dir.outcome import MISSING, OK
from experiments.times.disturbed import MARK
from reformer_pl.metrics import MEMORY_MIB, STEP_SECONDS, Metric, memory_metric

MOST_NAMED = 8  # variants in one sentence


@dataclass(frozen=True)
class Finding:
    """A sentence, and the labels of cells in it."""

    text: str
    labels: tuple[str, ...] = ()


def findings(report: Report) -> list[Finding]:
    """None where nothing can be compared."""
    study, cells = report.study, report.cells
    if study.is_benchmark:
        return [one for grid in study.grids for one in _of_benchmark(grid, cells)]
    score = judged_by(study)
    ended = cells[(cells["status"] == OK) & cells[score.name].notna()]
    if ended["train"].nunique() < 2:
        return []
    by_seed = {
        variant: score.scale * rows.set_index("seed")[score.name]
        for variant, rows in ended.groupby("train", sort=False)
    }
    data = means_by_variant(study, cells, (score.name, "peak_memory_gib")).set_index("train")
    means = score.scale * data[f"{score.name}_mean"].dropna()
    places = metric_places(score, data[f"{score.name}_mean"])
    found = [_best(score, by_seed, means, places), _front(score, data, places)]
    if study.baseline in by_seed:
        found.append(_against(study.baseline, score, by_seed, places))
    return [one for one in found if one]


def failures(report: Report) -> list[Finding]:
    """A sentence for each way in which cells ended badly, or have no result yet."""
    found = []
    bad = report.cells[report.cells["status"] != OK]
    for status, rows in sorted(bad.groupby("status"), key=lambda pair: pair[0] == MISSING):
        cells = "1 cell" if len(rows) == 1 else f"{len(rows)} cells"
        reason = _first_line(rows["error"])
        how = "no result yet" if status == MISSING else str(status).replace("_", " ")
        labels = tuple(dict.fromkeys(rows["train"]))
        found.append(Finding(f"{cells}: {how}{reason}: {_listed(labels)}.", labels[:MOST_NAMED]))
    return found


def _first_line(errors: pd.Series) -> str:
    lines = {str(error).splitlines()[0].rstrip(".") for error in errors.dropna() if str(error)}
    if not lines:
        return ""
    first = sorted(lines)[0]
    return f" ({first}{'; the others at their cells' if len(lines) > 1 else ''})"


def _best(
    score: Metric, by_seed: dict[str, pd.Series], means: pd.Series, places: int
) -> Finding | None:
    """The best mean among the variants with the most seeds, and those not shown to be worse."""
    most = max(map(len, by_seed.values()))
    whole = means[[variant for variant in means.index if len(by_seed[variant]) == most]]
    best = whole.index[list(whole).index(score.better(whole))]
    seeds = "of one seed" if most == 1 else f"mean of {most} seeds"
    text = f"Best held-out {score.words}: {number(means[best], places)} ({seeds}) of {best}."
    if most == 1:
        return Finding(f"{text} One seed shows no difference: run more.", (best,))
    bold = winners(by_seed, score.better, places)
    level = [variant for variant in whole.index if variant in bold and variant != best]
    text += (
        f" Of {len(whole) - 1} others with as many seeds, {len(whole) - 1 - len(level)} are shown "
        "to be worse on equal seeds."
    )
    text += f" Not shown to be worse: {_listed(level)}." if level else ""
    fewer = len(by_seed) - len(whole)
    text += f" Fewer seeds, and no place among the best: {fewer}." if fewer else ""
    return Finding(text, (best, *level[:MOST_NAMED]))


def _front(score: Metric, data: pd.DataFrame, places: int) -> Finding | None:
    memory = memory_metric(data["peak_memory_gib_mean"].max())
    costs, scores = data["peak_memory_gib_mean"], data[f"{score.name}_mean"]
    on_front = data[pareto_front(costs, scores, score.higher_is_better)]
    if on_front.empty:
        return None
    on_front = on_front.sort_values("peak_memory_gib_mean")
    units = digits(memory.scale * costs)
    points = [
        f"{row.Index} ({number(memory.scale * row.peak_memory_gib_mean, units)} {memory.suffix}, "
        f"{number(score.scale * getattr(row, f'{score.name}_mean'), places)})"
        for row in on_front.itertuples()
    ]
    return Finding(
        f"On the Pareto front of memory and held-out {score.words}, {len(points)} of "
        f"{scores.notna().sum()} variants: {_listed(points)}.",
        tuple(on_front.index[:MOST_NAMED]),
    )


def _against(
    baseline: str, score: Metric, by_seed: dict[str, pd.Series], places: int
) -> Finding | None:
    """How many variants differ from the baseline on equal seeds, and the largest differences."""
    differences = {
        variant: paired_difference(by_seed[baseline], values)
        for variant, values in by_seed.items()
        if variant != baseline
    }
    paired = {variant: d for variant, d in differences.items() if d.n > 1}
    if not paired:
        return None
    shown = {variant: d for variant, d in paired.items() if _is_shown(d)}
    better = {v: d for v, d in shown.items() if (d.mean > 0) == score.higher_is_better}
    worse = {v: d for v, d in shown.items() if v not in better}
    text = (
        f"Against {baseline} on equal seeds ({INTERVAL}, each comparison by itself), "
        f"{len(better)} of {len(paired)} variants are better, {len(worse)} worse, and "
        f"{len(paired) - len(shown)} not shown to differ."
    )
    named = [baseline]
    for word, some in (("Best", better), ("Worst", worse)):
        if some:
            variant, d = max(some.items(), key=lambda pair: abs(pair[1].mean))
            named.append(variant)
            ends = f"[{signed(d.low, places)}, {signed(d.high, places)}]"
            text += f" {word}: {variant}, {signed(d.mean, places)} {ends}."
    return Finding(text, tuple(named))


def _is_shown(difference: Difference) -> bool:
    return not (pd.isna(difference.low) or difference.holds_0)


def _of_benchmark(grid: Grid, cells: pd.DataFrame) -> list[Finding]:
    """The fastest and the leanest at the largest place where two variants ended well."""
    rows = grid_rows(grid, cells)
    found = []
    for metric, column, best in (
        (STEP_SECONDS, "step_seconds", "Fastest"),
        (MEMORY_MIB, "peak_memory_mib", "Least memory"),
    ):
        values = by_place(rows, column)
        places = [at for at in values.columns if values[at].notna().sum() > 1]
        if not places:
            continue
        at, first = places[-1], values.index[0]
        column_at = values[at].dropna()
        variant, value = column_at.idxmin(), column_at.min()
        unit = "s" if metric is STEP_SECONDS else "MiB"
        where = f" at {grid.grown.removeprefix('n_')} {at}" if grid.grown else ""
        named = f"{grid.name}: " if grid.name else ""
        ratio = ""
        if variant != first and first in column_at:
            ratio = f", {value / column_at[first]:.2f} times {first}'s"
        disturbed = metric is STEP_SECONDS and disturbed_at(rows, variant, at)
        text = (
            f"{named}{best}{where}: {variant}, {number(value, digits([value]))} {unit}"
            f"{MARK if disturbed else ''}{ratio}, of {len(column_at)} variants."
        )
        own = rows[(rows["variant"] == variant) & (rows["at"] == at)]
        found.append(Finding(text, tuple(own["train"].iloc[:1])))
    return found


def _listed(words: Iterable[str]) -> str:
    words = list(words)
    more = len(words) - MOST_NAMED
    return "; ".join(words[:MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")
