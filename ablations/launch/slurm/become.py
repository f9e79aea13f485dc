"""What a job of a cell does: each process that srun starts becomes the cell's own command.

submitit loads this function by its name on the compute node, so this file imports next to nothing.
"""

import os
import signal
import socket
from pathlib import Path

from ablations.launch.cell_environment import CELL_ENVIRONMENT
from experiments.rank import GPU_ASKED

# What SLURM sets where a job has asked for GPUs.
ASKED_OF_SLURM = ("SLURM_GPUS", "SLURM_GPUS_PER_NODE", "SLURM_GPUS_PER_TASK")


def become(command: list[str], log_path: str) -> None:
    """Replace this process by the cell; nothing of submitit stays, its signal handlers included.

    The output is appended to `log_path`. Processes on further nodes write to a file each, for
    appending to one file is safe on one node alone.
    """
    rank, node = os.environ["SLURM_PROCID"], os.environ["SLURM_NODEID"]
    path = Path(log_path)
    if node != "0":
        path = path.with_name(f"{path.stem}.rank={rank}{path.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    if rank == "0":
        array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
        job = f"{array}_{task}" if array else os.environ["SLURM_JOB_ID"]
        start = int(os.environ.get("SLURM_RESTART_COUNT", 0)) + 1
        os.write(log, f"SLURM job {job} on {socket.gethostname()}, start {start}\n".encode())
    for stream in (1, 2):
        os.dup2(log, stream)
    environment = os.environ | CELL_ENVIRONMENT
    cpus = os.environ.get("SLURM_CPUS_PER_TASK")
    if cpus:
        environment.setdefault("OMP_NUM_THREADS", cpus)
    if any(name in environment for name in ASKED_OF_SLURM):
        environment[GPU_ASKED] = "1"
    # Ignored until the command listens, in seconds. What SLURM means to end, it kills in the end.
    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.execve(command[0], command, environment)
