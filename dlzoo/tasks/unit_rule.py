"""Rules that train one layer of units by hand-made gradients: Rosenblatt's and the delta rule."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from dlzoo.specs.base import Spec
from dlzoo.tasks.base import OptimizerFactory, SchedulerFactory
from dlzoo.tasks.manual import ManualTask
from dlzoo.tasks.supervised import Classification


class UnitRule(ManualTask, Classification):  # type: ignore[misc]  # training_step gives no loss
    """Classification by nets whose weights are in ``net.linear``. The rule fixes the loss, so there are no options."""

    gradients_by_hand = True
    net: Any

    def __init__(
        self,
        net: Any,
        spec: Spec,
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        super().__init__(net, spec, optimizer=optimizer, scheduler=scheduler)

    def add_correction(self, correction: Tensor, x: Tensor, *, reduction: Literal["sum", "mean"]) -> None:
        """Move each unit's output by its correction: the gradient is minus that, times the inputs.

        Args:
            correction: (B, U), of each row and unit.
            x: (B, F), the inputs of ``net.linear``.
        """
        self.add_gradient(self.net.linear.weight, -(correction.T @ x), reduction=reduction)
        self.add_gradient(self.net.linear.bias, -correction.sum(0), reduction=reduction)
