"""Supervised learning by gradient descent on the mean loss of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT
from torchmetrics import Metric

from dlzoo.distributed import collectives as gathering
from dlzoo.errors import UserError
from dlzoo.layers.basic import ACTIVATION_TYPES
from dlzoo.losses.boxes import BoxLoss
from dlzoo.losses.functional import ClassLoss, ValueLoss
from dlzoo.losses.heads import Head, heads_for
from dlzoo.losses.objectives import Objective
from dlzoo.nets.base import BackboneNet, Net
from dlzoo.specs.base import Spec, Target
from dlzoo.specs.batch import Batch, NamedBatch, TensorOrDict, part_of
from dlzoo.specs.named import Targets
from dlzoo.specs.targets import Answer, Classes, Values
from dlzoo.tasks.finetuning import Transfer
from dlzoo.tasks.interfaces import Minimizing
from dlzoo.tasks.optimization import OptimizerFactory, SchedulerFactory
from dlzoo.tasks.prediction_view import Predictor
from dlzoo.tasks.views import View

HeadLosses = list[tuple[Head, Tensor]]
LossKind = Literal["minimized", "plain", "in units"]
"""With what only training adds (label smoothing, class weights); without it; without it in the units of the data."""


class Supervised(Minimizing):
    """Classification, multi-label classification or regression, depending on the target of the data.

    The loss of a batch is the mean over its samples, weighted by class and sample weights where given. The losses in
    metrics are plain: without label smoothing and class weights, and of values in the units of the data. Each
    of several named targets has its own objective, and the loss is the weighted sum of their losses; the net returns a
    dict of outputs by name, or the outputs of all targets concatenated. A net with several outputs for the one target
    (`Net.output_names`) has a head for each of them, with a loss, a weight and metrics as named targets have.

    Args:
        loss: by name (dlzoo/losses/functional.py, boxes.py); None is cross_entropy for classes,
            binary_cross_entropy for labels, mse for values, smooth_l1_giou for boxes. With several targets: by target
            name, {price: huber}; the outputs of a net for one target may have their own, {auxiliary: mae}. Or a module
            of your own, by its class, {_target_: mypkg.losses.MyLoss}: of outputs and targets it returns one value per
            row.
        metrics: further ones for validation and test, by name: {kappa: {_target_: mypkg.metrics.Kappa}}. They are
            `torchmetrics.Metric`s, and get predicted and true classes, the probabilities of labels, or values.
        label_smoothing: fraction of a class target that is spread over all classes; other targets have none.
        gamma: focusing parameter of the focal loss.
        delta: threshold of the Huber loss, in standard deviations of a target that is standardised.
        class_weights: ``balanced`` or one weight per class; with several targets by target name, {coastal: balanced}.
        loss_weights: weights of the losses of several targets, or of the outputs of a net with several, by name:
            {price: 1, coastal: 0.5}, {main: 0.9, auxiliary: 0.1}. Those not named have weight 1.
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
        loss: ClassLoss | ValueLoss | BoxLoss | Mapping[str, ClassLoss | ValueLoss | BoxLoss] | None = None,
        label_smoothing: float = 0.0,
        gamma: float = 2.0,
        delta: float = 1.0,
        class_weights: Literal["balanced"]
        | Sequence[float]
        | Mapping[str, Literal["balanced"] | Sequence[float]]
        | None = None,
        loss_weights: Mapping[str, float] | None = None,
        metrics: Mapping[str, Metric] | None = None,
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
                net.output_names,
                net.training_outputs,
                loss_weights=loss_weights,
                loss=loss,
                class_weights=class_weights,
                metrics=metrics,
                label_smoothing=label_smoothing,
                gamma=gamma,
                delta=delta,
            )
        )
        self.label_smoothing = label_smoothing
        if spec.target.named is None:
            self.monitor = self.heads[0].monitor
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
        """One for each target, or for each output of a net with several for the one target."""
        return list(self._heads)  # type: ignore[arg-type]

    @property
    def predicted_target(self) -> Target:
        """That of the data, or for each output of a net with several, by its name."""
        names = self.net.output_names
        return Targets.of(dict.fromkeys(names, self.spec.target)) if names else self.spec.target

    @property
    def ranking(self) -> tuple[tuple[str, str], ...]:
        return super().ranking if self.spec.target.named is not None else self.heads[0].ranking

    @property
    def objective(self) -> Objective:
        """Of the one head."""
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

    def param_groups(self) -> ParamsT:
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

    def predict(self, inputs: TensorOrDict) -> TensorOrDict:
        answers = {head.name: head.objective.answers(output) for head, output in self.by_head(self(inputs))}
        return self.of_names(answers)

    def outputs(self, inputs: TensorOrDict) -> TensorOrDict:
        output = self(inputs)
        self.activities.clear()
        return self.reported(output)

    def reported(self, outputs: TensorOrDict) -> TensorOrDict:
        """What callbacks get of the net's outputs."""
        return self.of_names({head.name: head.objective.reported(out) for head, out in self.by_head(outputs)})

    def by_head(self, outputs: TensorOrDict) -> list[tuple[Head, Tensor]]:
        """Each head with its output, of what the net returns; outputs of training only may be absent."""
        named = self.spec.target.named
        if not isinstance(outputs, Tensor | dict):
            raise UserError(
                f"{type(self.net).__name__} returns a {type(outputs).__name__}; return a tensor, or of several outputs "
                "a dict by the names in its output_names and training_outputs"
            )
        if named is not None:
            parts = named.split(outputs)
        else:
            parts = outputs if isinstance(outputs, dict) else {self.heads[0].name: outputs}
        names = {head.name for head in self.heads}
        if not names - {*self.net.training_outputs} <= parts.keys() <= names:
            raise UserError(
                f"{type(self.net).__name__} returns the outputs {', '.join(map(repr, parts))}, but its output_names "
                f"and training_outputs say {', '.join(map(repr, names))}"
            )
        return [(head, parts[head.name]) for head in self.heads if head.name in parts]

    def of_names(self, parts: dict[str, Tensor]) -> TensorOrDict:
        """What was computed for each head, by its name, or alone where one is evaluated."""
        return parts.get("", parts)

    def of_head(self, head: Head, target: TensorOrDict) -> Tensor:
        """What a head is to predict, of a batch's target."""
        return part_of(target, head.name if self.spec.target.named is not None else "")

    def export_views(self) -> Mapping[str, Callable[[], View]]:
        return {"model": lambda: Predictor(self)}

    def loss(self, outputs: TensorOrDict, target: TensorOrDict, weight: Tensor | None = None) -> Tensor:
        """The data loss that is minimised, without penalties."""
        return self.total(self.losses(outputs, target, weight))

    def losses(
        self, outputs: TensorOrDict, target: TensorOrDict, weight: Tensor | None = None, kind: LossKind = "minimized"
    ) -> HeadLosses:
        """Each head with its data loss, before its weight."""
        return [
            (head, self.mean_loss(head, output, self.of_head(head, target), weight, kind))
            for head, output in self.by_head(outputs)
        ]

    def total(self, losses: HeadLosses) -> Tensor:
        """The weighted sum of the heads' losses."""
        if len(self._heads) == 1:
            return losses[0][1]
        return torch.stack([head.weight * loss for head, loss in losses]).sum()

    def mean_loss(
        self, head: Head, output: Tensor, target: Tensor, weight: Tensor | None = None, kind: LossKind = "minimized"
    ) -> Tensor:
        """The data loss of one head."""
        objective = head.objective
        each = {"minimized": objective.criterion, "plain": objective.plain, "in units": objective.in_units}[kind]
        factors = objective.weights(target, weight) if kind == "minimized" else weight
        losses = each(output, target)
        return losses.mean() if factors is None else (losses * factors).sum() / self._total(factors)

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
        """The weight of the mean loss of these rows relative to other batches: their number, or their weights' sum."""
        return len(target) if weight is None else self._total(weight)

    def training_step(self, batch: NamedBatch, batch_idx: int) -> Tensor:
        x, target, weight = Batch(*batch)
        outputs = self(x)
        losses = self.losses(outputs, target, weight)
        loss = self.total(losses)
        with torch.no_grad():
            plain = self.plain_losses(outputs, target, weight, losses)
            total = self.total(plain)
            for (head, output), (_, own) in zip(self.by_head(outputs), plain, strict=True):
                rows = self.of_head(head, target)
                is_main = not head.name and len(plain) > 1  # its loss is logged under the name of the total
                shown = total if is_main else self.in_units(head, own, output, rows, weight)
                self.log_head(head, shown, output, rows, weight)
            if self.heads[0].name:
                count = Batch(x, target).num_rows if weight is None else self._total(weight)
                self.log_step(count, loss=total)
        return loss + self.penalty()

    def plain_losses(
        self, outputs: TensorOrDict, target: TensorOrDict, weight: Tensor | None, minimized: HeadLosses
    ) -> HeadLosses:
        """Each head with its plain loss: the one that is minimised, where that is plain."""
        if all(head.objective.is_plain for head, _ in minimized):
            return [(head, loss.detach()) for head, loss in minimized]
        return self.losses(outputs, target, weight, "plain")

    def in_units(self, head: Head, plain: Tensor, output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        """A head's loss as metrics show it."""
        if not head.objective.has_units:
            return plain
        unit = head.objective.unit
        return plain * unit[0] if unit is not None else self.mean_loss(head, output, target, weight, "in units")

    def log_head(self, head: Head, loss: Tensor, output: Tensor, target: Tensor, weight: Tensor | None) -> None:
        """Add a training batch to the means of the epoch."""
        measures = {f"{head.prefix}{name}": m for name, m in head.objective.train_measures(output, target).items()}
        if weight is None:
            self.log_step(len(target), **{f"{head.prefix}loss": loss}, **measures)
        else:
            self.log_step(self._total(weight), **{f"{head.prefix}loss": loss})
            self.log_step(len(target), **measures)

    def validation_step(self, batch: NamedBatch, batch_idx: int) -> dict[str, TensorOrDict]:
        return self.measure(batch)

    def test_step(self, batch: NamedBatch, batch_idx: int) -> dict[str, TensorOrDict]:
        return self.measure(batch)

    def measure(self, batch: NamedBatch) -> dict[str, TensorOrDict]:
        """Output, target and loss of a batch; also updates the metrics of the split."""
        x, target, weight = Batch(*batch)
        outputs = self(x)
        self.activities.clear()
        losses = self.losses(outputs, target, weight, "plain")
        targets = {head.name: self.of_head(head, target) for head, _ in losses}
        for (head, output), (_, plain) in zip(self.by_head(outputs), losses, strict=True):
            own = targets[head.name]
            shown = self.in_units(head, plain, output, own, weight)
            head.update(output, own, plain, shown, self.weight_of(own, weight))
        return {"output": self.reported(outputs), "target": self.of_names(targets), "loss": self.total(losses)}

    def on_validation_epoch_end(self) -> None:
        for head in self.heads:
            head.end_validation()
        super().on_validation_epoch_end()

    def diagnostics(self) -> Iterator[str]:
        """A net that predicted one class for all rows in two validations in a row: in the first, any net may."""
        yield from super().diagnostics()
        for head in self.heads:
            if head.num_constant >= 2:
                yield (
                    f"val/{head.prefix}accuracy: all validation rows are predicted as {head.only_class!r}, so the net "
                    "tells nothing apart; lower optimizer.lr, or try another net.activation, net.norm=batch where the "
                    "net has it, or another seed"
                )

    def log_split(self, split: str) -> None:
        heads = [head for head in self.heads if head.name not in self.net.training_outputs]
        measured = [(head, *head.compute()) for head in heads]
        values = {"loss": self.total([(head, plain) for head, plain, _ in measured])}
        values |= {f"{head.prefix}{name}": value for head, _, own in measured for name, value in own.items()}
        self.log_dict({f"{split}/{name}": value for name, value in values.items()})


class Classification(Supervised):
    """`Supervised` for data with classes only."""

    targets = (Classes,)


class Regression(Supervised):
    """`Supervised` for data with values only."""

    targets = (Values,)
