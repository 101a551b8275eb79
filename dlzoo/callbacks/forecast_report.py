"""What the test says about a forecast."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl

from dlzoo.callbacks.base import Observer
from dlzoo.callbacks.sinks import publish, run_folder, spec_of
from dlzoo.specs import frequency
from dlzoo.specs.inputs import SeriesSpec
from dlzoo.utils import csv_writer as csv_files
from dlzoo.visualization import series as series_plots


class ForecastReport(Observer):
    """After a test on a series: forecast.png, and forecast.csv with the truth, the forecast and simpler ones."""

    def __init__(self) -> None:
        self.told: dict[str, Any] | None = None

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.told = None

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if isinstance(spec_of(pl_module), SeriesSpec) and isinstance(outputs, dict) and "history" in outputs:
            self.told = outputs

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        spec, told = spec_of(pl_module), self.told
        if not isinstance(spec, SeriesSpec) or told is None or not trainer.is_global_zero:
            return
        history, output, truth, baselines = (told[key] for key in ("history", "output", "target", "baselines"))
        publish(trainer, "forecast", series_plots.forecast(spec, history, output, truth=truth, baselines=baselines))
        kinds = {"true": truth, "forecast": output, **baselines}
        times = frequency.times(spec.start, spec.frequency, len(history) + len(output))[len(history) :]
        with (run_folder(trainer) / "forecast.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv_files.Writer(file)
            writer.writerow(["time", *(f"{name} {kind}" for name in spec.target.names for kind in kinds)])
            for i, time in enumerate(times):
                cells = [f"{values[i, d]:.7g}" for d in range(spec.num_columns) for values in kinds.values()]
                writer.writerow([frequency.label(time), *cells])
        self.told = None
