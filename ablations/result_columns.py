"""The columns of results.csv and of what a notebook loads, and their order."""

from experiments.run_dir.outcome import BENCHMARK_NUMBERS, STEP_NUMBERS
from reformer_pl.config.rules import TASKS
from reformer_pl.metrics import DRAWS, KEYS_PER_TOKEN, N_DRAWS, task_metrics

# How well the time of a step is known. `n_rounds` is missing where it was measured once;
# `disturbed` belongs to step_seconds and what follows from it, `training_is_disturbed` to
# train_seconds.
TIMING = ("n_timed_steps", *STEP_NUMBERS, "n_rounds", "disturbed", "training_is_disturbed")
FLAGS = ("device_is_shared", "disturbed", "training_is_disturbed")  # true, false or missing
# The columns of results.csv, in this order. Units: nats, 0-1, bits, GiB, seconds, tokens a second.
# `split` is the part of the data that the scores are of, a word of task.split.
COLUMNS = (
    "study", "cell", "train", "eval", "seed", "status", "steps", "loss_nats", "accuracy",
    "bits_per_dim",
    "peak_memory_gib", "step_seconds", "tokens_per_second", "parameters", *TIMING, "split",
    KEYS_PER_TOKEN.name,
)  # fmt: skip
SCORES = ("loss_nats", "accuracy", "bits_per_dim")  # always there
# Of tasks with a metric of their own, and of draws of rotations: a column where a cell has it.
OTHER_SCORES = (
    *dict.fromkeys(
        metric.name for task in TASKS for metric in task_metrics(task) if metric.name not in SCORES
    ),
    *DRAWS,
)
KEYS = KEYS_PER_TOKEN.name  # of each evaluation its own, as a score
COSTS = (
    "peak_memory_gib",
    "step_seconds",
    "tokens_per_second",
    "train_seconds",
    "startup_seconds",
    "closing_seconds",
    *TIMING,
)
COUNTS = ("steps", "parameters")
WHOLE = (*COUNTS, N_DRAWS, "n_timed_steps", "involuntary_switches", "n_rounds")
BENCHMARK_ONLY = tuple(
    name for name in BENCHMARK_NUMBERS if name not in (*COSTS, *COUNTS)
)  # NaN in a cell that trains
PLAIN_PROVENANCE = ("git_commit", "device", "threads", "finished_at")
PROVENANCE = ("versions", "sessions", *PLAIN_PROVENANCE)
MEASURED_COLUMNS = (
    "study",
    "cell",
    "train",
    "seed",
    "status",
    "measure",
    "peer",
    *BENCHMARK_NUMBERS,
    "n_rounds",
    "disturbed",
)  # where the cells measure
CELL_COLUMNS = ("study", "variant", "train", "cell", "seed")  # of curves and coverage
CURVE_COLUMNS = (*CELL_COLUMNS, "split", "step", *SCORES, "lr", "seconds", "tokens")
COVERAGE_COLUMNS = (
    *CELL_COLUMNS,
    "step",
    "layer",
    "head",
    "rounds",
    "coverage",
    "chance",
    "ceiling",
)
OWN = "own"  # the evaluation's name in a study without evaluations: the model as trained
