"""`train_eval`: the paper's Table 2, the score by what a model was trained with and what it is
evaluated with.

Beside it stands what each training cost; the figure is the table as a heat map.
"""

import math
from collections.abc import Iterator

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ablations.report.drawing.belongs import belongs
from ablations.report.drawing.figure import Drawing, not_drawn
from ablations.report.drawing.legend import wrapped
from ablations.report.interval import mean_interval
from ablations.report.judged import (
    DRAWS_MEAN,
    draws_entries,
    evaluation_heads,
    judged_by,
    scored_part,
    scored_words,
)
from ablations.report.numbers import number
from ablations.report.styles.style import column_inches, page_inches, styled
from ablations.report.table import Entry, Row, Table, Value, Words, mark_variants
from ablations.report.variant_means import (
    baselines,
    count_models,
    drawn_intervals,
    ended_badly,
    finished_by_variant,
    mean_entry,
    means_by_variant,
    metric_places,
    n_note,
    over_seeds,
    seeds_text,
    side_by_side,
    step_spread,
    value_bounds,
)
from ablations.report.winners import bold_variants, bold_words
from ablations.result_columns import OWN
from ablations.results import score_rows, variant_labels
from ablations.study import Study
from ablations.study.axes.variant_axes import short_labels
from experiments.run_dir.outcome import OK
from reformer_pl.config.evaluations import task_changes
from reformer_pl.metrics import STEP_SECONDS, TRAIN_SECONDS, Metric

HEAD_INCHES = 0.95  # above and below the rows
PAPER_INCHES = 7.1  # of a page that a figure with its caption can fill
ROW_INCHES, MANY_ROW_INCHES, LINE_INCHES, LETTER_INCHES = 0.32, 0.2, 0.14, 0.055
MANY_ROWS = 12  # more are lower
ROW_LETTERS = 28  # of a line of a label
BAR_INCHES = 2.4


def tables(study: Study, cells: pd.DataFrame) -> list[Table]:
    return [score_table(study, cells), cost_table(study, cells)]


def figures(study: Study, cells: pd.DataFrame, tables: list[Table]) -> list[Drawing]:
    beside = ", beside the paper's" if _paper(study) else ""
    caption = (
        f"{_scores(study)} by the attention trained with (rows) and evaluated with "
        f"(columns){beside}.{scored_words(study)}{_means(study, cells)}{not_drawn(study, cells)}"
    )
    return [Drawing("train_eval", caption, heat_map(study, tables[0].data))]


def _scores(study: Study) -> str:
    """ "Held-out accuracy"; without a part where the columns are of several."""
    words, part = judged_by(study).title, scored_part(study)
    return f"{part}{words[:1].lower()}{words[1:]}" if part else words


def _means(study: Study, cells: pd.DataFrame) -> str:
    """For the caption of the figure, whose squares have no room for an interval."""
    intervals = drawn_intervals(study, cells)
    return f" Means; the table has their {intervals}." if intervals else ""


def score_table(study: Study, cells: pd.DataFrame) -> Table:
    """Table 2, the paper's numbers below ours; count models below all, of the task as trained."""
    score, data, seeds = judged_by(study), score_data(study), cells["seed"].nunique()
    names = list(data["eval"].unique())
    decimals = metric_places(score, data[f"{score.name}_mean"])
    results, heads = score_rows(study), evaluation_heads(study)
    draws = _draws(study, results, decimals)
    rows: list[Row] = []
    for variant, scores in data.groupby("train", sort=False):
        reason = Words(ended_badly(cells.loc[cells["train"] == variant, "status"]))
        ours, paper = [], []
        for row in scores.to_dict("records"):
            mean, low, high = (
                score.scale * row[f"{score.name}_{part}"] for part in ("mean", "low", "high")
            )
            note = n_note(row["n"], scores["n"].max(), seeds)
            value = Value(mean, low, high, decimals, note=note)
            ours.append(reason if pd.isna(mean) else value)
            paper.append(Value(score.scale * row[f"paper_{score.name}"], places=decimals))
        over_draws = [entries[variant] for entries in draws.values()]
        counts = (Value(scores["n"].max()), Words(seeds_text(cells, variant)))
        rows.append(Row(variant, (*ours, *over_draws, *counts), variant))
        if _paper(study):
            below = (*paper, *[Words("")] * (len(draws) + 2))
            rows.append(Row(f"{variant}, paper", below, variant, "paper"))
    for name, model in count_models(cells).items():
        value = Value(score.scale * model.get(score.name, math.nan), places=decimals)
        same_task = [not task_changes(study.evaluations.get(column, ())) for column in names]
        entries = [value if same else Value(math.nan) for same in same_task]
        rest = [Words("")] * (len(draws) + 2)
        rows.append(Row(name, (*entries, *rest), "", "baseline"))
    for column, name in enumerate(names):
        own = results[results["eval"] == name]
        rows = mark_variants(rows, column, bold_variants(study, own, score, decimals))
    words, part = (score.words, scored_part(study)) if scored_part(study) else (_words(score), "")
    caption = (
        f"{part}{words}, by the attention trained with (rows) and evaluated with "
        f"(columns){over_seeds(study)}.{scored_words(study)}{DRAWS_MEAN if draws else ''}"
        f"{bold_words(study)}"
    )
    for name, baseline in baselines(cells).items():
        value = number(score.scale * baseline.get(score.name, math.nan), decimals)
        on = "" if part == "Held-out " else " on the held-out part"
        caption += f" A model that knows nothing ({name}) gets {value}{on}."
    if _paper(study):
        caption += " Rows marked “paper” are the numbers the paper prints."
    scored = (heads.get(name, name) for name in names)
    over = (f"{heads.get(name, name)}, over draws" for name in draws)
    header = ("trained with", *scored, *over, "n", "seeds")
    return Table("train_eval", caption, header, tuple(rows), data)


def _words(score: Metric) -> str:
    """At the start of a sentence: "Accuracy in %"."""
    return score.words[:1].upper() + score.words[1:]


def _draws(study: Study, results: pd.DataFrame, decimals: int) -> dict[str, dict[str, Entry]]:
    """evaluation -> variant -> the spread over draws of rotations; the evaluations with any."""
    columns = {}
    for name, rows in results.groupby("eval", sort=False):
        groups = finished_by_variant(study, rows)
        columns[name] = draws_entries(groups, judged_by(study), decimals)
    return {name: entries for name, entries in columns.items() if entries}


def score_data(study: Study) -> pd.DataFrame:
    """A row for each variant and evaluation: the mean score of the seeds that ended well, its
    interval, n, and the paper's number.
    """
    score, results = judged_by(study).name, score_rows(study)
    finished = results[results["status"] == OK].groupby(["train", "eval"], sort=False)[score]
    names = list(study.evaluations) or [OWN]
    places = pd.MultiIndex.from_product([variant_labels(study), names], names=["train", "eval"])
    data = finished.agg(["mean", "count"]).reindex(places)
    data.columns = [f"{score}_mean", "n"]
    data["n"] = data["n"].fillna(0).astype(int)
    bounds = value_bounds(score)
    intervals = {place: mean_interval(values, bounds) for place, values in finished}
    for i, end in enumerate(("low", "high")):
        data[f"{score}_{end}"] = [intervals.get(place, (math.nan, math.nan))[i] for place in places]
    paper = _paper(study)
    data[f"paper_{score}"] = [
        float(paper.get(variant, {}).get(name, math.nan)) for variant, name in places
    ]
    return data.reset_index()


def cost_table(study: Study, cells: pd.DataFrame) -> Table:
    """What each training took: steps, seconds in all, and seconds a step where the cells ran alone
    (`timed`).
    """
    times = [STEP_SECONDS, TRAIN_SECONDS] if study.timed else [TRAIN_SECONDS]
    data = means_by_variant(study, cells, ("steps", STEP_SECONDS.name, TRAIN_SECONDS.name))
    places = {metric: metric_places(metric, data[f"{metric.name}_mean"]) for metric in times}
    rows = [
        Row(
            row.train,
            (
                Value(row.steps),
                *(mean_entry(cells, row, metric, places[metric]) for metric in times),
                Value(row.n),
                Words(row.seeds),
            ),
            row.train,
        )
        for row in data.itertuples()
    ]
    header = ("trained with", "steps", *(metric.header for metric in times), "n", "seeds")
    caption = (
        f"What each training cost, without evaluation{over_seeds(study)}."
        f"{step_spread(study, cells) if study.timed else ''}{side_by_side(study)}"
    )
    return Table("train_cost", caption, header, tuple(rows), data)


@styled({"axes.grid": False})
def heat_map(study: Study, data: pd.DataFrame) -> Figure:
    """`score_data` as colours; where the study has the paper's numbers, they are a second panel on
    the same scale.
    """
    score, paper = judged_by(study), bool(_paper(study))
    panels = {f"{score.name}_mean": "This study" if paper else ""}
    if paper:
        panels[f"paper_{score.name}"] = "The paper"
    variants, names = variant_labels(study), list(data["eval"].unique())
    heads = evaluation_heads(study)
    labels = [wrapped(label, ROW_LETTERS) for label in short_labels(study).values()]
    low, high = _colour_range(score, data[list(panels)].stack().dropna())
    height = ROW_INCHES if len(variants) <= MANY_ROWS else MANY_ROW_INCHES
    height = max(height, LINE_INCHES * (1 + max(label.count("\n") for label in labels)))
    height = max(LINE_INCHES, min(height, (PAPER_INCHES - HEAD_INCHES) / len(variants)))
    letters = max(len(line) for label in labels for line in label.split("\n"))
    column = max(0.42, LETTER_INCHES * (1.5 + max(map(len, names))))
    wide = 0.75 + LETTER_INCHES * letters + len(panels) * len(names) * column > column_inches()
    size = (
        page_inches() if paper or wide else column_inches(),
        HEAD_INCHES + height * len(variants),
    )
    figure = Figure(figsize=size)
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (column, title) in zip(all_axes, panels.items(), strict=True):
        grid = score.scale * data.pivot(index="train", columns="eval", values=column)
        grid = grid.reindex(index=variants, columns=names)
        image = _squares(axes, grid, low, high, labels)
        _write_numbers(axes, grid, image, score)
        if column == f"{score.name}_mean":
            _link_squares(axes, grid)
        axes.set_xlabel("Evaluated with")
        axes.set_xticklabels([heads.get(name, name).replace(" (", "\n(") for name in names])
        axes.set_title(title)
    all_axes[0].set_ylabel("Trained with")
    label = f"{score.title} ({score.suffix})" if score.suffix else score.title
    shrink = min(1.0, BAR_INCHES / size[1])
    look = {"pad": 0.02, "aspect": 12, "shrink": shrink, "anchor": (0, 1)}
    bar = figure.colorbar(image, ax=list(all_axes), label=label, **look)
    bar.outline.set_visible(False)
    return figure


def _colour_range(score: Metric, values: pd.Series) -> tuple[float, float]:
    """The ends of the colours, in the unit shown: the range of the values, of at least ten steps of
    the last decimal written.
    """
    if values.empty:
        return 0, score.scale * (score.bounds or (0, 1))[1]
    low, high = score.scale * values.min(), score.scale * values.max()
    lacking = max(0.0, 10 ** (1 - score.short_places) - (high - low)) / 2
    low, high = low - lacking, high + lacking
    if score.bounds is None:
        return low, high
    least, most = (score.scale * bound for bound in score.bounds)
    return max(low, least), min(high, most)


def _squares(
    axes: Axes, grid: pd.DataFrame, low: float, high: float, labels: list[str]
) -> QuadMesh:
    borders = [[i - 0.5 for i in range(n + 1)] for n in grid.shape]
    image = axes.pcolormesh(
        *borders[::-1],
        grid.to_numpy(dtype=float),
        cmap=mpl.colormaps["cividis"].with_extremes(bad="#eeeeee"),
        vmin=low,
        vmax=high,
        edgecolors="white",
        linewidth=1,
    )
    axes.set_ylim(len(grid) - 0.5, -0.5)  # the first on top; the panels share it
    axes.set_xticks(range(grid.shape[1]), grid.columns)
    axes.set_yticks(range(grid.shape[0]), labels)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return image


def _write_numbers(axes: Axes, grid: pd.DataFrame, image: QuadMesh, score: Metric) -> None:
    """Each number in its square, white on a dark one."""
    for i, j, variant, value in _places(grid):
        red_green_blue = image.cmap(image.norm(value))[:3]
        brightness = sum(w * c for w, c in zip((0.30, 0.59, 0.11), red_green_blue, strict=True))
        ink = "white" if pd.notna(value) and brightness < 0.5 else "black"
        text = number(value, score.short_places)
        gid = belongs(variant, linked=False)
        axes.text(j, i, text, ha="center", va="center", color=ink, fontsize=7.5, gid=gid)


def _link_squares(axes: Axes, grid: pd.DataFrame) -> None:
    """Patches that nobody sees, which the page makes links."""
    for i, j, variant, _ in _places(grid):
        corner, gid = (j - 0.5, i - 0.5), belongs(variant)
        axes.add_patch(Rectangle(corner, 1, 1, fill=False, linewidth=0, gid=gid))


def _places(grid: pd.DataFrame) -> Iterator[tuple[int, int, str, float]]:
    """(row, column, variant, value) of each square."""
    for i, variant in enumerate(grid.index):
        for j, name in enumerate(grid.columns):
            yield i, j, variant, grid.loc[variant, name]


def _paper(study: Study) -> dict[str, dict[str, float]]:
    return study.paper.get("train_eval", {})
