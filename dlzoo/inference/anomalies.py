"""The error of each step of a series, and whether it is an anomaly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlzoo.errors import UserError
from dlzoo.inference.predict import predict

if TYPE_CHECKING:
    from torch import Tensor

    from dlzoo.data.series.base import Series
    from dlzoo.tasks.interfaces import Detecting


def detect(task: Detecting, series: Series, source: object) -> tuple[list[str], Tensor]:
    """The labels of the steps that follow a whole window, and (N, 2): their errors, and 1 for an anomaly.

    Args:
        source: what the series was read from, for messages.

    Raises:
        UserError: the series is too short.
    """
    from dlzoo.specs import frequency

    num_needed = task.spec.num_needed
    if len(series.values) == num_needed:
        raise UserError(f"{source} has {num_needed} rows; all are needed before the first step: give more")
    return [frequency.label(time) for time in series.times.iloc[num_needed:]], predict(task, series.values)
