"""A generated series with marked anomalies: hours of a load with a daily and a weekly rhythm."""

from __future__ import annotations

import math
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from dlzoo.data.generated import check_size
from dlzoo.data.options import SeriesOptions
from dlzoo.data.series.base import Series, SeriesData
from dlzoo.errors import UserError, at_least
from dlzoo.specs.frequency import parse

DAY = 24
EVENT = 6
"""Steps of an event other than a spike."""


class Anomalies(SeriesData):
    """Hourly values without anomalies in training and validation, and with marked ones in the test.

    The anomalies are spikes, a level that is shifted for six hours, and a value that is stuck for six hours, in turn.

    Args:
        num_events: anomalies in the test.
        sample_seed: draws noise and anomalies; independent of the run's seed, so that runs are comparable.
    """

    spacing: ClassVar[int] = 2 * EVENT

    def __init__(self, *, num_events: int = 12, sample_seed: int = 0, **common: Unpack[SeriesOptions]) -> None:
        super().__init__(**common)
        at_least(1, "data", num_events=num_events)
        check_size(num_events=num_events, horizon=self.horizon or 1, origins=self.origins)
        self.num_events = num_events
        self.sample_seed = sample_seed

    def notes(self) -> list[str]:
        test, _, num_events = self._layout()
        if num_events == self.num_events:
            return []
        return [f"only {num_events} of data.num_events={self.num_events} anomalies fit into the test of {test} steps"]

    def _layout(self) -> tuple[int, int, int]:
        """The steps of the test, those between the starts of two anomalies, and how many anomalies fit.

        Raises:
            UserError: none does.
        """
        test = self.origins * (self.horizon or DAY)
        if test < self.spacing:
            raise UserError(
                f"data.horizon={self.horizon} and data.origins={self.origins} are a test of {test} steps, but an "
                f"anomaly needs {self.spacing}: raise one of them"
            )
        room = max(test // self.num_events, self.spacing)
        return test, room, min(self.num_events, test // room)

    def series(self) -> Series:
        import pandas as pd

        test, room, num_events = self._layout()
        num = 2 * (self.horizon or DAY) + test + 1000
        draw = torch.Generator().manual_seed(self.sample_seed)
        values = normal(num, draw)
        marks = torch.zeros(num, dtype=torch.bool)
        for i in range(num_events):
            start = num - test + i * room + int(torch.randint(room - EVENT, (1,), generator=draw))
            disturb(values, marks, start, i % 3, draw)
        times = pd.Series(pd.date_range("2024-01-01", periods=num, freq="h"), name="time")
        return Series(("load",), values[:, None], times, parse("hour"), marks)


def normal(num: int, draw: torch.Generator) -> Tensor:
    """(N,) float64: two daily waves, higher on five days of the week, and noise that lasts."""
    t = torch.arange(num, dtype=torch.float64)
    day, week = 2 * math.pi * t / 24, (t // 24) % 7 < 5
    noise = torch.randn(num, generator=draw, dtype=torch.float64)
    for i in range(1, num):
        noise[i] += 0.6 * noise[i - 1]
    return 50 + (8 + 4 * week) * (day - 2).sin() + 4 * (2 * day).sin() + noise


def disturb(values: Tensor, marks: Tensor, start: int, kind: int, draw: torch.Generator) -> None:
    """Put an anomaly into a series, and mark its steps."""
    sign = 1 if torch.rand((), generator=draw) < 0.5 else -1
    steps = slice(start, start + (1 if kind == 0 else EVENT))
    if kind == 2:
        values[steps] = values[start]
    else:
        values[steps] += sign * (8 + 6 * float(torch.rand((), generator=draw)))
    marks[steps] = True
