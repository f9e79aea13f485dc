"""`run --dry-run`: a line for each cell that says what would happen."""

from ablations.launch.decide import Decision, Plan
from ablations.study.cell import Cell
from experiments.run_dir.files import CORRUPT_CHECKPOINT, checkpoint_path
from experiments.run_dir.lock import is_running
from experiments.run_dir.reading import has_file, unreadable
from reformer_pl.config import ConfigError, RunConfig


def print_decisions(plan: Plan) -> int:
    """Exit code: 0, or 2 where a config has changed, for then `run` refuses."""
    study = plan.study
    print(f"{study.name}: {len(study.cells)} cells, {len(plan.starting)} would start")
    for cell, config in zip(study.cells, plan.configs, strict=True):
        print(f"  {cell}: {_sentence(cell, config, plan.decisions[cell])}", flush=True)
    changed = any(decision.word == "changed" for decision in plan.decisions.values())
    return 2 if changed else 0


def _sentence(cell: Cell, config: RunConfig, decision: Decision) -> str:
    match decision.word:
        case _ if is_running(cell.directory):
            return "skip (it is running now)"
        case "resume" | "retry":
            return f"{decision} {_first_step(cell, config)}"
        case "start over":
            return f"start over, and keep what is there as {cell.directory.name}.before-TIME"
        case "given":
            return f"skip (it is {decision.why})"
        case "unreadable":
            return f"refuse, for it is unreadable: {decision.why}"
        case "changed":
            return f"refuse, for its config changed: {decision.why}"
        case _:
            return str(decision)


def _first_step(cell: Cell, config: RunConfig) -> str:
    """The step from which a cell would go on."""
    path = checkpoint_path(cell.directory)
    try:
        saved = has_file(path)
    except ConfigError as error:
        return f"from its checkpoint, which is refused: {error}"
    if not saved:
        return "from the start" + (", for it left no checkpoint" if cell.trains else "")
    import torch  # takes seconds; only --dry-run comes here

    try:
        step = torch.load(path, map_location="meta", mmap=True, weights_only=True)["global_step"]
    except PermissionError as error:
        return f"from its checkpoint, which is refused: {unreadable(path, error)}"
    except CORRUPT_CHECKPOINT as error:
        reason = f"refused as corrupt ({type(error).__name__})"
        return f"from its checkpoint, which is {reason}: delete {path} to train it again"
    return f"from step {step} of {config.trainer.max_steps}"
