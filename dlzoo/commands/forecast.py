"""Forecast a series with the checkpoints of one or several seeds: a table, and a figure with their interval.

    dlzoo forecast ckpt=<run>/checkpoints/best.ckpt input=recent.csv
    dlzoo forecast ckpt=a.ckpt,b.ckpt,c.ckpt picture=forecast.png

Options:
    ckpt       one checkpoint (or the folder of a run or of a published model), or several for the same data,
               separated by commas
    input      a CSV file of the most recent values, with the columns of the training file, and rows after the last
               value with what data.known_ahead names; - reads standard input;
               default: forecast the test split of the run's data, and compare with the truth
    horizon    steps to forecast; default: as in training
    picture    a file for the figure: history, truth if it is known, forecast with one standard deviation
    format     table, json, jsonl or csv; default: by the extension of output, or a table
    output     a file to write instead of the terminal
    trust      a package of your own that the checkpoint uses
    separator, decimal, encoding, header, quotes     of the CSV file; default: as in training

With several checkpoints the table holds their mean and standard deviation (n - 1). Of a net that forecasts quantiles it
holds these as well. Exit code 0 on success, 2 on an
error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dlzoo.commands import cli
from dlzoo.commands.inputs import recent
from dlzoo.commands.records import FormatName, format_of, write_records
from dlzoo.errors import UserError, at_least
from dlzoo.inference import loading
from dlzoo.inference.inputs import labels
from dlzoo.inference.predict import forecast
from dlzoo.inference.records import to_records
from dlzoo.utils import files as paths
from dlzoo.utils import model_folders

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from torch import Tensor

    from dlzoo.data.series.base import Series
    from dlzoo.specs.inputs import SeriesSpec
    from dlzoo.tasks.interfaces import Forecasting


@dataclass(frozen=True, kw_only=True)
class Options:
    ckpt: str
    input: str | None = None
    horizon: int | None = None
    picture: str | None = None
    format: FormatName | None = None
    output: str | None = None
    separator: str | None = None
    decimal: Literal[".", ","] | None = None
    encoding: str | None = None
    header: bool | None = None
    quotes: bool | None = None
    trust: str | None = None


def main() -> None:
    """The command."""
    cli.execute(command, __doc__)


def command(argv: Sequence[str]) -> None:
    """Forecast as the arguments specify."""
    options, _ = cli.parse(Options, [arg.removeprefix("data.") for arg in argv])
    at_least(1, horizon=options.horizon)
    ckpts = [model_folders.checkpoint(text, "ckpt") for text in options.ckpt.split(",")]
    source = None if options.input in (None, "-") else paths.existing_file(str(options.input), "input")
    sources = [*ckpts, *([source] if source else [])]
    output = None if options.output is None else paths.writable(options.output, "output", *sources)
    picture = None if options.picture is None else paths.writable(options.picture, "picture", *sources)
    if picture is not None and picture.suffix not in (".png", ".pdf", ".svg"):
        raise UserError(f"picture={options.picture}: the extension must be .png, .pdf or .svg")

    from dlzoo.data.series.base import with_known

    loaded = [_load(ckpt, options.trust) for ckpt in ckpts]
    _check_compatible([task.spec for task, _ in loaded], ckpts)
    task, cfg = loaded[0]
    history = _history(options, task.spec, cfg, ckpts[0], source)
    horizon, truth = options.horizon or task.spec.horizon, None
    if options.input is None:
        truth = history.values[-task.spec.horizon :]
        history = history._replace(
            values=history.values[: -task.spec.horizon], times=history.times.iloc[: -task.spec.horizon]
        )
        truth = truth[:horizon] if horizon <= len(truth) else None
    known = with_known(history, task.spec, len(history.values))
    forecasts = _forecasts([task for task, _ in loaded], known, horizon)
    quantiles = _quantiles([task for task, _ in loaded], known, horizon) if task.quantiles else None
    _write_table(options, task.spec, history, forecasts, quantiles, output)
    if picture is not None:
        _draw(picture, task.spec, history, forecasts, truth, quantiles)
        print(f"picture       {picture}")


def _load(ckpt: Path, trust: str | None) -> tuple[Forecasting, DictConfig]:
    task, cfg = loading.load(ckpt, trust)
    forecaster = task.as_forecaster()
    if forecaster is None:
        raise UserError(f"ckpt={ckpt} takes {task.spec.describe()}, and does not forecast; use dlzoo predict")
    return forecaster, cfg


def _check_compatible(specs: Sequence[SeriesSpec], ckpts: Sequence[Path]) -> None:
    """Forecasts can only be averaged if they are of the same columns at the same steps."""
    for spec, ckpt in zip(specs, ckpts, strict=True):
        for key, value, first in (
            ("columns", spec.target.names, specs[0].target.names),
            ("frequency", spec.frequency, specs[0].frequency),
            ("horizon", spec.horizon, specs[0].horizon),
            ("quantiles", spec.quantiles, specs[0].quantiles),
        ):
            if value != first:
                raise UserError(
                    f"ckpt={ckpt} has {key} {value}, but {ckpts[0]} has {first}: forecast with them one at a time"
                )


def _history(options: Options, spec: SeriesSpec, cfg: DictConfig, ckpt: Path, source: Path | None) -> Series:
    from dlzoo.commands.inputs import csv_style
    from dlzoo.data.series.base import SeriesData

    if options.input is not None:
        return recent(source or cli.standard_input(), spec, cfg, csv_style(options, cfg))
    data = loading.data_of(cfg, ckpt)
    if not isinstance(data, SeriesData):
        raise UserError(f"ckpt={ckpt}: its data are not a series; give input=<CSV file>")
    return data.whole


def _forecasts(tasks: Sequence[Forecasting], history: Tensor, horizon: int) -> Tensor:
    """(number of tasks, H, D)."""
    import torch

    return torch.stack([forecast(task, history, horizon) for task in tasks])


def _quantiles(tasks: Sequence[Forecasting], history: Tensor, horizon: int) -> Tensor:
    """(H, D, Q), the means of those of the tasks."""
    import torch

    return torch.stack([task.forecast_quantiles(history, horizon) for task in tasks]).mean(0)


def _write_table(
    options: Options,
    spec: SeriesSpec,
    history: Series,
    forecasts: Tensor,
    quantiles: Tensor | None,
    output: Path | None,
) -> None:
    import torch

    from dlzoo.specs.targets import Values

    target, values = spec.target, forecasts.mean(0)
    if len(forecasts) > 1:
        names = [column for name in target.names for column in (name, f"{name} std")]
        units = [unit for unit in target.units for _ in range(2)]
        target = Values(tuple(names), tuple(units))
        values = torch.stack([values, forecasts.std(0)], dim=2).flatten(1)
    if quantiles is not None:
        others = [i for i, level in enumerate(spec.quantiles) if level != 0.5]  # the median is the forecast
        quantiles = quantiles[..., others]
        names = [f"{name} quantile {spec.quantiles[i]:g}" for name in spec.target.names for i in others]
        units = [unit for unit in spec.target.units for _ in others]
        target = Values((*target.names, *names), (*target.units, *units))
        values = torch.cat([values, quantiles.flatten(1)], dim=1)
    records = to_records(labels(history, len(values)), values, target, 0)
    write_records(records, format_of(options.format, output), output)


def _draw(
    picture: Path,
    spec: SeriesSpec,
    history: Series,
    forecasts: Tensor,
    truth: Tensor | None,
    quantiles: Tensor | None,
) -> None:
    from dlzoo.specs import frequency
    from dlzoo.visualization import plots
    from dlzoo.visualization import series as series_plots

    forecast: Any = forecasts[0]
    if len(forecasts) > 1:
        forecast = series_plots.Band(forecasts.mean(0), forecasts.std(0), len(forecasts))
    start = frequency.label(history.times.iloc[0])
    figure = series_plots.forecast(spec, history.values, forecast, truth=truth, start=start, quantiles=quantiles)
    plots.save(figure, picture)
