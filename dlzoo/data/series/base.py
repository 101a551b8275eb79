"""Time series at equal steps. The last steps are for testing, those before them for validation.

All splits are temporal: a window never contains later values, and the transform is fitted on the rows before
validation. A validation or test batch contains the raw values before and after its forecast origin, since forecasts
feed their outputs back.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlzoo.data.base import InMemoryData
from dlzoo.data.fingerprint import hash_rows
from dlzoo.data.loaders import Arrays, Loader, TensorLoader
from dlzoo.errors import UserError, at_least
from dlzoo.specs.base import Spec
from dlzoo.specs.batch import Batch
from dlzoo.specs.frequency import Step, label
from dlzoo.specs.inputs import SeriesSpec
from dlzoo.specs.series_transform import Transform
from dlzoo.specs.targets import Values

if TYPE_CHECKING:
    import pandas as pd

Split = Literal["train", "test"]
NUM_LEADING = 3
"""Preceding steps hashed into the id of a step, since a single value may occur anywhere."""
DEFAULT_SEASON = 12
"""Default window and horizon if the season is unknown."""


class Series(NamedTuple):
    """values: (N, D) float64; times: (N,) dates or integers, one step apart; marks: (N,) bool, of known anomalies;
    known: (N', K) float64, columns known ahead, at the same times and possibly later ones."""

    names: tuple[str, ...]
    values: Tensor
    times: pd.Series
    step: Step
    marks: Tensor | None = None
    known_names: tuple[str, ...] = ()
    known: Tensor | None = None


class SeriesData(InMemoryData):
    """A series in memory. Subclasses implement `series`.

    Args:
        window: past values in the input of a net; None is one season.
        horizon: forecast steps in validation and in test; None is one season.
        period: steps per season; None is the usual number for the frequency, such as 12 for months.
        log: model the logarithm; values must be positive.
        differences: lags of differencing; None is the season, or 1 if there is none.
        drop_last: number of final rows to omit; a sweep over it forecasts from earlier origins.
        consecutive: use consecutive windows, for nets that carry their state over; ``batch_size`` is then the number
            of parts of the series read in parallel.
        steps: values in the target of a training window, which the net predicts at once; None is the horizon.
        origins: forecasts in the test, each of ``horizon`` steps and starting where the one before it ends; all of
            them follow training and validation.
        quantiles: levels that the net predicts of each value; None: it predicts the value.
    """

    kind: ClassVar[type[Spec]] = SeriesSpec
    units: tuple[str, ...] = ()
    """Units of the columns, if known."""
    independent: bool = False
    """Whether each column is forecast from its own past."""

    def __init__(
        self,
        *,
        batch_size: int = 32,
        seed: int = 0,
        placement: Literal["auto", "device", "host"] = "auto",
        standardize: bool = True,
        window: int | None = None,
        horizon: int | None = None,
        period: int | None = None,
        log: bool = False,
        differences: Sequence[int] | None = None,
        drop_last: int = 0,
        consecutive: bool = False,
        steps: int | None = 1,
        origins: int = 1,
        quantiles: Sequence[float] | None = None,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, placement=placement, standardize=standardize)
        at_least(1, "data", window=window, horizon=horizon, period=period, steps=steps, origins=origins)
        at_least(0, "data", drop_last=drop_last)
        if differences is not None and any(lag < 1 for lag in differences):
            raise UserError(f"data.differences={list(differences)} must contain lags of at least 1, or be empty")
        self.window = window
        self.horizon = horizon
        self.period = period
        self.log = log
        self.differences = differences
        self.drop_last = drop_last
        self.consecutive = consecutive
        self.steps = steps
        self.origins = origins
        self.quantiles = quantiles

    @abstractmethod
    def series(self) -> Series:
        """The whole series in temporal order."""

    @cached_property
    def whole(self) -> Series:
        """The series without the dropped rows, after checking its length and sign."""
        series = self.series()
        num = max(len(series.values) - self.drop_last, 1)
        marks = None if series.marks is None else series.marks[:num]
        known = None if series.known is None else series.known[: len(series.known) - self.drop_last]
        series = series._replace(values=series.values[:num], times=series.times.iloc[:num], marks=marks, known=known)
        spec = self._spec_of(series)
        check_sign(series, spec)
        num_lost = spec.transform.num_lost
        min_rows = spec.num_needed + spec.steps + self._num_held_out(spec)
        if len(series.values) < min_rows:
            raise UserError(
                f"the series has {len(series.values)} rows, but {min_rows} are required: data.window={spec.window}, "
                f"{num_lost} for data.differences={list(spec.transform.differences)}, {spec.steps} to train on, and "
                f"data.horizon={spec.horizon} each for validation and {self._tests}; lower these options"
            )
        return series

    @property
    def _tests(self) -> str:
        return "test" if self.origins == 1 else f"data.origins={self.origins} tests"

    def _num_held_out(self, spec: SeriesSpec) -> int:
        """Rows of validation and test."""
        return (1 + self.origins) * spec.horizon

    def declare(self) -> SeriesSpec:
        return self._spec_of(self.whole)

    def _spec_of(self, series: Series) -> SeriesSpec:
        period = self.period or series.step.period
        season = period if period > 1 else DEFAULT_SEASON
        lags = (period,) if self.differences is None else tuple(self.differences)
        return SeriesSpec(
            target=Values(series.names, self.units),
            window=self.window or season,
            horizon=self.horizon or season,
            frequency=str(series.step),
            period=period,
            start=label(series.times.iloc[0]),
            consecutive=self.consecutive,
            transform=Transform(log=self.log, differences=lags),
            steps=self.steps or self.horizon or season,
            quantiles=tuple(self.quantiles or ()),
            known=series.known_names,
            independent=self.independent,
        )

    def setup(self, stage: str | None = None) -> None:
        if stage in (None, "fit", "validate") and "train" not in self._arrays:
            horizon = self.declare().horizon
            self._arrays |= {"train": self.load("train"), "val": self._forecast(self.origins * horizon)}
        if stage in (None, "test", "predict") and "test" not in self._arrays:
            self._arrays["test"] = self.load("test")

    def load(self, split: Split) -> Arrays:
        """The training windows, or the forecast from the last origin of the test."""
        spec = self.declare()
        if split == "test":
            return self._forecast(0)
        num = len(self.whole.values) - self._num_held_out(spec)
        self.spec = self.fit_to(self.whole.values[:num])
        steps = self.spec.inputs(with_known(self.whole, spec, num)).float()
        if not self.consecutive:
            windows = steps.unfold(0, spec.window + spec.steps, 1).transpose(1, 2)  # a view, not a copy
            x, y = windows[:, : spec.window], windows[:, spec.window :, : spec.num_columns]
            return Arrays(x, y[:, 0] if spec.steps == 1 else y)
        windows = consecutive_windows(steps, spec.window, self.batch_size)
        return Arrays(windows[:, :-1], windows[:, 1:])

    def fit_to(self, known: Tensor) -> SeriesSpec:
        """The declared spec with transform and scales fitted on the raw training rows, (N, D)."""
        spec = self.declare()
        transform = spec.transform.fit(known) if self.standardize else spec.transform
        lag = spec.period if len(known) > spec.period else 1
        scales = (known[lag:] - known[:-lag]).abs().mean(0)
        scaling = spec.known_scaling
        if self.whole.known is not None and self.standardize:
            scaling = scaling.fit(self.whole.known[: len(known)])
        return dataclasses.replace(spec, transform=transform, scales=tuple(scales.tolist()), known_scaling=scaling)

    def fit_ids(self) -> tuple[np.ndarray, np.ndarray]:
        horizon, num_tests = self.declare().horizon, self.origins * self.declare().horizon
        steps = self._step_ids()
        return steps[: -horizon - num_tests], steps[-horizon - num_tests : -num_tests]

    def test_ids(self) -> np.ndarray:
        return self._step_ids()[-self.origins * self.declare().horizon :]

    def _step_ids(self) -> np.ndarray:
        """A step is identified by its values and those of the preceding steps, independent of their dates."""
        values = self.whole.values
        if self.whole.known is not None:
            values = torch.cat([values, self.whole.known[: len(values)]], dim=1)
        before = [torch.cat([values[:1].expand(lag, -1), values[:-lag]]) for lag in range(1, NUM_LEADING + 1)]
        return hash_rows(values, *before)

    def _forecast(self, num_after: int) -> Arrays:
        """A forecast ending ``num_after`` steps before the end: raw values before its origin, and ``horizon`` after.

        Marks of the latter stand in the place of a weight, (1, H).
        """
        end, horizon = len(self.whole.values) - num_after, self.declare().horizon
        values, marks = self.whole.values[:end], self.whole.marks
        weight = None if marks is None else marks[None, end - horizon : end].double()
        history = with_known(self.whole, self.declare(), end - horizon)
        return Arrays(history[None], values[None, -horizon:], weight)

    def _loader(self, split: Literal["train", "val", "test"], batch_size: int, shuffle: bool = False) -> Loader:
        if split == "val":
            return OriginLoader([self.arrays(split)])
        if split == "test":
            self.setup("test")
            horizon = self.declare().horizon
            return OriginLoader([self._forecast(i * horizon) for i in reversed(range(self.origins))])
        loader = super()._loader(split, batch_size, shuffle=shuffle)
        return SequentialLoader(loader.arrays, batch_size) if self.consecutive else loader  # type: ignore[attr-defined]

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Raw values stay on the CPU in double precision; the task moves windows of them to the device."""
        raw = batch[0].dtype == torch.float64
        return super().transfer_batch_to_device(batch, torch.device("cpu") if raw else device, dataloader_idx)


class OriginLoader(Loader):
    """One batch for each forecast, the same on all ranks: a single forecast cannot be distributed."""

    shards_rows = False

    def __init__(self, origins: Sequence[Arrays]) -> None:
        super().__init__(len(origins), 1)
        self.origins = origins

    def iterate(self, start: int) -> Iterator[Batch]:
        yield from (Batch(*arrays) for arrays in self.origins[start:])

    def __len__(self) -> int:
        return len(self.origins)


class SequentialLoader(TensorLoader):
    """Training batches in row order: each rank continues the same parts of the series from batch to batch."""

    def __init__(self, arrays: Arrays, batch_size: int) -> None:
        super().__init__(arrays, batch_size, shuffle=True)
        self.same_each_epoch = True

    def order(self) -> Tensor:
        return torch.arange(self.num_rows)


def consecutive_windows(steps: Tensor, window: int, num_parts: int) -> Tensor:
    """steps: (N, D) -> (K * num_parts, W + 1, D): the first window of each part, then the second of each, …

    Consecutive windows overlap by one value: the last target of one is the first input of the next. Steps that do not
    fill a window are omitted at the beginning of the series.
    """
    per_part = (len(steps) - 1) // (window * num_parts)
    if per_part < 2:
        raise UserError(
            f"data.batch_size={num_parts} parts of {len(steps)} steps are too short for two windows of data.window="
            f"{window}, so no state could be carried over: lower one of them (data.batch_size=1)"
        )
    first = len(steps) - 1 - per_part * num_parts * window
    part, index = torch.arange(num_parts), torch.arange(per_part)
    starts = first + (part[None, :] * per_part + index[:, None]) * window  # (K, num_parts)
    return steps[starts.flatten()[:, None] + torch.arange(window + 1)]


def with_known(series: Series, spec: SeriesSpec, num: int) -> Tensor:
    """The first ``num`` rows (num, D + K): behind the values the known columns of ``steps`` later.

    Raises:
        UserError: the known columns end too early.
    """
    if series.known is None:
        return series.values[:num]
    if len(series.known) < num + spec.steps:
        raise UserError(
            f"a forecast of {spec.steps} steps needs {', '.join(spec.known)} of all of them, but only "
            f"{len(series.known) - num} rows follow the last value: give more, with the columns to forecast left empty"
        )
    return torch.cat([series.values[:num], series.known[spec.steps : spec.steps + num]], dim=1)


def check_sign(series: Series, spec: SeriesSpec) -> None:
    """Reject values without a logarithm if the spec requires one."""
    lowest = series.values.amin(0)
    if spec.transform.log and (lowest <= 0).any():
        column = int((lowest <= 0).nonzero()[0])
        row = int(series.values[:, column].argmin())
        raise UserError(
            f"data.log=true requires positive values, but {series.names[column]} is {lowest[column]:g} in row "
            f"{row + 1} ({label(series.times.iloc[row])}); set data.log=false"
        )
