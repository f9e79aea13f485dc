"""What a study is judged by: the metrics of its task, read from a config."""

from ablations.study import Study
from ablations.study.changed import composed
from experiments.run_dir.files import read_config_values
from reformer_pl.config import ConfigError
from reformer_pl.metrics import Metric, task_metrics


def judged_by(study: Study) -> Metric:
    """The first metric of the study's task."""
    return study_metrics(study)[0]


def study_metrics(study: Study) -> tuple[Metric, ...]:
    """The metrics of the task of the study's first cell; of a folder of runs, of the first run with
    a config. Raises ConfigError.
    """
    if study.grids:
        return task_metrics(composed(study.cells[0].overrides).task.name)
    for cell in study.cells:
        try:
            task = read_config_values(cell.directory).get("task")
        except ConfigError:  # another run of the folder may say
            continue
        if isinstance(task, dict) and "name" in task:
            return task_metrics(str(task["name"]))
    raise ConfigError(
        f"no config.yaml below {study.directory} has a task.name: copy it beside each result.json"
    )
