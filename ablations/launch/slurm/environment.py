"""The environment of a driver that may run in a job itself: of SLURM, torchrun or mpirun."""

import os

from experiments.rank import OTHERS, TORCHRUN

OF_A_JOB = ("SLURM_", "SBATCH_")
OF_A_TASK = (*TORCHRUN, *OTHERS, "NODE_RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK")


def outside_of_a_job() -> dict[str, str]:
    """This process's environment, without that of its job and its rank there: it is no cell's."""
    in_a_job = "SLURM_JOB_ID" in os.environ
    return {
        name: value
        for name, value in os.environ.items()
        if name not in OF_A_TASK
        and (not in_a_job or not name.startswith(OF_A_JOB) or name == "SLURM_CONF")
    }
