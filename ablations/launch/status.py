"""`python -m ablations status`: what `run` shows, later: one row for each cell, and the last words of those that failed."""

from collections import Counter
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ablations.launch.pace import duration, pace, state
from ablations.launch.slurm.queue import cancel_command, settle
from ablations.study import Study
from ablations.study.grid import Cell
from experiments.run_dir.files import LOG, log_tail
from experiments.run_dir.outcome import OK, UNEVALUATED, missing_evaluations, read_result
from reformer_pl.config import RunConfig

# The columns and the numbers in them: the first is whole.
TRAINED = (
    ("steps", "steps"), ("loss", "loss_nats"), ("accuracy", "accuracy"), ("bits/dim", "bits_per_dim"), ("seconds/step", "step_seconds"),
)  # fmt: skip
MEASURED = (
    ("length", "length"), ("forward s", "forward_seconds"), ("backward s", "backward_seconds"), ("whole s", "step_seconds"),
    ("x full", "speedup"), ("GiB", "peak_memory_gib"),
)  # fmt: skip
OVERHEAD = {
    "startup_seconds": "from its start to the first step",
    "closing_seconds": "from the last step to its result",
}


def print_status(
    study: Study, configs: list[RunConfig], console: Console, log_lines: int = 5
) -> None:
    """A running cell shows its last training row, its pace and the time it has left; an unfinished one, which resumes, only the row."""
    table = Table(title=Text(study.description), title_justify="left")
    whole, *fractions = MEASURED if study.is_benchmark else TRAINED
    for column in ("cell", "seed", "status", whole[0], *(title for title, _ in fractions), "left"):
        table.add_column(column, justify="left" if column in ("cell", "status") else "right")
    counts: Counter[str] = Counter()
    failed: list[tuple[Cell, str]] = []
    done: list[dict[str, Any]] = []
    jobs = settle(study.cells)
    for cell, config in zip(study.cells, configs, strict=True):
        status, result, left = (
            state(study, cell, jobs.get(cell)),
            read_result(cell.directory) or {},
            "",
        )
        counts[status] += 1
        if status in ("running", "unfinished", "requeued"):
            at = pace(cell, config.trainer.max_steps)
            result = {
                "steps": "" if at.step is None else f"{at.step}/{at.max_steps}",
                "loss_nats": at.loss_nats,
            }
            if status == "running" and at.steps_per_second and at.seconds_left is not None:
                result["step_seconds"], left = 1 / at.steps_per_second, duration(at.seconds_left)
        elif status == OK:
            done.append(result)
        elif status == UNEVALUATED:
            failed.append(
                (
                    cell,
                    f"trained, without {', '.join(missing_evaluations(cell.directory, study.evaluations))}, which the next run makes",
                )
            )
        elif result:
            failed.append((cell, f"{status}: {result.get('error')}"))
        values = [result.get(key) for _, key in fractions]
        numbers = ["" if value is None else f"{value:.4f}" for value in values]
        table.add_row(
            Text(cell.name), str(cell.seed), status, str(result.get(whole[1]) or ""), *numbers, left
        )
    console.print(table)
    said = [", ".join(f"{number} {status}" for status, number in counts.items()), *_overhead(done)]
    said += [f"{cell}: {job}" for cell, job in jobs.items() if job.why and job.state != "ended"]
    said += (
        [f"{cancel_command(jobs)} ends what SLURM has of it"]
        if any(job.is_live for job in jobs.values())
        else []
    )
    for cell, why in failed:
        said += [f"{cell}: {why}", *(f"  | {line}" for line in log_tail(cell.directory, log_lines))]
        log = cell.directory / LOG  # a cell that was refused has none
        said += [f"  {log}"] if log.exists() else []
    console.print("\n".join(said), markup=False, highlight=False, soft_wrap=True)


def _overhead(done: list[dict[str, Any]]) -> list[str]:
    """What a cell costs beside its steps, in one line; none where no result says."""
    known = {
        name: [result[name] for result in done if result.get(name) is not None] for name in OVERHEAD
    }
    said = [
        f"{median(seconds):.2f} s {OVERHEAD[name]}" for name, seconds in known.items() if seconds
    ]
    return [f"a cell takes {' and '.join(said)} (medians of {len(done)})"] if said else []
