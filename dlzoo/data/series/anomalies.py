"""A generated series with marked anomalies: hours of a load with a daily and a weekly rhythm."""

from __future__ import annotations

import math
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from dlzoo.data.generated import check_size
from dlzoo.data.options import SeriesOptions
from dlzoo.data.series.base import Series, SeriesData
from dlzoo.errors import at_least
from dlzoo.specs.frequency import parse

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
        check_size(num_events=num_events, horizon=self.horizon or 1)
        self.num_events = num_events
        self.sample_seed = sample_seed

    def series(self) -> Series:
        import pandas as pd

        test = self.horizon or 24
        num = 3 * test + 1000
        draw = torch.Generator().manual_seed(self.sample_seed)
        values = normal(num, draw)
        marks = torch.zeros(num, dtype=torch.bool)
        room = max(test // self.num_events, self.spacing)
        for i in range(min(self.num_events, test // room)):
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
