"""Rules that train one layer of units by hand-made gradients: Rosenblatt's and the delta rule."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from torch import Tensor

from dlzoo.nets.base import LinearUnits
from dlzoo.specs.base import Spec, Target
from dlzoo.specs.batch import TensorOrDict
from dlzoo.tasks.manual import ManualTask
from dlzoo.tasks.optimization import OptimizerFactory, SchedulerFactory
from dlzoo.tasks.prediction_view import decisions
from dlzoo.tasks.supervised import Classification


class UnitRule(ManualTask, Classification):  # type: ignore[misc]  # training_step gives no loss
    """Classification by nets whose weights are in ``net.linear``. The rule fixes the loss, so there are no options."""

    gradients_by_hand = True
    net_type = LinearUnits
    net: LinearUnits

    def __init__(
        self,
        net: LinearUnits,
        spec: Spec,
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        super().__init__(net, spec, optimizer=optimizer, scheduler=scheduler)

    @property
    def predicted_target(self) -> Target:
        """The classes, without probabilities: the sums w·x + b are not those."""
        classes = self.spec.target.classes
        assert classes is not None  # `LinearUnits` take nothing else
        return replace(classes, has_probabilities=False)

    def predict(self, inputs: TensorOrDict) -> Tensor:
        """(B, …) -> (B, K), one-hot class of the largest output."""
        return decisions(self(inputs))

    def add_correction(self, correction: Tensor, x: Tensor, *, reduction: Literal["sum", "mean"]) -> None:
        """Move each unit's output by its correction: the gradient is minus that, times the inputs.

        Args:
            correction: (B, U), of each row and unit.
            x: (B, F), the inputs of ``net.linear``.
        """
        self.add_gradient(self.net.linear.weight, -(correction.T @ x), reduction=reduction)
        self.add_gradient(self.net.linear.bias, -correction.sum(0), reduction=reduction)
