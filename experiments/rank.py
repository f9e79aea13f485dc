"""Which of a run's processes this one is: the first alone writes its files."""

import os


def first_rank() -> bool:
    """Whether this is the first of the run's processes.

    Lightning numbers those that it starts with LOCAL_RANK, SLURM all of a job with SLURM_PROCID.
    """
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "SLURM_PROCID"))
