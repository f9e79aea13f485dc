"""Measure a Work: its memory once, untimed, then its time again and again.

With benchmark.paired its time is taken in turn with that of a rival.
"""

import gc
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import torch
from torch.utils.benchmark import timer

from experiments.benchmarking.gpu_times import fastest_kernel, l2_cleaner, preferring
from experiments.benchmarking.work import Work, build_rival, build_work
from experiments.device import (
    find_device,
    hardware_name,
    is_shared,
    set_matmul_precision,
    set_threads,
)
from experiments.run_dir.outcome import OK, WOULD_NOT_FIT
from experiments.terminal.units import memory
from experiments.times.waited import TimedSteps, quartiles, read_counters
from reformer_pl.config import BenchmarkConfig, RunConfig
from reformer_pl.measure import GIB, PeakMemory, needed_gib, predict_run
from reformer_pl.precision import dtypes


class Seconds(NamedTuple):
    """Of one repetition; `whole` ends with the optimiser's step, where there is one."""

    forward: float
    backward: float
    whole: float


def measure(config: RunConfig, row: dict[str, Any]) -> dict[str, Any]:
    """The whole row of one case.

    `row` is what a case that fails still leaves: it gains the device and the prediction here.
    """
    set_threads(config)
    device = find_device(config)
    products = set_matmul_precision(config)
    if products:
        print(products, flush=True)
    row |= {"device": hardware_name(device), "threads": torch.get_num_threads()}
    # None for a public Reformer, whose memory nothing here predicts.
    predicted = predict_run(config, device.type)
    row["predicted_memory_gib"] = None if predicted is None else predicted["total"]
    if predicted is not None and config.benchmark.predict_only:
        return row | {"status": OK, "error": None, "parameters": _parameters(config, predicted)}
    limit = config.benchmark.memory_limit_gib
    if predicted is not None and 0 < limit < needed_gib(predicted):
        return row | {
            "status": WOULD_NOT_FIT,
            "error": f"predicted to need {memory(needed_gib(predicted))}, "
            f"above benchmark.memory_limit_gib={limit:g}",
        }
    kernel = fastest_kernel(config, device)
    if kernel is not None:
        row["full_kernel"] = kernel
    with preferring(kernel):
        work, rival = warm_works(config, device)
        peak_bytes = peak_memory(work, device)
        numbers = timed_numbers(work, rival, config, device)
    return row | {
        "status": OK,
        "error": None,
        **numbers,
        "peak_memory_gib": peak_bytes / GIB,
        "tokens_per_second": tokens_per_step(config) / numbers["step_seconds"],
        "parameters": work.parameters,
    }


def _parameters(config: RunConfig, predicted: dict[str, float]) -> int | None:
    """Of a whole step, whose prediction counts their bytes; None of one attention."""
    if config.benchmark.measure != "step":
        return None
    return round(predicted["parameters"] * GIB / dtypes(config).weights.itemsize)


def measure_round(config: RunConfig) -> dict[str, Any]:
    """The times alone, once more: of a benchmark, or of the step of a config that trains."""
    set_threads(config)
    device = find_device(config)
    set_matmul_precision(config)
    with preferring(fastest_kernel(config, device)):
        work, rival = warm_works(config, device)
        numbers = timed_numbers(work, rival, config, device)
    return {
        **numbers,
        "device": hardware_name(device),
        "threads": torch.get_num_threads(),
    }


def warm_works(config: RunConfig, device: torch.device) -> tuple[Work, Work | None]:
    """What is timed, and with benchmark.paired its rival, each done once.

    The optimiser's state exists afterwards, and caches are warm.
    """
    work = build_work(config, device)
    rival = build_rival(config, device) if config.benchmark.paired else None
    for first in (work, rival):
        if first is not None:
            repeat(first)
    return work, rival


def timed_numbers(
    work: Work, rival: Work | None, config: RunConfig, device: torch.device
) -> dict[str, Any]:
    """The times of a result: medians, their quartiles, and what disturbed the repetitions."""
    before = read_counters()
    ours, theirs = time_in_turn(work, rival, config.benchmark, l2_cleaner(device))
    steps = TimedSteps(device_is_shared=is_shared(device))
    steps.add([seconds.whole for seconds in ours], before, read_counters())
    numbers = steps.numbers()
    ratios = [full.whole / this.whole for full, this in zip(theirs, ours, strict=bool(theirs))]
    low, high = quartiles(ratios) if ratios else (None, None)
    return {
        "n_repeats": numbers.pop("n_timed_steps"),
        "forward_seconds": median(seconds.forward for seconds in ours),
        "backward_seconds": median(seconds.backward for seconds in ours),
        **numbers,
        "step_seconds_iqr": numbers["step_seconds_q3"] - numbers["step_seconds_q1"],
        "full_seconds": median(seconds.whole for seconds in theirs) if theirs else None,
        "speedup": median(ratios) if ratios else None,
        "speedup_q1": low,
        "speedup_q3": high,
    }


def tokens_per_step(config: RunConfig) -> int:
    return config.task.batch_size * config.task.length


def repeat(work: Work) -> Seconds:
    """One repetition. The timer waits for a GPU to finish."""
    start = timer()
    out = work.forward()
    middle = timer()
    work.backward(out)
    end = timer()
    del out
    work.finish()
    return Seconds(middle - start, end - middle, timer() - start)


def time_in_turn(
    work: Work,
    rival: Work | None,
    benchmark: BenchmarkConfig,
    clean_cache: Callable[[], None] = lambda: None,
) -> tuple[list[Seconds], list[Seconds]]:
    """(repetitions of work, as many of the rival, or none where there is no rival).

    They take turns, so that both see the same machine. The cache is cleaned before each: a
    repetition alone would find what the one before left in it.
    """
    ours: list[Seconds] = []
    theirs: list[Seconds] = []
    gc.collect()
    start = timer()
    while len(ours) < benchmark.repeats or timer() - start < benchmark.seconds:
        clean_cache()
        ours.append(repeat(work))
        if rival is not None:
            clean_cache()
            theirs.append(repeat(rival))
    return ours, theirs


def peak_memory(work: Work, device: torch.device) -> int:
    """Bytes of one repetition, with what `work` keeps.

    Where it keeps nothing, only what comes on top of what lives already is counted.
    """
    kept = list(work.kept())
    before = torch.cuda.memory_allocated(device) if device.type == "cuda" and not kept else 0
    with PeakMemory(device, kept) as peak:
        repeat(work)
    return peak.bytes - before
