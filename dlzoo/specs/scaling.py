"""How the values of a target are scaled before a net learns them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from dlzoo.errors import UserError
from dlzoo.specs.base import Storable

TargetTransform = Literal["standardize", "log", "none"]
"""How a net's target values are scaled."""

FeatureScaling = Literal["standard", "minmax"]
"""How numeric features of a table are scaled: to mean 0 and standard deviation 1, or to the range from 0 to 1."""


@dataclass(frozen=True)
class Scaling(Storable):
    """What `dlzoo.losses.objectives.ValueObjective` makes of values (N, D): mean 0 and standard deviation 1.

    Without statistics the values stay as they are.

    Args:
        log: take the natural logarithm first; the values must be positive.
        mean, std: of each column of the training rows, after the logarithm; or empty.
    """

    log: bool = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def check(self) -> None:
        if len(self.mean) != len(self.std) or any(not s > 0 for s in self.std):
            raise UserError("the stored spec, Scaling: as many standard deviations above 0 as means are needed")

    def fit(self, values: Tensor) -> Scaling:
        """The same with the statistics of the training rows (N, D)."""
        levels = (values.double().log() if self.log else values.double()).flatten(0, -2)
        std = levels.std(0, correction=0)
        std = torch.where(std > 1e-12 * levels.abs().amax(0).clamp(min=1e-12), std, 1.0)  # a constant stays at zero
        return replace(self, mean=tuple(levels.mean(0).tolist()), std=tuple(std.tolist()))


AS_IS = Scaling()
"""Values that are learned in the units of the data."""
