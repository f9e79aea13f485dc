"""A made-up study of recall, written as real run directories: scores by distance, by pairs and over draws.

Numbers are drawn, and their order is plausible: near pairs are found more often than far ones, few
pairs more often than many, and more rounds find more.
"""

import random
from pathlib import Path
from typing import Any

import yaml

from ablations.study import Study, compose_cells, load_study
from experiments.run_dir.files import CONFIG, RESULT, config_text, evaluation_path, json_text
from experiments.run_dir.outcome import RESULT_NUMBERS
from reformer_pl.config import RunConfig
from reformer_pl.config.evaluations import load_named_evaluation
from reformer_pl.metrics import RECALL_SLICES

BASELINE = {"name": "chance, 1/64", "loss_nats": 4.159, "accuracy": 1 / 64}
TRAIN = {
    "Full": ["model.attention=shared_full"],
    "LSH-4": ["model.attention=lsh", "model.lsh.n_hashes=4"],
    "LSH-2": ["model.attention=lsh", "model.lsh.n_hashes=2"],
    "LSH-1": ["model.attention=lsh", "model.lsh.n_hashes=1"],
}


def recall_study(
    folder: Path,
    seeds: int = 3,
    *,
    axes: dict[str, Any] | None = None,
    evaluations: dict[str, list[str]] | None = None,
    failed: tuple[tuple[str, int], ...] = (),
    **keys: Any,
) -> Study:
    """Write the study and its runs below `folder`, and load it. `failed` are (variant, seed)."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "base": ["experiment=recall", "model.positions=rotary"],
        "axes": axes or {"train": TRAIN},
        "seeds": list(range(seeds)),
        "report": ["slices", "train_eval"] if evaluations else ["slices"],
        "evaluations": evaluations or {},
        **keys,
    }
    path = folder / "recall.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v}, sort_keys=False))
    study = load_study(path, folder / "runs")
    for cell, config in zip(study.cells, compose_cells(study), strict=True):
        cell.directory.mkdir(parents=True)
        (cell.directory / CONFIG).write_text(config_text(config))
        draw = random.Random(str(cell))
        result = {"status": "ok", "error": None} | dict.fromkeys(RESULT_NUMBERS)
        if (cell.train, cell.seed) in failed:
            result |= {"status": "failed", "error": "FloatingPointError: the loss is not finite"}
        else:
            result |= {"steps": 1500, "peak_memory_gib": 0.1, "baseline": BASELINE}
            result |= {"step_seconds": 0.1, "parameters": 1000} | scores(config, draw)
            for name, overrides in config.evaluations.items():
                values = scores(load_named_evaluation(config, name), draw)
                place = evaluation_path(cell.directory, name)
                place.parent.mkdir(exist_ok=True)
                place.write_text(json_text({"name": name, "overrides": overrides, **values}))
        (cell.directory / RESULT).write_text(json_text(result))
    return study


def scores(config: RunConfig, draw: random.Random) -> dict[str, float | None]:
    """One pair leaves the farthest slices without a query."""
    rounds = config.model.lsh.n_hashes if config.model.attention == "lsh" else 12
    ease = min(1.0, 0.35 + 0.16 * rounds) * min(1.0, 12 / (8 + config.task.pairs))
    values: dict[str, float | None] = {}
    for i, metric in enumerate(RECALL_SLICES):
        is_there = config.task.pairs > 1 or i < 2
        near = max(0.016, min(1.0, ease * (1.05 - 0.12 * i) + draw.gauss(0, 0.012)))
        values[metric.name] = near if is_there else None
    there = [value for value in values.values() if value is not None]
    values |= {"accuracy": sum(there) / len(there), "loss_nats": 4 * (1 - ease)}
    if config.model.lsh.eval_draws > 1:
        values |= {"eval_draws": config.model.lsh.eval_draws}
        values |= {"eval_draws_std": 0.003 + 0.002 * draw.random()}
    return values
