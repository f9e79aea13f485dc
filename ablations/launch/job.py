"""The common word of the launchers: what another program, such as SLURM, has of a cell."""

from dataclasses import dataclass

from ablations.study.cell import Cell
from experiments.run_dir.outcome import FAILED, result_row

LIVE = ("queued", "requeued", "running")


@dataclass(frozen=True)
class Job:
    """A cell that was handed over.

    `state` is queued, requeued or running; or ended; or unknown, where nobody answers; or
    unreadable, where the record of the job is damaged. `why` says why it waits, if somebody must do
    something; how it ended; why nobody answers; or what is damaged.
    """

    id: str  # as the launcher numbers it: 12_3 of an array of SLURM
    state: str
    why: str = ""
    launcher: str = ""  # the word of --launcher
    kind: str = "job"  # what stands before the id in a sentence: SLURM job
    status: str = FAILED  # of a cell whose job has ended without a result

    @property
    def is_live(self) -> bool:
        return self.state in LIVE

    @property
    def may_run(self) -> bool:
        return self.is_live or self.state == "unknown"

    def __str__(self) -> str:
        return f"{self.state} as {self.kind} {self.id}" + (f": {self.why}" if self.why else "")


def is_lost(cell: Cell, job: Job) -> bool:
    """Whether a job has ended without a result.

    Ask after the queue: a result may come meanwhile.
    """
    return job.state == "ended" and result_row(cell.directory) is None
