"""Forecast a series with the checkpoints of one or several seeds: a table, and a picture with their interval.

    python scripts/forecast.py ckpt=<run>/checkpoints/best.ckpt input=recent.csv
    python scripts/forecast.py ckpt=a.ckpt,b.ckpt,c.ckpt picture=forecast.png

Options:
    ckpt       one checkpoint, or several of the same data, separated by commas
    input      a CSV file of the values until now, with the columns of the training file; - reads standard input;
               without it the test of the run's own data is forecast, beside the truth
    horizon    steps to forecast; else as in training
    picture    a file for the picture: history, truth where it is known, forecast with one standard deviation
    format     table, json or csv; else as the ending of output says, or a table
    output     a file to write instead of the terminal
    trust      a package of yours whose parts the checkpoint names
    separator, decimal, encoding     of the CSV file; else as in training

With several checkpoints the table has their mean and standard deviation (n - 1). Exit code 0 when it was forecast, 2
for a mistake.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dlzoo.commands import cli
from dlzoo.commands.inputs import labels, recent
from dlzoo.commands.records import FormatName, format_of, to_records, write_records
from dlzoo.errors import UserError, at_least
from dlzoo.utils import files as paths

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
    trust: str | None = None


def main() -> None:
    """The command."""
    cli.execute(command, __doc__)


def command(argv: Sequence[str]) -> None:
    """Forecast as the words of a command line say."""
    options, _ = cli.parse(Options, [word.removeprefix("data.") for word in argv])
    at_least(1, horizon=options.horizon)
    ckpts = [paths.existing_file(text, "ckpt") for text in options.ckpt.split(",")]
    source = None if options.input in (None, "-") else paths.existing_file(str(options.input), "input")
    read = [*ckpts, *([source] if source else [])]
    output = None if options.output is None else paths.writable(options.output, "output", *read)
    picture = None if options.picture is None else paths.writable(options.picture, "picture", *read)
    if picture is not None and picture.suffix not in (".png", ".pdf", ".svg"):
        raise UserError(f"picture={options.picture}: the name must end in .png, .pdf or .svg")

    loaded = [_load(ckpt, options.trust) for ckpt in ckpts]
    _check_alike([task.spec for task, _ in loaded], ckpts)
    task, cfg = loaded[0]
    known = _known(options, task.spec, cfg, ckpts[0], source)
    horizon, truth = options.horizon or task.spec.horizon, None
    if options.input is None:
        known, truth = known._replace(values=known.values[: -task.spec.horizon]), known.values[-task.spec.horizon :]
        known = known._replace(times=known.times.iloc[: -task.spec.horizon])
        truth = truth[:horizon] if horizon <= len(truth) else None
    forecasts = _forecasts([task for task, _ in loaded], known.values, horizon)
    _tell(options, task.spec, known, forecasts, output)
    if picture is not None:
        _draw(picture, task.spec, known, forecasts, truth)
        print(f"picture       {picture}")


def _load(ckpt: Path, trust: str | None) -> tuple[Forecasting, DictConfig]:
    task, cfg = cli.load(ckpt, trust)
    forecaster = task.as_forecaster()
    if forecaster is None:
        raise UserError(f"ckpt={ckpt} takes {task.spec.describe()}, not a series: see scripts/predict.py")
    return forecaster, cfg


def _check_alike(specs: Sequence[SeriesSpec], ckpts: Sequence[Path]) -> None:
    """Forecasts can be averaged where they are of the same columns at the same steps."""
    for spec, ckpt in zip(specs, ckpts, strict=True):
        for key, ours, first in (
            ("columns", spec.target.names, specs[0].target.names),
            ("frequency", spec.frequency, specs[0].frequency),
            ("horizon", spec.horizon, specs[0].horizon),
        ):
            if ours != first:
                raise UserError(
                    f"ckpt={ckpt} has the {key} {ours}, but {ckpts[0]} has {first}: forecast them one by one"
                )


def _known(options: Options, spec: SeriesSpec, cfg: DictConfig, ckpt: Path, source: Path | None) -> Series:
    from dlzoo.commands.inputs import csv_style
    from dlzoo.data.series.base import SeriesData

    if options.input is not None:
        return recent(source or cli.standard_input(), spec, cfg, csv_style(options, cfg))
    data = cli.data_of(cfg, ckpt)
    if not isinstance(data, SeriesData):
        raise UserError(f"ckpt={ckpt}: its data are no series; give input=<CSV file>")
    return data.whole


def _forecasts(tasks: Sequence[Forecasting], history: Tensor, horizon: int) -> Tensor:
    """(number of tasks, H, D)."""
    import torch

    found = torch.stack([task.forecast(history, horizon) for task in tasks])
    if not found.isfinite().all():
        raise UserError("the forecast is not finite: the net's training diverged, or a value is far too large")
    return found


def _tell(options: Options, spec: SeriesSpec, known: Series, forecasts: Tensor, output: Path | None) -> None:
    import torch

    from dlzoo.specs.targets import Values

    target, values = spec.target, forecasts.mean(0)
    if len(forecasts) > 1:
        names = [name for own in target.names for name in (own, f"{own} std")]
        units = [unit for own in target.units for unit in (own, own)]
        target = Values(tuple(names), tuple(units))
        values = torch.stack([values, forecasts.std(0)], dim=2).flatten(1)
    records = to_records(labels(known, len(values)), values, target, 0)
    write_records(records, target, format_of(options.format, output), output)


def _draw(picture: Path, spec: SeriesSpec, known: Series, forecasts: Tensor, truth: Tensor | None) -> None:
    from dlzoo.specs import frequency
    from dlzoo.visualization import plots
    from dlzoo.visualization import series as series_plots

    told: Any = forecasts[0]
    if len(forecasts) > 1:
        told = series_plots.Band(forecasts.mean(0), forecasts.std(0), len(forecasts))
    start = frequency.label(known.times.iloc[0])
    figure = series_plots.forecast(spec, known.values, told, truth=truth, start=start)
    plots.save(figure, picture)
