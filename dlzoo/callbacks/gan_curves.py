"""Curves of generator and discriminator over the epochs."""

from __future__ import annotations

import lightning.pytorch as pl

from dlzoo.callbacks.base import Report
from dlzoo.callbacks.csv_history import History
from dlzoo.callbacks.metrics_csv import read_rows
from dlzoo.callbacks.sinks import publish, run_folder, run_name
from dlzoo.tasks.base import Task
from dlzoo.visualization import latent as latent_plots


class GANCurves(Report):
    """adversaries.png when the fit ends: both losses, D(x) and D(G(z)), from the run's metrics.csv.

    It must come after `History`, which writes that file.
    """

    def applies_to(self, task: Task) -> bool:
        generator = task.as_generator()
        return generator is not None and generator.is_adversarial

    def write_fit(self, trainer: pl.Trainer, task: Task) -> None:
        path = run_folder(trainer) / "metrics.csv"
        has_rows = any(isinstance(callback, History) for callback in trainer.callbacks)  # type: ignore[attr-defined]
        if has_rows and path.exists():
            publish(trainer, "adversaries", latent_plots.adversaries(read_rows(path), heading=run_name(trainer)))
