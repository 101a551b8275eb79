"""Series: values over time, at equal steps. The last steps are the test, those before them validate.

Every split is by time: a window never sees what comes after it, and the transform is fitted on the rows before the
validation. A validation or test batch holds the raw values before and after its origin, since a forecast feeds its own
outputs back.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlzoo.data.base import InMemoryData
from dlzoo.data.fingerprint import hash_rows
from dlzoo.data.loaders import Arrays, Loader, TensorLoader
from dlzoo.errors import UserError, at_least
from dlzoo.specs.frequency import Step, label
from dlzoo.specs.inputs import SeriesSpec
from dlzoo.specs.series_transform import Transform
from dlzoo.specs.targets import Values

if TYPE_CHECKING:
    import pandas as pd

Split = Literal["train", "test"]
NUM_LEADING = 3
"""Steps before a step that belong to what it is known by: one value alone may stand anywhere."""
NO_SEASON = 12
"""Window and horizon where nothing says how long a season is."""


class Series(NamedTuple):
    """values: (N, D) float64; times: (N,) dates or whole numbers, one step apart."""

    names: tuple[str, ...]
    values: Tensor
    times: pd.Series
    step: Step


class SeriesData(InMemoryData):
    """A series in memory. A source implements `series`.

    Args:
        window: past values that a net sees at once; None is a season.
        horizon: steps that validation and test forecast, each; None is a season.
        period: steps in a season; None is what is usual for the frequency, such as 12 for months.
        log: model the logarithm; the values must be positive.
        differences: lags of differences; None is the season, or 1 where there is none.
        drop_last: rows to leave out at the end; a sweep over it forecasts from earlier origins.
        consecutive: windows follow one another, for nets that carry their state on; ``batch_size`` is then the number
            of parts of the series that are read side by side.
    """

    kind: ClassVar[type] = SeriesSpec
    units: tuple[str, ...] = ()
    """Of the columns, where a source knows them."""

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
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, placement=placement, standardize=standardize)
        at_least(1, "data", window=window, horizon=horizon, period=period)
        if drop_last < 0:
            raise UserError(f"data.drop_last={drop_last} must not be negative")
        if differences is not None and any(lag < 1 for lag in differences):
            raise UserError(f"data.differences={list(differences)} must hold lags of at least 1, or nothing")
        self.window = window
        self.horizon = horizon
        self.period = period
        self.log = log
        self.differences = differences
        self.drop_last = drop_last
        self.consecutive = consecutive

    @abstractmethod
    def series(self) -> Series:
        """All of it, in the order of time."""

    @cached_property
    def whole(self) -> Series:
        """The series as far as it is used, after a look at its length and signs."""
        series = self.series()
        num = max(len(series.values) - self.drop_last, 1)
        series = series._replace(values=series.values[:num], times=series.times.iloc[:num])
        spec = self._promise(series)
        check_sign(series, spec)
        lost, after = spec.transform.num_lost, 2 * spec.horizon
        least = spec.num_needed + 1 + after
        if len(series.values) < least:
            raise UserError(
                f"the series has {len(series.values)} rows, but {least} are needed: data.window={spec.window}, {lost} "
                f"for data.differences={list(spec.transform.differences)}, 1 to learn from, and data.horizon="
                f"{spec.horizon} each for validation and test; make these shorter"
            )
        return series

    def declare(self) -> SeriesSpec:
        return self._promise(self.whole)

    def _promise(self, series: Series) -> SeriesSpec:
        period = self.period or series.step.period
        season = period if period > 1 else NO_SEASON
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
        )

    def setup(self, stage: str | None = None) -> None:
        if stage in (None, "fit", "validate") and "train" not in self._arrays:
            self._arrays |= {"train": self.load("train"), "val": self._origin(self.declare().horizon)}
        if stage in (None, "test", "predict") and "test" not in self._arrays:
            self._arrays["test"] = self.load("test")

    def load(self, split: Split) -> Arrays:
        """The training windows, or the one forecast of the test."""
        spec = self.declare()
        if split == "test":
            return self._origin(0)
        known = self.whole.values[: len(self.whole.values) - 2 * spec.horizon]
        self.spec = self.fit_to(known)
        steps = self.spec.transform.apply(known).float()
        if not self.consecutive:
            windows = steps.unfold(0, spec.window + 1, 1).transpose(1, 2)  # (N, W + 1, D): a view, not a copy
            return Arrays(windows[:, :-1], windows[:, -1])
        windows = consecutive_windows(steps, spec.window, self.batch_size)
        return Arrays(windows[:, :-1], windows[:, 1:])

    def fit_to(self, known: Tensor) -> SeriesSpec:
        """The declared spec with what is fitted on the training rows, known: (N, D) raw."""
        spec = self.declare()
        transform = spec.transform.fit(known) if self.standardize else spec.transform
        lag = spec.period if len(known) > spec.period else 1
        scales = (known[lag:] - known[:-lag]).abs().mean(0)
        return dataclasses.replace(spec, transform=transform, scales=tuple(scales.tolist()))

    def fit_ids(self) -> tuple[np.ndarray, np.ndarray]:
        horizon = self.declare().horizon
        steps = self._step_ids()
        return steps[: -2 * horizon], steps[-2 * horizon : -horizon]

    def test_ids(self) -> np.ndarray:
        return self._step_ids()[-self.declare().horizon :]

    def _step_ids(self) -> np.ndarray:
        """A step is known by its values and those of the steps before it, whatever their dates."""
        values = self.whole.values
        before = [torch.cat([values[:1].expand(lag, -1), values[:-lag]]) for lag in range(1, NUM_LEADING + 1)]
        return hash_rows(values, *before)

    def _origin(self, num_after: int) -> Arrays:
        """One forecast: the raw values before its origin and ``horizon`` after it, ``num_after`` before the end."""
        values = self.whole.values[: len(self.whole.values) - num_after]
        horizon = self.declare().horizon
        return Arrays(values[None, :-horizon], values[None, -horizon:])

    def _loader(self, split: Literal["train", "val", "test"], batch_size: int, shuffle: bool = False) -> Loader:
        if split != "train":
            return EveryRank(self.arrays(split), batch_size)
        loader = super()._loader(split, batch_size, shuffle=shuffle)
        return InTurn(loader.arrays, batch_size) if self.consecutive else loader  # type: ignore[attr-defined]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Raw values stay on the CPU in double precision; the task sends windows of them to the net."""
        raw = batch[0].dtype == torch.float64
        return super().transfer_batch_to_device(batch, torch.device("cpu") if raw else device, dataloader_idx)


class EveryRank(TensorLoader):
    """The same batches on every rank: a single forecast cannot be shared out."""

    shares_rows = False

    def eval_rows(self) -> Tensor:
        return torch.arange(self.num_rows)

    def __len__(self) -> int:
        return -(-self.num_rows // self.batch_size)


class InTurn(TensorLoader):
    """Training batches in the order of the rows: each rank reads on in the parts of the series that it began with."""

    def __init__(self, arrays: Arrays, batch_size: int) -> None:
        super().__init__(arrays, batch_size, shuffle=True)
        self.same_each_epoch = True

    def order(self) -> Tensor:
        return torch.arange(self.num_rows)


def consecutive_windows(steps: Tensor, window: int, num_parts: int) -> Tensor:
    """steps: (N, D) -> (K * num_parts, W + 1, D): of each part its first window, then of each its second, …

    Neighbours share one value, the last target of one being the first input of the next. What is too much to fill a
    window is left out at the beginning, the oldest.
    """
    per_part = (len(steps) - 1) // (window * num_parts)
    if per_part < 2:
        raise UserError(
            f"data.batch_size={num_parts} parts of {len(steps)} steps hold no two windows of data.window={window}, "
            "so that no state could be carried on: make one of them smaller (data.batch_size=1)"
        )
    first = len(steps) - 1 - per_part * num_parts * window
    part, place = torch.arange(num_parts), torch.arange(per_part)
    starts = first + (part[None, :] * per_part + place[:, None]) * window  # (K, num_parts)
    return steps[starts.flatten()[:, None] + torch.arange(window + 1)]


def check_sign(series: Series, spec: SeriesSpec) -> None:
    """Refuse what has no logarithm where the spec wants one."""
    low = series.values.amin(0)
    if spec.transform.log and (low <= 0).any():
        column = int((low <= 0).nonzero()[0])
        row = int(series.values[:, column].argmin())
        raise UserError(
            f"data.log=true needs positive values, but {series.names[column]} is {low[column]:g} in row {row + 1} "
            f"({label(series.times.iloc[row])}); set data.log=false"
        )
