"""The rounds of a timed study: after its cells have ended, their times are measured in turn.

Each round of each cell is a process of its own, one at a time. `round_order` decides which is next.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from ablations.launch.decide import Plan
from ablations.launch.local.process import Process, start
from ablations.launch.local.quiet import QuietWait
from ablations.launch.local.round_order import Turn, next_turn, seconds_spent
from ablations.launch.local.stop import Stop
from ablations.launch.machine import environment_of
from ablations.launch.options import Options
from ablations.study import Study
from ablations.study.cell import Cell
from ablations.study.ratio_base import ratio_bases
from experiments.run_dir.files import LOG, log_tail
from experiments.run_dir.outcome import is_ok, result_row
from experiments.run_dir.rounds import Round, append_round, forget_failed_rounds, read_rounds
from experiments.terminal.units import milliseconds, per_step
from experiments.times.disturbed import disturbance
from reformer_pl.config import ConfigError, RunConfig

PROGRAM = "experiments.benchmarking.measure_round"
POLL_SECONDS = 0.1
GRACE_SECONDS = 10.0  # from SIGINT to SIGKILL: there is nothing to save


def measure_rounds(
    plan: Plan, options: Options, stop: Stop, quiet: QuietWait, print_line: Callable[[str], None]
) -> int:
    """Exit code: 0, or 1 where a cell's times could not be measured."""
    configs = dict(zip(plan.study.cells, plan.configs, strict=True))
    bases = {
        cell: base
        for cell, base in _bases(plan.study).items()
        if is_ok(result_row(cell.directory))
        and configs[cell].trainer.devices == 1
        and not configs[cell].benchmark.predict_only
    }
    for cell in bases if options.retry else ():
        forget_failed_rounds(cell.directory)
    code, begun, minutes = 0, False, options.minutes_of_rounds
    while not stop.signals:
        rounds = _rounds_of(bases)
        turn = next_turn(bases, rounds, minutes)
        if turn is None:
            if begun and seconds_spent(rounds) >= 60 * minutes:
                limit = f"the limit of {minutes:g} minutes is reached (--round-minutes)"
                print_line(f"{plan.study.name}: {limit}")
            break
        if not begun:
            begun = True
            print_line(f"{plan.study.name}: the time of a step, in rounds of all cells in turn")
        quiet.wait(stop, print_line)
        if stop.signals:
            break
        try:
            code |= _measure(turn, configs[turn.cell], options, stop, print_line)
        except (OSError, ConfigError) as error:  # it cannot be written, or somebody else runs it
            print_line(f"  {turn.cell}: round {turn.number} failed to start: {error}")
            return 1
    if begun and stop.signals:
        print_line(f"{plan.study.name}: interrupted: the same command goes on with the rounds")
    return code


def _bases(study: Study) -> dict[Cell, Cell]:
    """`ratio_bases`, where the first cell of a run stands for all cells of it."""
    run_of = {cell.directory: cell for cell in study.cells}
    bases: dict[Cell, Cell] = {}
    for cell, base in ratio_bases(study).items():
        if cell.directory in run_of and base.directory in run_of:
            bases.setdefault(run_of[cell.directory], run_of[base.directory])
    return bases


def _rounds_of(cells: dict[Cell, Cell]) -> dict[Cell, list[Round]]:
    return {cell: read_rounds(cell.directory, result_row(cell.directory)) for cell in cells}


def _measure(
    turn: Turn, config: RunConfig, options: Options, stop: Stop, print_line: Callable[[str], None]
) -> int:
    """One round of one cell, in a process of its own. Exit code: 0, or 1 where it failed."""
    cell = turn.cell
    overrides = (f"--round={turn.number}", *cell.overrides)
    environment = environment_of(config, None, options.gpus[: options.share], None)
    process = start(replace(cell, program=PROGRAM, overrides=overrides), environment)
    _wait(process, options.timeout_seconds, stop)
    rows = read_rounds(cell.directory, result_row(cell.directory))
    row = next((row for row in rows if row["round"] == turn.number), None)
    if row is None and stop.signals:
        return 0
    if row is None:
        reason = " ".join(log_tail(cell.directory, 1)) or f"exit code {process.popen.returncode}"
        row = {"round": turn.number, "error": reason, "wall_seconds": process.seconds}
        append_round(cell.directory, row)
    if "error" in row:
        log = cell.directory / LOG
        print_line(f"  {cell}: round {turn.number} failed: {row['error']}, log in {log}")
        return 1
    note = disturbance(row)
    seconds = row["step_seconds"]
    step = per_step(seconds) if cell.trains else milliseconds(seconds)
    print_line(f"  {cell}: round {turn.number}, {step}{f'; {note}' if note else ''}")
    return 0


def _wait(process: Process, timeout_seconds: float | None, stop: Stop) -> None:
    """Until it has ended, which a signal to the driver and the time limit of a cell ask for."""
    try:
        while not process.ended():
            timed_out = timeout_seconds is not None and process.seconds > timeout_seconds
            if stop.signals or timed_out:
                process.interrupt(GRACE_SECONDS)
            process.enforce()
            time.sleep(POLL_SECONDS)
    except BaseException:
        process.kill_at = 0.0
        process.enforce()
        raise
