"""Objectives: what a supervised task minimises and measures, one class for each kind of target.

A new kind is a subclass, ``class LabelObjective(Objective, target=Labels)``: `objective_for` finds it by the class of
the target. The keyword arguments of its constructor are the options of the task that have a meaning for it.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import ClasswiseWrapper, MeanAbsoluteError, MeanSquaredError, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassF1Score,
    MultilabelAccuracy,
    MultilabelExactMatch,
    MultilabelF1Score,
)

from dlzoo.errors import UserError
from dlzoo.losses.functional import ClassLoss, ValueLoss, class_loss, value_link, value_loss
from dlzoo.losses.r2 import R2
from dlzoo.specs.base import Target
from dlzoo.specs.targets import Classes, Labels, Values

OBJECTIVES: dict[type[Target], type[Objective]] = {}
"""By the class of the target; `Objective.__init_subclass__` fills it."""


class Objective(nn.Module):
    """What is minimised and measured for one kind of target."""

    monitor: tuple[str, str] = ("val/loss", "min")
    """The validation metric that chooses the best checkpoint, and its direction."""
    ranking: tuple[tuple[str, str], ...] = ()
    """The validation metrics that runs are compared by, with their directions; by default `monitor`."""
    is_plain: bool = True
    """Whether what is minimised is the plain loss."""
    has_units: bool = False
    """Whether the plain loss has to be converted into the units of the data."""

    @property
    def unit(self) -> Tensor | None:
        """The factor that converts it, where one does for all columns."""
        return None

    def __init_subclass__(cls, *, target: type[Target] | None = None) -> None:
        super().__init_subclass__()
        if target is not None:
            OBJECTIVES[target] = cls

    @abstractmethod
    def criterion(self, output: Tensor, target: Tensor) -> Tensor:
        """The loss of each sample, (B,)."""

    def plain(self, output: Tensor, target: Tensor) -> Tensor:
        """The loss of each sample without what only training adds, label smoothing and class weights, (B,)."""
        return self.criterion(output, target)

    def in_units(self, output: Tensor, target: Tensor) -> Tensor:
        """The plain loss of each sample in the units of the data, (B,); asked where it `has_units`."""
        return self.plain(output, target)

    def weights(self, target: Tensor, weight: Tensor | None) -> Tensor | None:
        """The factor of each sample's loss when it is minimised, (B,), or None when all count alike."""
        return weight

    @abstractmethod
    def answers(self, output: Tensor) -> Tensor:
        """What predictions and exports give: probabilities, or values."""

    @abstractmethod
    def reported(self, output: Tensor) -> Tensor:
        """What callbacks get."""

    @abstractmethod
    def metrics(self) -> MetricCollection:
        """Called with what `measured` gives."""

    @abstractmethod
    def measured(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions and targets as the metrics take them."""

    def train_measures(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Means over the batch that are logged in training."""
        return {}


def objective_for(target: Target, *, loss: str | nn.Module | None = None, **options: object) -> Objective:
    """The objective of a target.

    Args:
        loss: by name, or a module of the user; None is the usual one of this kind of target.
        options: of the task; an objective takes those that its constructor has.

    Raises:
        UserError: class weights where there are no classes, or no objective is known for this kind of target.
    """
    kind = next((OBJECTIVES[base] for base in type(target).__mro__ if base in OBJECTIVES), None)
    if kind is None:
        raise UserError(f"no objective is known for {target.what}: subclass Objective with target=…")
    known = inspect.signature(kind).parameters
    if options.get("class_weights") is not None and "class_weights" not in known:
        raise UserError(f"task.class_weights are for classes, but this data gives {target.what}")
    given = {name: value for name, value in options.items() if name in known}
    return kind(target, **given) if loss is None else kind(target, loss=loss, **given)


class ClassObjective(Objective, target=Classes):
    """One of K classes. Output: logits (B, K), or (B, 1) for two classes, the logit of the second.

    Args:
        class_weights: weights of the classes in the loss; ``balanced`` makes them inverse to the training counts.
    """

    ranking = (("val/accuracy", "max"), ("val/loss", "min"))

    def __init__(
        self,
        target: Classes,
        *,
        loss: ClassLoss = "cross_entropy",
        label_smoothing: float = 0.0,
        gamma: float = 2.0,
        class_weights: Literal["balanced"] | Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = target.num_outputs
        self.module = loss if isinstance(loss, nn.Module) else None  # moved to the device with the objective
        self._criterion = class_loss(loss, label_smoothing=label_smoothing, gamma=gamma)
        self._plain = class_loss(loss, gamma=gamma)
        self.is_plain = label_smoothing == 0 and class_weights is None
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", _class_weights(target, class_weights), persistent=False)

    def criterion(self, output: Tensor, target: Tensor) -> Tensor:
        return self._criterion(self.logits(output), target)

    def plain(self, output: Tensor, target: Tensor) -> Tensor:
        return self._plain(self.logits(output), target)

    def logits(self, output: Tensor) -> Tensor:
        """Logits (B, K), even if the net outputs one logit z: softmax of (0, z) is the sigmoid of z."""
        return F.pad(output, (1, 0)) if output.shape[-1] == 1 else output

    def probabilities(self, output: Tensor) -> Tensor:
        return self.logits(output).softmax(-1)

    def weights(self, target: Tensor, weight: Tensor | None) -> Tensor | None:
        if self.class_weights is None:
            return weight
        factors = self.class_weights[target] if target.ndim == 1 else target @ self.class_weights
        return factors if weight is None else factors * weight

    def metrics(self) -> MetricCollection:
        k = self.num_classes
        return MetricCollection(
            {"accuracy": MulticlassAccuracy(k, average="micro"), "f1": MulticlassF1Score(k, average="macro")}
        )

    def predictions(self, output: Tensor) -> Tensor:
        return self.logits(output).argmax(-1)

    def measured(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return self.predictions(output), target

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


UNIT_POWERS = {"mse": 2, "huber": 2, "log_cosh": 2, "mae": 1}
"""The losses of scaled values, and the power of the unit that a loss of theirs has."""


class ValueObjective(Objective, target=Values):
    """Real numbers (B, D). Metrics: root mean squared error and mean absolute error in the target's units, R2.

    The net learns values scaled as the target says, so that one learning rate serves prices and fractions; what is
    reported, predicted and exported is in the units of the data (of a logarithm, the loss alone is not). The other
    losses (poisson, kl, cosine_similarity) are of counts, distributions and directions, which are learned as they are.

    Args:
        delta: threshold of the Huber loss, in standard deviations of the target where it is scaled.
    """

    monitor = ("val/rmse", "min")

    def __init__(self, target: Values, *, loss: ValueLoss = "mse", delta: float = 1.0) -> None:
        super().__init__()
        self.module = loss if isinstance(loss, nn.Module) else None
        self._criterion = value_loss(loss, delta=delta)
        self.link = value_link(loss)
        scaling = target.scaling
        power = None if isinstance(loss, nn.Module) else UNIT_POWERS.get(loss)
        learns_scaled = self.module is not None or power is not None
        if not learns_scaled and scaling.log:
            raise UserError(
                f"task.loss={loss} learns values as they are, but data.target_transform=log; set it to none, or use "
                f"one of the losses {', '.join(UNIT_POWERS)}"
            )
        self.is_log = scaling.log
        self.is_scaled = bool(scaling.std) and learns_scaled
        self.has_units = bool(scaling.std) and power is not None
        self.mean: Tensor
        self.std: Tensor
        self.units: Tensor  # (D,) factors of each column's loss
        std = torch.tensor(scaling.std if self.is_scaled else [1.0], dtype=torch.float)
        self.register_buffer("mean", torch.tensor(scaling.mean if self.is_scaled else [0.0]), persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.register_buffer("units", std ** (power or 0), persistent=False)

    @property
    def unit(self) -> Tensor | None:
        return self.units if len(self.units) == 1 else None

    def scaled(self, target: Tensor) -> Tensor:
        """Values (B, D) as the net learns them."""
        levels = target.log() if self.is_log else target
        return (levels - self.mean) / self.std if self.is_scaled else levels

    def criterion(self, output: Tensor, target: Tensor) -> Tensor:
        return self._criterion(output, self.scaled(target))

    def in_units(self, output: Tensor, target: Tensor) -> Tensor:
        columns = zip(output.split(1, 1), self.scaled(target).split(1, 1), strict=True)
        return (torch.stack([self._criterion(z, t) for z, t in columns], 1) * self.units).mean(1)

    def metrics(self) -> MetricCollection:
        return MetricCollection({"rmse": MeanSquaredError(squared=False), "mae": MeanAbsoluteError(), "r2": R2()})

    def predictions(self, output: Tensor) -> Tensor:
        """The predicted values of an output in the units of the data; for the Poisson loss it is their logarithm."""
        levels = self.link(output.float())
        levels = levels * self.std + self.mean if self.is_scaled else levels
        return levels.exp() if self.is_log else levels

    def measured(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return self.predictions(output), target

    def answers(self, output: Tensor) -> Tensor:
        """What predictions and exports give: the predicted values (B, D)."""
        return self.predictions(output)

    def reported(self, output: Tensor) -> Tensor:
        """The output for callbacks: the predicted values (B, D)."""
        return self.predictions(output)


class LabelObjective(Objective, target=Labels):
    """Several yes/no labels (B, K). Output: a logit for each.

    Metrics: accuracy (the mean over the labels) and that of each label, exact_match (rows with all labels right), and
    the macro F1, which rare labels count in like frequent ones.

    Args:
        loss: the mean over the labels of the binary cross-entropy, or of its focal form.
    """

    def __init__(self, target: Labels, *, loss: ClassLoss = "binary_cross_entropy", gamma: float = 2.0) -> None:
        super().__init__()
        self.module = loss if isinstance(loss, nn.Module) else None
        self.names = target.names
        if self.module is None and loss not in ("binary_cross_entropy", "focal"):
            raise UserError(f"task.loss={loss} is not for labels; they take binary_cross_entropy or focal")
        self._criterion = class_loss(loss, gamma=gamma)

    def criterion(self, output: Tensor, target: Tensor) -> Tensor:
        return self._criterion(output, target)

    def answers(self, output: Tensor) -> Tensor:
        """The probability of each label, (B, K)."""
        return output.float().sigmoid()

    def reported(self, output: Tensor) -> Tensor:
        """What callbacks get: probabilities (B, K)."""
        return self.answers(output)

    def metrics(self) -> MetricCollection:
        k = len(self.names)
        each = ClasswiseWrapper(MultilabelAccuracy(k, average="none"), [*self.names], prefix="", postfix="/accuracy")
        return MetricCollection(
            {
                "accuracy": MultilabelAccuracy(k),
                "each": each,
                "exact_match": MultilabelExactMatch(k),
                "f1": MultilabelF1Score(k, average="macro"),
            },
            compute_groups=False,  # a wrapped metric that shares the state of another warns that it was never updated
        )

    def measured(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return self.answers(output), target.round().long()

    def train_measures(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        return {"accuracy": ((output > 0) == (target > 0.5)).float().mean()}


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
