"""A run in TensorBoard: the rows of metrics.jsonl as curves, and its config and result in HParams.

The events file lies in the run's own directory, so that TensorBoard calls the run CELL/seed=N. Its
clock counts seconds of training. No file says which keys a study varies: TensorBoard compares the
runs that it finds, and shows the keys in which they differ first.
"""

import math
import sys
import time
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import (
    HParamsPluginData,
    SessionEndInfo,
    SessionStartInfo,
)
from tensorboard.summary.writer.record_writer import RecordWriter

from reformer_pl.config import RunConfig, flat, to_dict
from reformer_pl.metrics import SCORES

# What result.json says at the end, as the report shows it. The last points of the curves are other
# numbers: they are scored on task.curve_sequences. "final" sorts before "train" and "valid", so
# that HParams begins with the scores of the report.
FINAL = (
    *(score.name for score in SCORES),
    "peak_memory_gib",
    "step_seconds",
    "tokens_per_second",
)
PLACE = ("step", "split", "seconds", "tokens")  # where a row stands; the rest of it are values
NO_HYPERPARAMETERS = ("out_dir", "evaluations", "benchmark", "trainer.loggers")  # and keys below


class TensorBoardFile:
    """The file of one process of a run. For one rank.

    It takes back what the files of earlier processes show, and repeats the rows that stand. So a
    resumed run shows each step once, also in a TensorBoard that has been watching.
    """

    def __init__(self, directory: Path, config: RunConfig, rows: list[dict[str, Any]]) -> None:
        # TensorBoard reads the files in the order of their names.
        self.path = directory / f"events.out.tfevents.{time.time_ns()}"
        self.broken = False
        self.began = time.time() - (rows[-1]["seconds"] if rows else 0.0)
        start = HParamsPluginData(session_start_info=_session(config, self.began))
        anew = Event(session_log=SessionLog(status=SessionLog.START))  # at step 0
        head = (
            Event(file_version="brain.Event:2"),
            anew,
            Event(summary=_hparams(metadata.SESSION_START_INFO_TAG, start)),
        )
        self._append(*head, *map(self._curves, rows))

    def add(self, row: dict[str, Any]) -> None:
        """A row of metrics.jsonl."""
        self._append(self._curves(row))

    def finish(self, result: dict[str, Any]) -> None:
        """The scores and costs of the run, as metrics of HParams. A run that failed has none.

        `result` is what result.json says: seconds and GiB.
        """
        at, step = self.began + result["train_seconds"], result["steps"]
        end = HParamsPluginData(
            session_end_info=SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=at)
        )
        numbers = {name: result[name] for name in FINAL if name in result}
        final = {f"final/{name}": value for name, value in numbers.items() if math.isfinite(value)}
        self._append(
            _scalars(final, step, at),
            Event(step=step, wall_time=at, summary=_hparams(metadata.SESSION_END_INFO_TAG, end)),
        )

    def _curves(self, row: dict[str, Any]) -> Event:
        values = {
            f"{row['split']}/{name}": value
            for name, value in row.items()
            if name not in PLACE and value is not None
        }
        return _scalars(values, row["step"], self.began + row["seconds"])

    def _append(self, *events: Event) -> None:
        """Write events. A view that cannot be written ends no run.

        That is printed once, and no more is written after half a record.
        """
        if self.broken:
            return
        try:
            with self.path.open("ab") as file:  # closed each time: a run that is killed keeps it
                writer = RecordWriter(file)
                for event in events:
                    writer.write(event.SerializeToString())
        except OSError as error:
            self.broken = True
            reason = f"{self.path} cannot be written ({error.strerror})"
            advice = "the run goes on without TensorBoard"
            print(f"{reason}: {advice}", file=sys.stderr, flush=True)


def _session(config: RunConfig, began: float) -> SessionStartInfo:
    """Every key that may matter in training.

    TensorBoard has no type for null and lists: they are text.
    """
    session = SessionStartInfo(start_time_secs=began)
    values = flat(to_dict(config))
    for key in [key for key in values if not key.startswith(NO_HYPERPARAMETERS)]:
        value = values[key]
        match value:
            case bool():
                session.hparams[key].bool_value = value
            case int() | float():
                session.hparams[key].number_value = value
            case _:
                session.hparams[key].string_value = str(value)
    return session


def _scalars(values: dict[str, float], step: int, wall_time: float) -> Event:
    summary = Summary(
        value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
    )
    return Event(step=step, wall_time=wall_time, summary=summary)


def _hparams(tag: str, data: HParamsPluginData) -> Summary:
    return Summary(
        value=[
            Summary.Value(
                tag=tag,
                metadata=metadata.create_summary_metadata(data),
                tensor=metadata.NULL_TENSOR,
            )
        ]
    )
