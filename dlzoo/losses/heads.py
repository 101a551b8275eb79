"""What a supervised task keeps of each target: its objective, the factor of its loss, and its figures of a split."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torchmetrics import MeanMetric

from dlzoo.errors import UserError, nearest
from dlzoo.losses.objectives import Objective, objective_for
from dlzoo.specs.base import Target


class Head(nn.Module):
    """One target.

    Args:
        name: of several targets; empty where there is one.
        loss_name: as it was given; None for the usual one.
        weight: the factor of its loss.
    """

    def __init__(
        self, name: str, target: Target, objective: Objective, *, loss_name: str | None, weight: float = 1.0
    ) -> None:
        super().__init__()
        self.name = name
        self.target = target
        self.objective = objective
        self.loss_name = loss_name
        self.weight = weight
        self.eval_loss = MeanMetric()
        self.eval_metrics = objective.metrics()

    @property
    def prefix(self) -> str:
        """Of its metrics' names, behind the split: ``val/price/mae``."""
        return f"{self.name}/" if self.name else ""

    def update(self, output: Tensor, target: Tensor, loss: Tensor, count: int | Tensor) -> None:
        """Add a batch, whose mean loss counts so much, to the figures of the split."""
        self.eval_loss.update(loss, count)
        self.eval_metrics.update(*self.objective.measured(output, target))

    def compute(self) -> dict[str, Tensor]:
        """The figures of the split, of all ranks together; they are then forgotten."""
        values = {"loss": self.eval_loss.compute(), **self.eval_metrics.compute()}
        self.eval_loss.reset()
        self.eval_metrics.reset()
        return values


def heads_for(
    target: Target,
    *,
    loss_weights: Sequence[float] | Mapping[str, float] = (1.0,),
    loss: Any = None,
    class_weights: Any = None,
    **options: Any,
) -> list[Head]:
    """A head for each target.

    Args:
        loss_weights, loss, class_weights: of several targets by their names.
        options: of the task; each objective takes those that its constructor has.

    Raises:
        UserError: an option by name for one target or the reverse, or a name that no target has.
    """
    by_name = {"loss_weights": loss_weights, "loss": loss, "class_weights": class_weights}
    if target.named is None:
        for key, given in by_name.items():
            if isinstance(given, Mapping):
                raise UserError(
                    f"task.{key}={dict(given)} is given by names, but this data gives one target ({target.what}): "
                    "name several with data.target={name: column, …}"
                )
        return [
            Head("", target, objective_for(target, loss=loss, class_weights=class_weights, **options), loss_name=loss)
        ]
    parts = target.named.by_name
    by_name["loss_weights"] = {} if loss_weights == (1.0,) else loss_weights
    weights, losses, factors = (_checked(key, given, parts) for key, given in by_name.items())
    for name, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise UserError(f"task.loss_weights: {name} has {weight}, which is no number of at least 0")
    if not any(weights.get(name, 1.0) for name in parts):
        raise UserError("task.loss_weights are all 0: there is nothing to learn")
    return [
        Head(
            name,
            part,
            objective_for(part, loss=losses.get(name), class_weights=factors.get(name), **options),
            loss_name=losses.get(name),
            weight=float(weights.get(name, 1.0)),
        )
        for name, part in parts.items()
    ]


def _checked(key: str, given: Any, parts: Mapping[str, Target]) -> Mapping[str, Any]:
    """An option of several targets, by their names."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise UserError(
            f"task.{key}={given}: this data gives several targets ({', '.join(parts)}); say which one is meant, "
            f"task.{key}={{{next(iter(parts))}: …}}"
        )
    for name in given:
        if name not in parts:
            raise UserError(f"task.{key}={dict(given)}: there is no target {name}; {nearest(str(name), parts)}")
    return given
