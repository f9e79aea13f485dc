"""What trainer.compile gains on this CPU: `python tests/compiled_times.py` prints docs/benchmark.md's rows.

A training step of three layers, eager and compiled in turn, repetition by repetition, in one
process of one thread. Seconds are of the CPU, not of the clock, so that waiting for a core does not
count. Ratios are those of neighbours, with their quartiles.
"""

import time
from statistics import median, quantiles

import torch

from experiments.benchmarking.timing import peak_memory, repeat
from experiments.benchmarking.work import Work, build_work
from experiments.compose import compose

CPU = torch.device("cpu")
REPEATS = 9
BASE = [
    *("benchmark.measure=step", "task.name=enwik8", "task.batch_size=1", "trainer.threads=1"),
    *("model.d_model=256", "model.d_ff=1024", "model.n_heads=4", "model.n_layers=3"),
]
MODELS = {
    "Full": ["model.attention=full"],
    "Full, reversible": ["model.attention=full", "model.residual=reversible"],
    "LSH-4": ["model.attention=lsh"],
    "LSH-4, checkpoint": ["model.attention=lsh", "model.residual=checkpoint"],
    "LSH-4, reversible": ["model.attention=lsh", "model.residual=reversible"],
}


def seconds(work: Work) -> float:
    start = time.process_time()
    repeat(work)
    return time.process_time() - start


def row(name: str, length: int, overrides: list[str]) -> str:
    eager, compiled = (
        build_work(
            compose([*BASE, *overrides, f"task.length={length}", f"trainer.compile={word}"]), CPU
        )
        for word in ("false", "true")
    )
    start = time.perf_counter()
    repeat(compiled)
    compilation = time.perf_counter() - start
    repeat(eager)
    times = [(seconds(eager), seconds(compiled)) for _ in range(REPEATS)]
    ratios = [b / a for a, b in times]
    low, _, high = quantiles(ratios, n=4)
    before, after = (1e3 * median(column) for column in zip(*times, strict=True))
    memory = [peak_memory(work, CPU) / 2**20 for work in (eager, compiled)]
    return (
        f"| {name} | {length:,} | {before:.0f} | {after:.0f} "
        f"| {median(ratios):.2f} [{low:.2f}, {high:.2f}] "
        f"| {memory[0]:.1f} | {memory[1]:.1f} | {compilation:.0f} |"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name, overrides in MODELS.items():
        for length in (1024, 4096):
            print(row(name, length, overrides), flush=True)
