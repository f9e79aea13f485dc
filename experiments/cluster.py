"""What a run knows of SLURM: how it goes on after its time limit.

`srun` starts each process with the same command; experiments/rank.py says which of them this is.
Lightning and submitit could both requeue a job, and neither does so here: they save from within the
signal handler, in the middle of a step, each rank for itself. Here a signal of the cluster is a
Ctrl-C: all ranks finish the same step and save the one checkpoint, and the first requeues the job.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from experiments.rank import SHELLS, first_rank
from experiments.run_dir.files import RESULT, checkpoint_path, written_at


def started_by_srun() -> bool:
    """Whether this is a job of SLURM's, and no shell in one."""
    job = {"SLURM_JOB_ID", "SLURM_NTASKS"} <= os.environ.keys()
    return job and os.environ.get("SLURM_JOB_NAME") not in SHELLS


@contextmanager
def stopped_by_the_cluster(directory: Path) -> Iterator[None]:
    """SIGTERM, SIGHUP and SIGUSR1 do what Ctrl-C does at that moment.

    SIGTERM ends a job, and SLURM sends SIGUSR1 before the time limit. SIGHUP comes, often twice,
    where a terminal is closed: after another signal it is ignored, and below nohup always. On SLURM
    only the first signal counts: the others come while the run is saving. A run that has not ended
    is queued again after SIGUSR1, and after the SIGTERM of a preemption with a grace time: SLURM
    itself would requeue only what is still there when that is over.
    """
    signals: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        signals.append(number)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if len(signals) > 1 and started_by_srun():
            return
        # A job that a script's shell put into the background ignores SIGINT.
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)

    wanted = [signal.SIGTERM, *([signal.SIGUSR1] if started_by_srun() else [])]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        wanted.append(signal.SIGHUP)
    previous = {number: signal.signal(number, stop) for number in wanted}
    checkpoint = checkpoint_path(directory)
    before = written_at(checkpoint)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if started_by_srun() and signals and first_rank() and not (directory / RESULT).exists():
            _go_on_later(signals[0], written_at(checkpoint) != before)


def _go_on_later(number: int, advanced: bool) -> None:
    """Requeue the job after signal `number`, where it is not over.

    A job whose time ended before it came any further would never come further: it is not requeued.
    """
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array else os.environ["SLURM_JOB_ID"]
    preempted = _is_preempted(job)
    if number == signal.SIGTERM and not preempted:
        return
    if not advanced and not preempted:
        reason = "its time ended before it had saved anything new: give it more time"
        print(f"job {job} is not requeued: {reason}", file=sys.stderr, flush=True)
        return
    print(f"requeueing job {job}, which resumes from the checkpoint", file=sys.stderr, flush=True)
    done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
    if done.returncode:
        reason = " ".join(done.stderr.split())
        print(f"job {job} cannot be requeued: {reason}", file=sys.stderr, flush=True)


def _is_preempted(job: str) -> bool:
    """Whether the job runs in the grace time of a preemption.

    After scancel, or a requeue from outside, SLURM no longer calls it running.
    """
    command = ["scontrol", "show", "job", job]
    job_text = subprocess.run(command, capture_output=True, text=True).stdout
    return "JobState=RUNNING" in job_text and re.search(r"\bPreemptTime=\d", job_text) is not None
