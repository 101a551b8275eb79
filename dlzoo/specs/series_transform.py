"""The invertible transform between raw values of a series and the inputs and outputs of a net.

Logarithm, differencing and standardization, in this order. Its parameters are plain data, so that a checkpoint can
forecast from raw values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dlzoo.specs.base import Storable


@dataclass(frozen=True)
class Transform(Storable):
    """Raw values (N, D) of D columns over time <-> steps (N - num_lost, D).

    Args:
        log: take the natural logarithm; raw values must be positive.
        differences: lags of successive differencing: (1,) is the change from step to step, (12,) the change from year
            to year in monthly data.
        mean, std: per column, of the differenced values of the training rows; or empty.
    """

    log: bool = False
    differences: tuple[int, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @property
    def num_lost(self) -> int:
        """Number of first rows that have no difference, since their past is unknown."""
        return sum(self.differences)

    def apply(self, values: Tensor) -> Tensor:
        """values: (N, D) raw -> (N - num_lost, D)."""
        steps = self._levels(values)[-1]
        return (steps - steps.new_tensor(self.mean)) / steps.new_tensor(self.std) if self.mean else steps

    def invert(self, steps: Tensor, history: Tensor) -> Tensor:
        """steps: (H, D), the ones that follow history: (N, D) raw, N >= num_lost -> (H, D) raw."""
        steps = steps.to(history)
        if self.mean:
            steps = steps * steps.new_tensor(self.std) + steps.new_tensor(self.mean)
        levels = self._levels(history)
        for lag, level in zip(reversed(self.differences), reversed(levels[:-1]), strict=True):
            known = list(level[-lag:])
            for step in steps:
                known.append(known[-lag] + step)
            steps = torch.stack(known[lag:])
        return steps.exp() if self.log else steps

    def fit(self, values: Tensor) -> Transform:
        """A copy with the mean and standard deviation of the training rows, values: (N, D) raw."""
        steps = replace(self, mean=(), std=()).apply(values)
        std = steps.std(0, correction=0)
        std = torch.where(std > 1e-12, std, 1.0)  # a constant column stays at zero
        return replace(self, mean=tuple(steps.mean(0).tolist()), std=tuple(std.tolist()))

    def _levels(self, values: Tensor) -> Sequence[Tensor]:
        """The values before the first difference and after each."""
        levels = [values.log() if self.log else values]
        for lag in self.differences:
            levels.append(levels[-1][lag:] - levels[-1][:-lag])
        return levels
