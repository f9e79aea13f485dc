"""`tensorboard --logdir runs/STUDY`, read with TensorBoard's own backend.

Its runs: one that was killed twice, a whole one, a failed one.
"""

import signal
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.data.provider import ListHyperparametersResult, ScalarDatum
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.list_session_groups import Handler

from experiments import train
from experiments.training.tensorboard import TensorBoardFile
from processes import Fault, exit_code, result, rows, start
from reformer_pl.config import RunConfig

RUN = ["experiment=smoke", "trainer.accelerator=cpu", "trainer.threads=1", "trainer.max_steps=14"]
RUN += ["trainer.eval_every_steps=4", "trainer.log_every_steps=2", "task.curve_sequences=4"]
BATCH_END = ("experiments.training.callbacks", "MetricsFile.on_train_batch_end")
KILLED, WHOLE, FAILED = "LSH-1/seed=0", "LSH-2/seed=1", "diverges/seed=0"
COMMANDS = {
    KILLED: ["model.attention=lsh", "model.lsh.n_hashes=1", "seed=0"],
    WHOLE: ["model.attention=lsh", "model.lsh.n_hashes=2", "seed=1"],
    FAILED: ["model.attention=lsh", "model.lsh.n_hashes=1", "seed=0", "optim.lr=1e30"],
}


def curves(board: EventMultiplexer) -> dict[str, dict[str, list[ScalarDatum]]]:
    """The points of each run and tag, as the Time Series tab gets them."""
    return MultiplexerDataProvider(board, "").read_scalars(
        RequestContext(), experiment_id="", plugin_name="scalars", downsample=1000
    )


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, EventMultiplexer]:
    """(the study's folder, a TensorBoard that watched it)

    It watched while the first run was killed, resumed, killed and resumed.
    """
    study = tmp_path_factory.mktemp("study")
    board = EventMultiplexer().AddRunsFromDirectory(str(study))
    for name, overrides in COMMANDS.items():
        command = [*RUN, *overrides, f"out_dir='{study / name}'"]
        for nth in (11, 4) if name == KILLED else ():
            (study / name).mkdir(parents=True, exist_ok=True)
            killed = start(
                "experiments.train",
                command,
                study / name / "log.txt",
                (Fault(signal.SIGKILL, *BATCH_END, nth),),
            )
            assert exit_code(killed) == -signal.SIGKILL
            with max((study / name).glob("events.out.tfevents.*")).open("ab") as file:
                file.write(bytes(7))  # a record that the crash cut short
            board.AddRunsFromDirectory(str(study)).Reload()
            assert curves(board)[KILLED]["train/loss_nats"][-1].step == 10
        assert train.main(command) == (1 if name == FAILED else 0)
    return study, board.AddRunsFromDirectory(str(study)).Reload()


@pytest.fixture(scope="module", params=["opened afterwards", "watching all along"])
def board(
    request: pytest.FixtureRequest, watched: tuple[Path, EventMultiplexer]
) -> EventMultiplexer:
    study, watching = watched
    return (
        watching
        if request.param == "watching all along"
        else EventMultiplexer().AddRunsFromDirectory(str(study)).Reload()
    )


def test_runs_are_named_by_variant_and_seed(board: EventMultiplexer) -> None:
    assert set(board.Runs()) == set(COMMANDS)


@pytest.mark.parametrize("run", [KILLED, WHOLE])
def test_curves_are_the_rows_of_the_metrics_file_each_step_once(
    watched: tuple[Path, EventMultiplexer], board: EventMultiplexer, run: str
) -> None:
    directory = watched[0] / run
    for split, names in (
        ("train", ("loss_nats", "accuracy", "bits_per_dim", "lr")),
        ("valid", ("loss_nats", "accuracy", "bits_per_dim")),
    ):
        expected = rows(directory, split)
        assert [row["step"] for row in expected] == (
            [4, 8, 12, 14] if split == "valid" else list(range(2, 15, 2))
        )
        for name in names:
            events = curves(board)[run][f"{split}/{name}"]
            assert [event.step for event in events] == [row["step"] for row in expected]
            assert [event.value for event in events] == pytest.approx(
                [row[name] for row in expected]
            )
            clock = [event.wall_time - events[0].wall_time for event in events]
            assert clock == pytest.approx(
                [row["seconds"] - expected[0]["seconds"] for row in expected], abs=1e-4
            )
    groups = {tag.split("/")[0] for tag in curves(board)[run]}
    assert groups == {"final", "train", "valid"}  # HParams begins with those of the result


def test_a_file_that_cannot_be_written_ends_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    view = TensorBoardFile(tmp_path, RunConfig(), [])
    view.path = Path("/dev/full")
    row = {"step": 1, "split": "train", "seconds": 0.5, "tokens": 8, "loss_nats": 2.0}
    view.add(row)
    view.add(row)
    said = capsys.readouterr().err
    assert (
        "No space left on device): the run goes on without TensorBoard" in said
        and said.count("\n") == 1
    )


def test_hparams_compares_the_runs_by_what_varies(
    watched: tuple[Path, EventMultiplexer], board: EventMultiplexer
) -> None:
    context, request = (
        Context(TBContext(data_provider=MultiplexerDataProvider(board, ""))),
        RequestContext(),
    )
    found = context.experiment_from_metadata(
        request, "", True, context.hparams_metadata(request, ""), ListHyperparametersResult([], [])
    )
    differing = [info.name for info in found.hparam_infos if info.differs]
    assert (
        differing
        == ["model.lsh.n_hashes", "optim.lr", "seed"]
        == [info.name for info in found.hparam_infos][:3]
    )
    assert not {"out_dir", "evaluations", "benchmark.measure"} & {
        info.name for info in found.hparam_infos
    }
    metrics = [info.name.tag for info in found.metric_infos]
    assert metrics[:5] == [
        "final/accuracy",
        "final/bits_per_dim",
        "final/loss_nats",
        "final/peak_memory_gib",
        "final/step_seconds",
    ]

    every = [
        api_pb2.STATUS_UNKNOWN,
        api_pb2.STATUS_SUCCESS,
        api_pb2.STATUS_FAILURE,
        api_pb2.STATUS_RUNNING,
    ]
    asked = api_pb2.ListSessionGroupsRequest(allowed_statuses=every, slice_size=9)
    sessions = {
        group.name: group for group in Handler(request, context, "", asked).run().session_groups
    }
    assert sessions.keys() == set(COMMANDS)
    for run in (KILLED, WHOLE):
        done = result(watched[0] / run)
        values = {value.name.tag: value.value for value in sessions[run].metric_values}
        for tag in metrics[:5]:
            assert values[tag] == pytest.approx(done[tag.split("/")[1]]), tag
        *_, last = rows(watched[0] / run, "valid")  # scored on a part
        assert values["final/loss_nats"] != pytest.approx(last["loss_nats"], rel=1e-5)
        assert sessions[run].sessions[0].status == api_pb2.STATUS_SUCCESS
    assert [
        sessions[run].hparams["model.lsh.n_hashes"].number_value for run in (KILLED, WHOLE)
    ] == [1, 2]
    assert (
        sessions[WHOLE].hparams["model.lsh.dedupe"].bool_value
        and sessions[WHOLE].hparams["optim.betas"].string_value == "[0.9, 0.98]"
    )
    assert (
        not sessions[FAILED].metric_values
        and sessions[FAILED].sessions[0].status == api_pb2.STATUS_UNKNOWN
    )
