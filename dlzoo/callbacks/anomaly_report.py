"""Test results of a search for anomalies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch

from dlzoo.callbacks.base import Report, Step
from dlzoo.callbacks.sinks import publish, run_folder
from dlzoo.specs import frequency
from dlzoo.tasks.base import Task
from dlzoo.utils import csv_writer as csv_files
from dlzoo.utils.files import open_text
from dlzoo.visualization import anomalies as figures


class AnomalyReport(Report):
    """After a test for anomalies, of one origin or several in order: anomalies.png, anomalies.csv with each step's
    error, and precision_recall.png if the data have marks."""

    def __init__(self) -> None:
        self.outputs: list[Mapping[str, Any]] = []

    def applies_to(self, task: Task) -> bool:
        return task.as_detector() is not None

    def begin_test(self, trainer: pl.Trainer, task: Task) -> None:
        self.outputs = []

    def collect(self, trainer: pl.Trainer, task: Task, step: Step) -> None:
        self.outputs.append(step.outputs)

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        spec, detector = task.spec.series, task.as_detector()
        origins, self.outputs = self.outputs, []
        if spec is None or detector is None or not origins:
            return
        values, error = (torch.cat([origin[key] for origin in origins]) for key in ("target", "error"))
        marks = torch.cat([origin["marks"] for origin in origins]) if "marks" in origins[0] else None
        num_before = len(origins[0]["history"])
        times = frequency.times(spec.start, spec.frequency, num_before + len(values))[num_before:]
        publish(trainer, "anomalies", figures.errors(spec, times, values, error, detector.threshold, marks))
        if marks is not None and marks.any() and not marks.all():
            publish(trainer, "precision_recall", figures.precision_recall(error, marks, detector.threshold))
        with open_text(run_folder(trainer) / "anomalies.csv", "w") as file:
            writer = csv_files.Writer(file)
            writer.writerow(["time", *spec.target.names, "error", "anomaly", *([] if marks is None else ["mark"])])
            for i, time in enumerate(times):
                given = [] if marks is None else [int(marks[i])]
                cells = [f"{value:.7g}" for value in values[i]]
                found = int(error[i] > detector.threshold)
                writer.writerow([frequency.label(time), *cells, f"{error[i]:.7g}", found, *given])
