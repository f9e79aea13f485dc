"""The options of `plan`."""

import argparse

BUDGET = (
    "instead of the cells: the longest sequence of each variant that fits into this memory "
    "of one process, such as 80GiB; a search among lengths that the variant allows"
)
FOR_GPU = "predict for a GPU, also where this machine has none (not under trainer.accelerator=cpu)"


def add_plan_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--budget", metavar="MEMORY", help=BUDGET)
    sub.add_argument("--for-gpu", action="store_true", help=FOR_GPU)
