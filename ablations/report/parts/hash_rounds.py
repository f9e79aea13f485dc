"""Hash rounds compared: quality, time and memory against the number of rounds, with every variant without LSH as a reference.

A study asks for it with `report: [hash_rounds]`, its axis being model.lsh.n_hashes or labels that set it.
"""

import json

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ablations.report.figure import (
    COLOURS,
    DASHES,
    MARKERS,
    PAGE_INCHES,
    SAID,
    STYLE,
    Drawing,
    legend_below,
    not_drawn,
)
from ablations.report.numbers import MISSING, digits
from ablations.report.seeds import INTERVAL_SAID, by_label, over_seeds, side_by_side
from ablations.report.table import Table, best_of, mean_text, score
from ablations.report.writers.svg import belongs
from ablations.results import labels
from ablations.study import Study, compose_variants
from reformer_pl.config import RunConfig, flat, to_dict


def rounds_data(study: Study, cells: pd.DataFrame) -> pd.DataFrame:
    """`seeds.by_label` of score, memory and time, with `rounds` (NA without LSH) and `series`: what differs in nothing but its rounds."""
    data = by_label(study, cells, (score(study), "peak_memory_gib", "step_seconds"))
    configs = compose_variants(study)
    hashed = {label for label, config in configs.items() if "lsh" in config.model.attention.split()}
    keys = {label: _but_rounds(configs[label]) for label in hashed}
    parts = {cell.train: set(cell.labels) for cell in study.cells}
    names = {}
    for key in dict.fromkeys(keys[label] for label in labels(study) if label in hashed):
        members = [label for label in labels(study) if keys.get(label) == key]
        common = [
            part
            for part in _axis_labels(study, members[0])
            if all(part in parts[label] for label in members)
        ]
        said = " / ".join(common)
        names[key] = (
            "LSH"
            if len(set(keys.values())) == 1
            else said
            if said and said not in names.values()
            else members[0]
        )
    rounds = [
        configs[label].model.lsh.n_hashes if label in hashed else None for label in labels(study)
    ]
    data.insert(1, "rounds", pd.array(rounds, dtype="Int64"))
    data.insert(
        2, "series", [names[keys[label]] if label in hashed else label for label in labels(study)]
    )
    return data


def rounds_table(study: Study, cells: pd.DataFrame) -> Table:
    """The variants without LSH first, then each series by its number of rounds."""
    judged, gib = score(study), cells["peak_memory_gib"].max() >= 1
    data = rounds_data(study, cells)
    order = {name: i for i, name in enumerate(data["series"].unique())}
    data["place"] = data["series"].map(order).where(data["rounds"].notna(), -1)
    data = data.sort_values(["place", "rounds"], kind="stable", ignore_index=True).drop(
        columns="place"
    )
    columns = _columns(judged, gib)
    header = ("variant", "rounds", *(said for _, said, _ in columns), "seeds")
    places = [
        {"accuracy": 1, "bits_per_dim": 3}.get(column, digits(scale * data[f"{column}_mean"]))
        for column, _, scale in columns
    ]
    rows, best = [], set()
    for row in data.itertuples():
        texts = [
            mean_text(cells, row, column, places[j], scale)
            for j, (column, _, scale) in enumerate(columns)
        ]
        rows.append(
            (row.train, MISSING if pd.isna(row.rounds) else str(row.rounds), *texts, row.seeds)
        )
    for j, (column, _, scale) in enumerate(columns):
        found = (scale * data[f"{column}_mean"]).round(places[j])
        best |= {(i, j + 2) for i in best_of(found, max if column == "accuracy" else min)}
    caption = f"Quality, memory and time by the number of hash rounds{over_seeds(study)}.{side_by_side(study)}"
    return Table("hash_rounds", caption, header, tuple(rows), frozenset(best), data)


def rounds_drawing(study: Study, cells: pd.DataFrame) -> Drawing:
    bars = (
        f"; bars and bands: {INTERVAL_SAID}" if len({cell.seed for cell in study.cells}) > 1 else ""
    )
    data = rounds_data(study, cells)
    flat = "; horizontal: without LSH" if data["rounds"].isna().any() else ""
    caption = f"{SAID[score(study)]}, memory and time of a training step against the number of hash rounds{flat}{bars}."
    caption += not_drawn(study, cells) + side_by_side(study)
    return Drawing(
        "hash_rounds", caption, hash_rounds(data, score(study), cells["peak_memory_gib"].max() >= 1)
    )


@mpl.rc_context(STYLE)
def hash_rounds(data: pd.DataFrame, judged: str, gib: bool) -> Figure:
    """Three panels from `rounds_data`: a line for each series with the interval of each mean, a horizontal one for each without LSH."""
    figure = Figure(figsize=(PAGE_INCHES, 2.3))
    panels = figure.subplots(1, 3)
    hashed = data[data["rounds"].notna()]
    series, flat = list(hashed["series"].unique()), data[data["rounds"].isna()]
    for axes, (column, said, scale) in zip(panels, _columns(judged, gib), strict=True):
        mean, low, high = (f"{column}_{part}" for part in ("mean", "low", "high"))
        for i, name in enumerate(series):
            mine = hashed[(hashed["series"] == name) & hashed[mean].notna()].sort_values("rounds")
            if mine.empty:
                continue
            centre = scale * mine[mean]
            bars = [(centre - scale * mine[low]).fillna(0), (scale * mine[high] - centre).fillna(0)]
            style = {
                "color": COLOURS[i % len(COLOURS)],
                "marker": MARKERS[i % len(MARKERS)],
                "capsize": 2,
                "elinewidth": 0.9,
            }
            style["label"] = name if axes is panels[0] else None
            line, caps, ends = axes.errorbar(
                mine["rounds"].astype(float), centre, yerr=bars, zorder=3 + i, **style
            )
            line.set_gid(belongs(*mine["train"]))
            for part in (*caps, *ends):
                part.set_gid(belongs(*mine["train"], linked=False))
        for i, row in enumerate(flat.itertuples(), len(series)):
            value = scale * getattr(row, mean)
            if pd.isna(value):
                continue
            style = {"color": COLOURS[i % len(COLOURS)], "zorder": 2}
            dashes = DASHES[1 + (i - len(series)) % (len(DASHES) - 1)]
            entry = {"label": row.train if axes is panels[0] else None, "gid": belongs(row.train)}
            axes.axhline(value, linestyle=dashes, **style, **entry)
            if pd.notna(getattr(row, low)):
                band = {"alpha": 0.14, "linewidth": 0, "gid": belongs(row.train, linked=False)}
                axes.axhspan(scale * getattr(row, low), scale * getattr(row, high), **band, **style)
        axes.set_xscale("log", base=2)
        known = sorted(hashed["rounds"].unique())
        axes.set_xticks([float(n) for n in known], [str(n) for n in known])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("Hash rounds")
        axes.set_ylabel(
            {"step_seconds": "Seconds per step", judged: SAID[judged]}.get(column, f"Peak {said}")
        )
        axes.margins(x=0.08)
        if column != judged and data[mean].notna().any():
            axes.set_ylim(0, 1.06 * axes.dataLim.y1)
    legend_below(figure, panels[0])
    return figure


def _columns(judged: str, gib: bool) -> list[tuple[str, str, float]]:
    """(column, what a header says, factor to the unit shown) of quality, memory and time."""
    quality = (
        ("accuracy", "accuracy (%)", 100)
        if judged == "accuracy"
        else ("bits_per_dim", "bits per dim", 1)
    )
    return [
        quality,
        ("peak_memory_gib", f"memory ({'GiB' if gib else 'MiB'})", 1 if gib else 1024),
        ("step_seconds", "s/step", 1),
    ]


def _but_rounds(config: RunConfig) -> str:
    values = flat(to_dict(config) | {"seed": 0, "out_dir": "", "evaluations": {}})
    return json.dumps(
        {key: value for key, value in values.items() if key != "model.lsh.n_hashes"}, sort_keys=True
    )


def _axis_labels(study: Study, train: str) -> tuple[str, ...]:
    return next(cell.labels for cell in study.cells if cell.train == train)
