"""What `plan`, `run` and `status` say of a whole study: what was drawn, and what is one run."""

from ablations.study import Study
from ablations.study.runs.sample import sample_line
from ablations.study.runs.shared import shared_variants


def study_lines(study: Study) -> list[str]:
    """Which of its cells a sample drew, and a line for each variant that has no run of its own."""
    drawn = sample_line(study)
    shared = [
        f"{variant} is the run of {other}: their configs are equal"
        for variant, other in shared_variants(study).items()
    ]
    return [f"{study.name}: {line}" for line in (*([drawn] if drawn else []), *shared)]
