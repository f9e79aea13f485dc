"""The environment of a driver that may run in a SLURM job itself."""

import os


def outside_of_a_job() -> dict[str, str]:
    """This process's environment, without that of its job: it is not the cell's."""
    if "SLURM_JOB_ID" not in os.environ:
        return dict(os.environ)
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SLURM_", "SBATCH_")) or name == "SLURM_CONF"
    }
