"""What a supervised task keeps of each head: its objective, the weight of its loss, and its metrics of a split.

A head is what is predicted for one target: of several named targets each has one, and so has each output of a net with
several outputs for the one target.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric

import dlzoo.losses.boxes  # noqa: F401  # its objective registers itself
from dlzoo.errors import SpecError, UserError, nearest
from dlzoo.losses.objectives import Objective, objective_for
from dlzoo.specs.base import Target


class Head(nn.Module):
    """One head.

    Args:
        name: of several heads; empty where there is one.
        loss_name: as it was given; None for the usual one, and for a module of the user.
        weight: the factor of its loss.
        metrics: further ones by name.

    Raises:
        UserError: the name of one is taken.
    """

    def __init__(
        self,
        name: str,
        target: Target,
        objective: Objective,
        *,
        loss_name: str | None,
        weight: float = 1.0,
        metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.target = target
        self.objective = objective
        self.loss_name = loss_name
        self.weight = weight
        self.prefix = f"{name}/" if name else ""
        """Of its metrics' names, behind the split: ``val/price/mae``."""
        self.eval_loss = MeanMetric()
        """The plain loss, which is summed over heads."""
        self.eval_in_units = MeanMetric() if objective.has_units else None
        self.eval_metrics = objective.metrics()
        for key in metrics or {}:
            if key in (taken := {"loss", *map(str, self.eval_metrics.keys(keep_base=True))}):
                raise UserError(f"task.metrics.{key}: there is such a metric already ({', '.join(sorted(taken))})")
        self.eval_metrics.add_metrics({key: copy.deepcopy(metric) for key, metric in (metrics or {}).items()})
        self.class_counts: Tensor | None = None
        """(K,), how often each class was predicted in the split, on this rank."""
        self.only_class: str | None = None
        """The class that all rows of the last validation were predicted as, if there is one."""
        self.num_constant = 0
        """Validations in a row with an `only_class`."""

    @property
    def monitor(self) -> tuple[str, str]:
        """The validation metric that tells how good it is, and its direction."""
        return self._named(self.objective.monitor)

    @property
    def ranking(self) -> tuple[tuple[str, str], ...]:
        """The validation metrics that runs are compared by."""
        return tuple(map(self._named, self.objective.ranking or (self.objective.monitor,)))

    def _named(self, metric: tuple[str, str]) -> tuple[str, str]:
        return metric[0].replace("val/", f"val/{self.prefix}", 1), metric[1]

    def update(self, output: Tensor, target: Tensor, loss: Tensor, in_units: Tensor, count: int | Tensor) -> None:
        """Add a batch to the metrics of the split.

        Args:
            loss: the plain mean loss of the batch, which counts so much.
            in_units: the same in the units of the data.
        """
        self.eval_loss.update(loss, count)
        if self.eval_in_units is not None:
            self.eval_in_units.update(in_units, count)
        predicted, true = self.objective.measured(output, target)
        self.eval_metrics.update(predicted, true)
        if self.target.classes is not None:
            counts = predicted.bincount(minlength=self.target.num_outputs)
            self.class_counts = counts if self.class_counts is None else self.class_counts + counts

    def end_validation(self) -> None:
        """Note whether all rows were predicted as one class."""
        counts = self.class_counts
        is_constant = counts is not None and bool(counts.sum() > 1) and bool(counts.max() == counts.sum())
        self.only_class = self.target.names[int(counts.argmax())] if counts is not None and is_constant else None
        self.num_constant = self.num_constant + 1 if is_constant else 0

    def compute(self) -> tuple[Tensor, dict[str, Tensor]]:
        """The plain loss and the metrics of the split, of all ranks together; they are then reset.

        A metric that is undefined for the rows of the split, such as R² of one row, is left out.
        """
        loss = self.eval_loss.compute()
        shown = loss if self.eval_in_units is None else self.eval_in_units.compute()
        metrics = self.eval_metrics.compute()
        values = {"loss": shown} | {n: v for n, v in metrics.items() if not (v.isnan() and loss.isfinite())}
        for metric in (self.eval_loss, self.eval_in_units, self.eval_metrics):
            if metric is not None:
                metric.reset()
        self.class_counts = None
        return loss, values


def heads_for(
    target: Target,
    output_names: Sequence[str] = (),
    training_outputs: Sequence[str] = (),
    *,
    loss_weights: Mapping[str, float] | None = None,
    loss: Any = None,
    class_weights: Any = None,
    metrics: Mapping[str, Metric] | None = None,
    **options: float,
) -> list[Head]:
    """A head for each target, or for each output of a net with several outputs for the one target.

    Args:
        target: of the data.
        output_names, training_outputs: of the net, see `Net`.
        loss_weights: by head; 1 for those that are not named.
        loss, class_weights: of several targets by their names; of one target for all heads, or by head.
        metrics: of the user by name, for each head.
        options: of the task; each objective takes those that its constructor has.

    Raises:
        SpecError: several outputs for each of several targets.
        UserError: an option by name for one head, one for all of several targets, or a name that no head has.
    """
    parts = _parts(target, output_names, training_outputs)
    weights = _by_head("loss_weights", loss_weights or {}, parts, target)
    losses = _by_head("loss", loss, parts, target)
    factors = _by_head("class_weights", class_weights, parts, target)
    for name, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise UserError(f"task.loss_weights.{name}={weight} must be a finite number of at least 0")
    if not any(weights.get(name, 1.0) for name in parts):
        raise UserError("task.loss_weights are all 0: there is nothing to learn")
    return [
        Head(
            name,
            part,
            objective_for(part, loss=losses.get(name), class_weights=factors.get(name), **options),
            loss_name=None if isinstance(losses.get(name), nn.Module) else losses.get(name),
            weight=float(weights.get(name, 1.0)),
            metrics=metrics,
        )
        for name, part in parts.items()
    ]


def _parts(target: Target, output_names: Sequence[str], training_outputs: Sequence[str]) -> Mapping[str, Target]:
    """What each head predicts, by its name."""
    if target.named is None:
        return dict.fromkeys((*(output_names or ("",)), *training_outputs), target)
    if output_names or training_outputs:
        raise SpecError(
            f"several of its outputs ({', '.join((*output_names, *training_outputs))}) learn one target, but the data "
            f"gives several: {', '.join(target.named.names)}; choose one with data.target=<column>"
        )
    return target.named.by_name


def _by_head(key: str, given: Any, parts: Mapping[str, Target], target: Target) -> Mapping[str, Any]:
    """An option of each head by its name."""
    if given is None or (isinstance(given, Mapping) and not given):
        return {}
    if not isinstance(given, Mapping):
        if target.named is None and key != "loss_weights":
            return dict.fromkeys(parts, given)
        several = "this data gives several targets" if target.named is not None else "each output has its own weight"
        raise UserError(
            f"task.{key}={given}: {several} ({', '.join(map(str, parts))}); say which one is meant, "
            f"task.{key}={{{next(iter(parts))}: …}}"
        )
    if parts.keys() == {""}:
        raise UserError(
            f"task.{key}={dict(given)} is given by names, but there is one output for one target ({target.what}): name "
            "several targets with data.target={name: column, …}"
        )
    for name in given:
        if name not in parts:
            what = "output" if target.named is None else "target"
            raise UserError(f"task.{key}={dict(given)}: there is no {what} {name}; {nearest(str(name), parts)}")
    return given
