"""Supervised learning by gradient descent on the mean loss of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from dlzoo.distributed import collectives as gathering
from dlzoo.errors import UserError, ignored_option
from dlzoo.layers.basic import ACTIVATION_TYPES
from dlzoo.losses.functional import ClassLossName, ValueLossName
from dlzoo.losses.heads import Head, heads_for
from dlzoo.losses.objectives import Objective
from dlzoo.nets.base import BackboneNet, Net
from dlzoo.specs.base import Spec, Target
from dlzoo.specs.batch import Batch
from dlzoo.specs.targets import Answer, Classes, Values
from dlzoo.tasks.base import OptimizerFactory, SchedulerFactory
from dlzoo.tasks.finetuning import Transfer
from dlzoo.tasks.interfaces import Predicting
from dlzoo.tasks.views import Tensors, View


class Supervised(Predicting):
    """Classification, multi-label classification or regression, depending on the target of the data.

    The loss of a batch is the mean over its samples, weighted by class and sample weights where given. Each
    of several named targets has its own objective, and the loss is the weighted sum of their losses; the net returns a
    dict of outputs by name, or the outputs of all targets concatenated.

    Args:
        loss: by name (dlzoo/losses/functional.py); None is cross_entropy for classes,
            binary_cross_entropy for labels, mse for values. With several targets: by target name, {price: huber}.
        label_smoothing: fraction of a class target that is spread over all classes; other targets have none.
        gamma: focusing parameter of the focal loss.
        delta: threshold of the Huber loss.
        class_weights: ``balanced`` or one weight per class; with several targets by target name, {coastal: balanced}.
        loss_weights: loss weights of a net's outputs in training, main output first, for nets with auxiliary heads.
            With several targets: by target name, {price: 1, coastal: 0.5}; those not named have weight 1.
        l1: coefficient of the sum of absolute weights (not biases or norms) in the loss.
        l2: coefficient of the sum of squared weights in the loss.
        activity_l1: coefficient of the mean absolute output of each activation layer in the loss.
        activity_l2: the same for squared outputs.
        transfer: how a net with a pretrained backbone is trained; None: all of it at one learning rate.
    """

    targets: ClassVar[tuple[type[Target], ...]] = (Answer,)

    def __init__(
        self,
        net: Net,
        spec: Spec,
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        loss: ClassLossName | ValueLossName | Mapping[str, ClassLossName | ValueLossName] | None = None,
        label_smoothing: float = 0.0,
        gamma: float = 2.0,
        delta: float = 1.0,
        class_weights: Literal["balanced"]
        | Sequence[float]
        | Mapping[str, Literal["balanced"] | Sequence[float]]
        | None = None,
        loss_weights: Sequence[float] | Mapping[str, float] = (1.0,),
        l1: float = 0.0,
        l2: float = 0.0,
        activity_l1: float = 0.0,
        activity_l2: float = 0.0,
        transfer: Transfer | None = None,
    ) -> None:
        super().__init__(net, spec, optimizer=optimizer, scheduler=scheduler)
        self.check_target(spec.target)
        self._heads = nn.ModuleList(
            heads_for(
                spec.target,
                loss_weights=loss_weights,
                loss=loss,
                class_weights=class_weights,
                label_smoothing=label_smoothing,
                gamma=gamma,
                delta=delta,
            )
        )
        self.label_smoothing = label_smoothing
        if spec.target.named is None:
            self.monitor = self.objective.monitor
            self.loss_weights = tuple(loss_weights)
        self.l1, self.l2 = l1, l2
        self.activity_l1, self.activity_l2 = activity_l1, activity_l2
        self.transfer = transfer
        if transfer is not None:
            transfer.check(net)
            self.has_parts = transfer.changes
        self.activities: list[Tensor] = []
        if activity_l1 or activity_l2:
            for module in net.modules():
                if isinstance(module, ACTIVATION_TYPES):
                    module.register_forward_hook(lambda _m, _x, out: self.activities.append(out))

    @property
    def heads(self) -> list[Head]:
        """One for each target."""
        return list(self._heads)  # type: ignore[arg-type]

    @property
    def objective(self) -> Objective:
        """Of the one target."""
        (head,) = self.heads
        return head.objective

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        smoothed = any(head.target.classes is not None for head in self.heads)
        focal = any(head.target.values is None and head.loss_name == "focal" for head in self.heads)
        huber = any(head.target.values is not None and head.loss_name == "huber" for head in self.heads)
        has_activations = any(isinstance(module, ACTIVATION_TYPES) for module in self.net.modules())
        has_weights = any(p.ndim > 1 for p in self.net.parameters())
        activity, weights = "a net with activation layers", "a net with weights of two dimensions or more"
        return super().option_uses() | {
            "label_smoothing": (smoothed or not self.label_smoothing, "data that give classes"),
            "gamma": (focal, "task.loss=focal"),
            "delta": (huber, "task.loss=huber"),
            "l1": (has_weights or not self.l1, weights),
            "l2": (has_weights or not self.l2, weights),
            "activity_l1": (has_activations or not self.activity_l1, activity),
            "activity_l2": (has_activations or not self.activity_l2, activity),
        }

    def param_groups(self) -> Any:
        return super().param_groups() if self.transfer is None else self.transfer.groups(self.net)

    def frozen_backbone(self) -> BackboneNet | None:
        is_frozen = self.transfer is not None and self.transfer.freezes_body
        return self.net.as_backbone() if is_frozen else None

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        if self.transfer is not None:
            done = self.current_epoch / max(self.trainer.max_epochs or 1, 1)
            self.transfer.apply(self.net, done)

    def setup(self, stage: str) -> None:
        """Freeze permanently frozen stages before DDP collects the trainable parameters."""
        if stage == "fit" and self.transfer is not None and not self.transfer.changes:
            self.transfer.apply(self.net, 0.0)

    def predict(self, inputs: Any) -> Any:
        answers = {head.name: head.objective.answers(output) for head, output in self.by_head(self(inputs))}
        return self.of_names(answers)

    def outputs(self, inputs: Any) -> Any:
        output = self(inputs)
        self.activities.clear()
        return self.reported(output)

    def reported(self, outputs: Any) -> Any:
        """What callbacks get of the net's outputs."""
        return self.of_names({head.name: head.objective.reported(out) for head, out in self.by_head(outputs)})

    def by_head(self, outputs: Any) -> list[tuple[Head, Tensor]]:
        """Each target's head with its output, of what the net gives."""
        named = self.spec.target.named
        if named is None:
            return [(self.heads[0], outputs[0] if isinstance(outputs, tuple) else outputs)]
        if isinstance(outputs, tuple):
            raise UserError(
                f"the net has auxiliary outputs, which learn one target; this data gives several: "
                f"{', '.join(named.names)}"
            )
        parts = named.split(outputs)
        return [(head, parts[head.name]) for head in self.heads]

    def of_names(self, parts: dict[str, Any]) -> Any:
        """What was made for each head, by its name, or alone where there is one target."""
        return parts if self.spec.target.named is not None else parts[""]

    def of_head(self, head: Head, target: Any) -> Any:
        """A head's part of a batch's target."""
        return target[head.name] if self.spec.target.named is not None else target

    def export_views(self) -> Mapping[str, Callable[[], View]]:
        return {"model": lambda: Predictor(self)}

    def loss(self, outputs: Any, target: Any, weight: Tensor | None = None) -> Tensor:
        """The data loss without penalties, so that training and validation are comparable."""
        if self.spec.target.named is not None:
            return self.total(self.losses(outputs, target, weight))
        if not isinstance(outputs, tuple):
            if self.training and self.loss_weights != (1.0,):
                raise ignored_option("task.loss_weights", list(self.loss_weights), "a net of several outputs")
            return self._mean_loss(self.objective, outputs, target, weight)
        if len(outputs) != len(self.loss_weights):
            raise UserError(
                f"the net has {len(outputs)} outputs, but task.loss_weights={list(self.loss_weights)}; give one each"
            )
        weighted: Any = zip(self.loss_weights, outputs, strict=True)
        return torch.stack(
            [factor * self._mean_loss(self.objective, out, target, weight) for factor, out in weighted]
        ).sum()

    def losses(self, outputs: Any, target: Any, weight: Tensor | None = None) -> list[Tensor]:
        """The data loss of each head, before its factor."""
        if self.spec.target.named is None:
            return [self.loss(outputs, target, weight)]
        return [
            self._mean_loss(head.objective, output, target[head.name], weight) for head, output in self.by_head(outputs)
        ]

    def total(self, losses: Sequence[Tensor]) -> Tensor:
        """The loss, of the heads' losses."""
        if self.spec.target.named is None:
            return losses[0]
        return torch.stack([head.weight * loss for head, loss in zip(self.heads, losses, strict=True)]).sum()

    def _mean_loss(self, objective: Objective, output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        each = objective.criterion(output, target)
        factors = objective.weights(target, weight)
        return each.mean() if factors is None else (each * factors).sum() / self._total(factors)

    def _total(self, factors: Tensor) -> Tensor:
        """The sum of these factors; in training, this rank's part of the sum over all ranks, by its rows."""
        if self.training and gathering.rank_and_world()[1] > 1:
            total = self.batch_mean(factors.mean()) * len(factors)
        else:
            total = factors.sum()
        return total.clamp(min=1e-12)

    def penalty(self) -> Tensor | float:
        """The regularisation terms of the training loss."""
        total: Tensor | float = 0.0
        if self.l1 or self.l2:
            for p in self.net.parameters():
                if p.ndim > 1:
                    total = total + self.l1 * p.abs().sum() + self.l2 * p.square().sum()
        for out in self.activities:
            total = total + self.activity_l1 * out.abs().mean() + self.activity_l2 * out.square().mean()
        self.activities.clear()
        return total

    def weight_of(self, target: Any, weight: Tensor | None = None, head: Head | None = None) -> int | Tensor:
        """The weight of these samples' mean loss relative to other batches.

        Args:
            target: of the head.
            head: of several targets.
        """
        factors = (self.objective if head is None else head.objective).weights(target, weight)
        return len(target) if factors is None else self._total(factors)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, target, weight = Batch(*batch)
        outputs = self(x)
        losses = self.losses(outputs, target, weight)
        loss = self.total(losses)
        with torch.no_grad():
            for (head, output), own in zip(self.by_head(outputs), losses, strict=True):
                self.log_head(head, own, output, self.of_head(head, target), weight)
            if self.spec.target.named is not None:
                self.log_step(Batch(x, target).num_rows if weight is None else self._total(weight), loss=loss)
        return loss + self.penalty()

    def log_head(self, head: Head, loss: Tensor, output: Tensor, target: Tensor, weight: Tensor | None) -> None:
        """Add a training batch to the means of the epoch."""
        count = self.weight_of(target, weight, head)
        measures = {f"{head.prefix}{name}": m for name, m in head.objective.train_measures(output, target).items()}
        if isinstance(count, int):
            self.log_step(count, **{f"{head.prefix}loss": loss}, **measures)
        else:
            self.log_step(count, **{f"{head.prefix}loss": loss})
            self.log_step(len(target), **measures)

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return self.measure(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return self.measure(batch)

    def measure(self, batch: Batch) -> dict[str, Tensor]:
        """Output, target and loss of a batch; also updates the metrics of the split."""
        x, target, weight = Batch(*batch)
        outputs = self(x)
        self.activities.clear()
        losses = self.losses(outputs, target, weight)
        for (head, output), own in zip(self.by_head(outputs), losses, strict=True):
            wanted = self.of_head(head, target)
            head.update(output, wanted, own, self.weight_of(wanted, weight, head))
        return {"output": self.reported(outputs), "target": target, "loss": self.total(losses)}

    def on_validation_epoch_end(self) -> None:
        self.log_split("val")

    def on_test_epoch_end(self) -> None:
        self.log_split("test")

    def log_split(self, split: str) -> None:
        """Log the split's metrics as ``split/name`` and reset them; computing them synchronizes the ranks."""
        figures = [head.compute() for head in self.heads]
        values = {
            f"{head.prefix}{name}": value
            for head, own in zip(self.heads, figures, strict=True)
            for name, value in own.items()
        }
        values |= {"loss": self.total([own["loss"] for own in figures])}
        self.log_dict({f"{split}/{name}": value for name, value in values.items()})


class Classification(Supervised):
    """`Supervised` for data with classes only."""

    targets = (Classes,)


class Regression(Supervised):
    """`Supervised` for data with values only."""

    targets = (Values,)


class Predictor(View[Supervised]):
    """Exported predictor: class probabilities, or values."""

    def __init__(self, task: Supervised) -> None:
        super().__init__(task)
        if task.spec.named is not None or task.spec.target.named is not None:
            raise UserError(
                f"models of several named inputs or targets cannot be exported (inputs: {task.spec.describe()}; "
                f"targets: {task.spec.target.describe()}); predict and evaluate read their checkpoints"
            )
        self.inputs = task.spec.ports()
        self.outputs = task.spec.target.ports()

    def forward(self, x: Tensor) -> Tensors:  # type: ignore[override]
        return (self.task.predict(self.pixels(x)),)

    def expected(self, x: Tensor) -> Tensors:  # type: ignore[override]
        with torch.inference_mode():
            return (self.trained.predict(self.pixels(x)),)

    def metrics(self) -> MetricCollection:
        return self.trained.objective.metrics()

    def measured(self, answer: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        kind = self.trained.spec.target
        if kind.classes is not None:
            return answer.argmax(1), target
        return answer, target if kind.labels is None else target.long()
