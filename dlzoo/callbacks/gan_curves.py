"""The game between generator and discriminator, epoch by epoch."""

from __future__ import annotations

import lightning.pytorch as pl

from dlzoo.callbacks.base import Observer
from dlzoo.callbacks.csv_history import History
from dlzoo.callbacks.metrics_csv import read_rows
from dlzoo.callbacks.sinks import publish, run_folder
from dlzoo.tasks.gan import Adversarial
from dlzoo.visualization import latent as latent_plots


class AdversaryCurves(Observer):
    """adversaries.png when the fit ends: both losses, D(x) and D(G(z)), from the run's metrics.csv.

    It must stand behind `History`, which writes that file.
    """

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        path = run_folder(trainer) / "metrics.csv"
        has_rows = any(isinstance(callback, History) for callback in trainer.callbacks)  # type: ignore[attr-defined]
        if isinstance(pl_module, Adversarial) and trainer.is_global_zero and has_rows and path.exists():
            publish(trainer, "adversaries", latent_plots.adversaries(read_rows(path)))
