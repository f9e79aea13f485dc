"""The parts of a report that `report:` in a study asks for by a word: its tables, and its figures."""

import pandas as pd

from ablations.report.figure import Drawing, heat_map_drawing
from ablations.report.parts.coverage import coverage_drawings, coverage_table
from ablations.report.parts.hash_rounds import rounds_drawing, rounds_table
from ablations.report.parts.learning_curves import curve_drawings
from ablations.report.parts.loss_memory import memory_drawings
from ablations.report.parts.memory_prediction import prediction_drawings, prediction_table
from ablations.report.parts.paired import paired_table
from ablations.report.table import Table, loss_memory, train_cost, train_eval
from ablations.results import score_rows
from ablations.study import Study
from experiments.run_dir.outcome import OK


def study_tables(study: Study, cells: pd.DataFrame) -> list[Table]:
    """The tables the study asks for, from `results.load_cells`; loss_memory where it asks for figures alone."""
    tables = []
    for part in study.report:
        match part:
            case "train_eval":
                tables += [train_eval(study, cells, score_rows(study)), train_cost(study, cells)]
            case "loss_memory":
                tables.append(loss_memory(study, cells))
            case "paired":
                tables.append(paired_table(study, cells))
            case "hash_rounds":
                tables.append(rounds_table(study, cells))
            case "memory_prediction":
                tables.append(prediction_table(study, cells))
            case "coverage":
                tables.append(coverage_table(study, cells))
    return tables or [loss_memory(study, cells)]


def study_drawings(study: Study, cells: pd.DataFrame) -> list[Drawing]:
    """The figures the study asks for. One for which no cell has a number is left out; the tables say why."""
    drawings: list[Drawing] = []
    for part in study.report if (cells["status"] == OK).any() else ():
        match part:
            case "train_eval":
                drawings.append(heat_map_drawing(study, cells))
            case "loss_memory":
                drawings += memory_drawings(study, cells)
            case "hash_rounds":
                drawings.append(rounds_drawing(study, cells))
            case "memory_prediction":
                drawings += prediction_drawings(study, cells)
            case "coverage":
                drawings += coverage_drawings(study, cells)
            case "learning_curves":
                drawings += curve_drawings(study, cells)
    return drawings
