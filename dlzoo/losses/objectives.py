"""Objectives: the loss and the metrics of a supervised task, for classes and for values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection, R2Score
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from dlzoo.errors import UserError
from dlzoo.losses.functional import ClassLossName, ValueLossName, class_loss, value_link, value_loss
from dlzoo.specs.targets import Classes, Values


class ClassObjective(nn.Module):
    """One of K classes. Output: logits (B, K), or (B, 1) for two classes, the logit of the second.

    Args:
        class_weights: weights of the classes in the loss; ``balanced`` makes them inverse to the training counts.
    """

    monitor = ("val/loss", "min")

    def __init__(
        self,
        target: Classes,
        *,
        loss: ClassLossName = "cross_entropy",
        label_smoothing: float = 0.0,
        gamma: float = 2.0,
        class_weights: Literal["balanced"] | Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = target.num_outputs
        self._criterion = class_loss(loss, label_smoothing=label_smoothing, gamma=gamma)
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", _class_weights(target, class_weights), persistent=False)

    def criterion(self, output: Tensor, target: Tensor) -> Tensor:
        return self._criterion(self.logits(output), target)

    def logits(self, output: Tensor) -> Tensor:
        """Logits (B, K), even if the net outputs one logit z: softmax of (0, z) is the sigmoid of z."""
        return F.pad(output, (1, 0)) if output.shape[-1] == 1 else output

    def probabilities(self, output: Tensor) -> Tensor:
        return self.logits(output).softmax(-1)

    def weights(self, target: Tensor, weight: Tensor | None) -> Tensor | None:
        """The weight of each sample's loss, (B,), or None if all are equal."""
        if self.class_weights is None:
            return weight
        factors = self.class_weights[target] if target.ndim == 1 else target @ self.class_weights
        return factors if weight is None else factors * weight

    def metrics(self) -> MetricCollection:
        """Metrics to update with (output, target)."""
        k = self.num_classes
        return MetricCollection(
            {"accuracy": MulticlassAccuracy(k, average="micro"), "f1": MulticlassF1Score(k, average="macro")}
        )

    def predictions(self, output: Tensor) -> Tensor:
        return self.logits(output).argmax(-1)

    def answers(self, output: Tensor) -> Tensor:
        """What predictions and exports give: probabilities (B, K)."""
        return self.probabilities(output)

    def reported(self, output: Tensor) -> Tensor:
        """The output for callbacks: logits (B, K)."""
        return self.logits(output)

    def train_measures(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Metrics of a training batch; a mixed target counts as its larger class."""
        labels = target if target.ndim == 1 else target.argmax(-1)
        return {"accuracy": (self.predictions(output) == labels).float().mean()}


class ValueObjective(nn.Module):
    """Real numbers (B, D). Metrics: root mean squared error and mean absolute error in the target's units, R2."""

    monitor = ("val/rmse", "min")

    def __init__(self, target: Values, *, loss: ValueLossName = "mse", delta: float = 1.0) -> None:
        super().__init__()
        self.criterion = value_loss(loss, delta=delta)
        self.link = value_link(loss)

    def weights(self, target: Tensor, weight: Tensor | None) -> Tensor | None:
        """The weight of each sample's loss, (B,), or None if all are equal."""
        return weight

    def metrics(self) -> MetricCollection:
        """Metrics to update with (output, target)."""
        return MetricCollection({"rmse": MeanSquaredError(squared=False), "mae": MeanAbsoluteError(), "r2": R2Score()})

    def predictions(self, output: Tensor) -> Tensor:
        """The predicted values of an output, which for the Poisson loss is their logarithm."""
        return self.link(output.float())

    def answers(self, output: Tensor) -> Tensor:
        """What predictions and exports give: the predicted values (B, D)."""
        return self.predictions(output)

    def reported(self, output: Tensor) -> Tensor:
        """The output for callbacks: the predicted values (B, D)."""
        return self.predictions(output)

    def train_measures(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        return {}


def _class_weights(target: Classes, given: str | Sequence[float] | None) -> Tensor | None:
    if given is None:
        return None
    if given == "balanced":
        if not target.counts:
            raise UserError(
                "task.class_weights=balanced needs the class counts of train, which this data does not provide"
            )
        counts = torch.tensor(target.counts, dtype=torch.float).clamp(min=1)
        return counts.sum() / (len(counts) * counts)
    if len(given) != target.num_outputs:
        raise UserError(
            f"task.class_weights has {len(given)} values, but there are {target.num_outputs} classes: "
            f"{', '.join(target.names)}"
        )
    return torch.tensor([float(w) for w in given])
