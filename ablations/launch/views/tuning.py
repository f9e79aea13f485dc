"""What `run`, `plan` and `status` say of the tuning of a study, a line each."""

from ablations.study import Study
from ablations.study.tune.choice import Choice

AT_THE_EDGE = "at the edge of its list"


def tuning_lines(study: Study) -> list[str]:
    """How many cells are of tuning and how many are to come; then what is chosen, and what waits.

    None for a study that tunes nothing.
    """
    tuning = study.tuning
    if tuning is None:
        return []
    waiting = [cell for cell in study.cells if study.is_open(cell)]
    tried = {cell.directory for cell in tuning.grid.cells}
    n_shared = sum(cell.directory in tried for cell in study.cells)
    known = f"{len(study.cells) - len(waiting)} known, {len(waiting)} to come"
    same = f"; {n_shared} of them are tuning cells, and run once" if n_shared else ""
    lines = [
        f"{study.name}: {len(tried)} tuning cells choose {tuning.keys} for "
        f"{len(tuning.options)} variants; {len(study.cells)} final cells, {known}{same}"
    ]
    for variant, choice in tuning.choices.items():
        if choice.chosen is not None and len(choice.options) > 1:
            lines.append(f"  {variant}: {choice_text(choice)}")
    if waiting:
        variants = list(dict.fromkeys(cell.train for cell in waiting))
        lines.append(
            f"{study.name}: {len(waiting)} final cells wait for the tuning cells of "
            f"{', '.join(variants)}: the same command runs them when those have ended"
        )
    return lines


def choice_text(choice: Choice) -> str:
    """ "lr=0.004, at the edge of its list", or why there is none yet."""
    if choice.chosen is None:
        return "open"
    edge = f", {AT_THE_EDGE}" if choice.edges else ""
    return f"{choice.chosen}{edge}"
