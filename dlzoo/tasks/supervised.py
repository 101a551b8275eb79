"""Supervised learning by gradient descent on the mean loss of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torchmetrics import MeanMetric, MetricCollection

from dlzoo.distributed import collectives as gathering
from dlzoo.errors import UserError, ignored_option
from dlzoo.layers.basic import ACTIVATION_TYPES
from dlzoo.losses.functional import ClassLossName, ValueLossName
from dlzoo.losses.objectives import objective_for
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

    The loss of a batch is the mean over its samples, weighted by class and sample weights where given.

    Args:
        loss: by name (dlzoo/losses/functional.py); None is cross_entropy for classes,
            binary_cross_entropy for labels, mse for values.
        label_smoothing: fraction of a class target that is spread over all classes; other targets have none.
        gamma: focusing parameter of the focal loss.
        delta: threshold of the Huber loss.
        class_weights: ``balanced`` or one weight per class.
        loss_weights: loss weights of a net's outputs in training, main output first, for nets with auxiliary heads.
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
        loss: ClassLossName | ValueLossName | None = None,
        label_smoothing: float = 0.0,
        gamma: float = 2.0,
        delta: float = 1.0,
        class_weights: Literal["balanced"] | Sequence[float] | None = None,
        loss_weights: Sequence[float] = (1.0,),
        l1: float = 0.0,
        l2: float = 0.0,
        activity_l1: float = 0.0,
        activity_l2: float = 0.0,
        transfer: Transfer | None = None,
    ) -> None:
        super().__init__(net, spec, optimizer=optimizer, scheduler=scheduler)
        self.check_target(spec.target)
        self.objective = objective_for(
            spec.target,
            loss=loss,
            label_smoothing=label_smoothing,
            gamma=gamma,
            delta=delta,
            class_weights=class_weights,
        )
        self.loss_name = loss
        self.label_smoothing = label_smoothing
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
        self.eval_loss = MeanMetric()
        self.eval_metrics = self.objective.metrics()

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        has_classes = self.spec.target.classes is not None
        has_activations = any(isinstance(module, ACTIVATION_TYPES) for module in self.net.modules())
        has_weights = any(p.ndim > 1 for p in self.net.parameters())
        activity, weights = "a net with activation layers", "a net with weights of two dimensions or more"
        return super().option_uses() | {
            "label_smoothing": (has_classes or not self.label_smoothing, "data that give classes"),
            "gamma": (self.spec.target.values is None and self.loss_name == "focal", "task.loss=focal"),
            "delta": (self.spec.target.values is not None and self.loss_name == "huber", "task.loss=huber"),
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

    def predict(self, inputs: Tensor) -> Tensor:
        return self.objective.answers(self(inputs))

    def outputs(self, inputs: Tensor) -> Tensor:
        output = self(inputs)
        self.activities.clear()
        return self.objective.reported(output)

    def export_views(self) -> Mapping[str, Callable[[], View]]:
        return {"model": lambda: Predictor(self)}

    def loss(self, outputs: Tensor | tuple[Tensor, ...], target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The data loss without penalties, so that training and validation are comparable."""
        if not isinstance(outputs, tuple):
            if self.training and self.loss_weights != (1.0,):
                raise ignored_option("task.loss_weights", list(self.loss_weights), "a net of several outputs")
            return self._mean_loss(outputs, target, weight)
        if len(outputs) != len(self.loss_weights):
            raise UserError(
                f"the net has {len(outputs)} outputs, but task.loss_weights={list(self.loss_weights)}; give one each"
            )
        weighted = zip(self.loss_weights, outputs, strict=True)
        return torch.stack([factor * self._mean_loss(out, target, weight) for factor, out in weighted]).sum()

    def _mean_loss(self, output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        each = self.objective.criterion(output, target)
        factors = self.objective.weights(target, weight)
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

    def weight_of(self, target: Tensor, weight: Tensor | None = None) -> int | Tensor:
        """The weight of these samples' mean loss relative to other batches."""
        factors = self.objective.weights(target, weight)
        return len(target) if factors is None else self._total(factors)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, target, weight = Batch(*batch)
        outputs = self(x)
        loss = self.loss(outputs, target, weight)
        with torch.no_grad():
            main = outputs[0] if isinstance(outputs, tuple) else outputs
            count = self.weight_of(target, weight)
            measures = self.objective.train_measures(main, target)
            if isinstance(count, int):
                self.log_step(count, loss=loss, **measures)
            else:
                self.log_step(count, loss=loss)
                self.log_step(len(target), **measures)
        return loss + self.penalty()

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return self.measure(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return self.measure(batch)

    def measure(self, batch: Batch) -> dict[str, Tensor]:
        """Output, target and loss of a batch; also updates the metrics of the split."""
        x, target, weight = Batch(*batch)
        output = self(x)
        self.activities.clear()
        loss = self.loss(output, target, weight)
        self.eval_loss.update(loss, self.weight_of(target, weight))
        self.eval_metrics.update(*self.objective.measured(output, target))
        return {"output": self.objective.reported(output), "target": target, "loss": loss}

    def on_validation_epoch_end(self) -> None:
        self.log_split("val")

    def on_test_epoch_end(self) -> None:
        self.log_split("test")

    def log_split(self, split: str) -> None:
        """Log the split's metrics as ``split/name`` and reset them; computing them synchronizes the ranks."""
        values = {"loss": self.eval_loss.compute(), **self.eval_metrics.compute()}
        self.log_dict({f"{split}/{name}": value for name, value in values.items()})
        self.eval_loss.reset()
        self.eval_metrics.reset()


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
