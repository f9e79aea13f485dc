"""Count models of a byte task, fitted once for each text: the scores are kept beside the data."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from experiments.run_dir.durable import replace_text
from experiments.run_dir.files import json_text
from reformer_pl.tasks.batches import SequenceData
from reformer_pl.tasks.source import source_path

ENDING = ".count_models.json"  # beside the file that task.source names


def count_models(data: SequenceData) -> list[dict[str, Any]]:
    """A baseline for each order: its name, loss_nats and bits_per_dim; empty for other tasks.

    Scores of the same bytes, windows and code are read from the cache. Where the data's folder
    cannot be written to, they are computed each time, in seconds for a few megabytes.
    """
    if type(data).count_models is SequenceData.count_models:
        return []
    path = source_path(data.config.source)
    cache = path.with_name(path.name + ENDING)
    key = _key(data)
    scores = _read(cache)
    if key not in scores:
        bits = data.count_models()
        scores[key] = {str(order): value for order, value in bits.items()}
        _keep(cache, scores)
    return [_baseline(int(order), value) for order, value in scores[key].items()]


def _baseline(order: int, bits: float) -> dict[str, Any]:
    name = f"count model, {order} byte{'' if order == 1 else 's'}"
    return {"name": name, "loss_nats": bits * math.log(2), "bits_per_dim": bits}


def _key(data: SequenceData) -> str:
    """Names the bytes, the windows and the model of counts."""
    parts = {**data.identity(), "length": data.config.length, "windows": data.n_eval_sequences}
    parts["split"] = data.config.split
    return hashlib.sha256(json.dumps([parts, "witten-bell 0-4"]).encode()).hexdigest()


def _read(cache: Path) -> dict[str, dict[str, float]]:
    """What the cache holds; nothing where it is missing or no such file: it is then made anew."""
    try:
        scores = json.loads(cache.read_bytes())
    except (OSError, ValueError):
        return {}
    return scores if _is_cache(scores) else {}


def _is_cache(scores: Any) -> bool:
    return isinstance(scores, dict) and all(
        isinstance(entry, dict)
        and all(order.isdecimal() and isinstance(bits, float) for order, bits in entry.items())
        for entry in scores.values()
    )


def _keep(cache: Path, scores: dict[str, dict[str, float]]) -> None:
    try:
        replace_text(cache, json_text(scores))
    except OSError:
        return  # read-only data: the next run computes them again
