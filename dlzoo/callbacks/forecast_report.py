"""Test results of a forecast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from dlzoo.callbacks.base import Report, Step
from dlzoo.callbacks.sinks import publish, run_folder
from dlzoo.metrics.forecasting import errors
from dlzoo.specs import frequency
from dlzoo.specs.inputs import SeriesSpec
from dlzoo.tasks.base import Task
from dlzoo.utils import csv_writer as csv_files
from dlzoo.utils.files import open_text
from dlzoo.visualization import series as series_plots

ERRORS = ("rmse", "mae", "mape", "mase")


class ForecastReport(Report):
    """After a test of a forecasting task: forecast.png, and forecast.csv with truth, forecast and baselines; of several
    columns also forecast_errors.csv, with the errors of each.

    Forecasts from several origins follow one another.
    """

    def __init__(self) -> None:
        self.outputs: list[Mapping[str, Any]] = []
        """Of each origin."""

    def applies_to(self, task: Task) -> bool:
        return task.as_forecaster() is not None

    def begin_test(self, trainer: pl.Trainer, task: Task) -> None:
        self.outputs = []

    def collect(self, trainer: pl.Trainer, task: Task, step: Step) -> None:
        self.outputs.append(step.outputs)

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        spec = task.spec.series
        if spec is None or not self.outputs:
            return
        origins, self.outputs = self.outputs, []
        history = origins[0]["history"]
        output, truth = (torch.cat([origin[key] for origin in origins]) for key in ("output", "target"))
        methods = [name for name in origins[0]["baselines"] if all(name in origin["baselines"] for origin in origins)]
        baselines = {name: torch.cat([origin["baselines"][name] for origin in origins]) for name in methods}
        quantiles = torch.cat([origin["quantiles"] for origin in origins]) if spec.quantiles else None
        figure = series_plots.forecast(spec, history, output, truth=truth, baselines=baselines, quantiles=quantiles)
        publish(trainer, "forecast", figure)
        kinds = {"true": truth, "forecast": output, **baselines}
        if quantiles is not None:
            kinds |= {f"quantile {level:g}": quantiles[..., i] for i, level in enumerate(spec.quantiles)}
        times = frequency.times(spec.start, spec.frequency, len(history) + len(output))[len(history) :]
        with open_text(run_folder(trainer) / "forecast.csv", "w") as file:
            writer = csv_files.Writer(file)
            writer.writerow(["time", *(f"{name} {kind}" for name in spec.target.names for kind in kinds)])
            for i, time in enumerate(times):
                cells = [f"{values[i, d]:.7g}" for d in range(spec.num_columns) for values in kinds.values()]
                writer.writerow([frequency.label(time), *cells])
        if spec.num_columns > 1:
            self._write_errors(trainer, spec, truth, {"forecast": output, **baselines})

    def _write_errors(
        self, trainer: pl.Trainer, spec: SeriesSpec, truth: Tensor, forecasts: Mapping[str, Tensor]
    ) -> None:
        with open_text(run_folder(trainer) / "forecast_errors.csv", "w") as file:
            writer = csv_files.Writer(file)
            writer.writerow(["column", "method", *ERRORS])
            for d, column in enumerate(spec.target.names):
                one = slice(d, d + 1)
                for method, values in forecasts.items():
                    found = errors(values[:, one], truth[:, one], spec.scales[one])
                    writer.writerow(
                        [column, method, *(f"{found[name]:.6g}" if name in found else "" for name in ERRORS)]
                    )
