"""What `plan`, `run` and `status` say of cells of equal config, which are one run."""

from ablations.study import Study
from ablations.study.runs.shared import shared_variants


def shared_lines(study: Study) -> list[str]:
    """A line for each variant that has no run of its own."""
    return [
        f"{study.name}: {variant} is the run of {other}: their configs are equal"
        for variant, other in shared_variants(study).items()
    ]
