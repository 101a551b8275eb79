"""Training self-organising maps: Kohonen's online rule and the batch map.

Online: T. Kohonen, "Self-Organized Formation of Topologically Correct Feature Maps", Biological Cybernetics 43, 1982.
Batch: T. Kohonen, "Essentials of the Self-Organizing Map", Neural Networks 37, 2013. Topographic error: K. Kiviluoto,
"Topology Preservation in Self-Organizing Maps", ICNN 1996.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

import lightning.pytorch as pl
import torch
from torch import Tensor
from torchmetrics import MeanMetric

from dlzoo.distributed.collectives import all_reduce_sum, rank_and_world
from dlzoo.errors import UserError, at_least, between, pick
from dlzoo.losses.functional import widen
from dlzoo.nets.base import MapNet
from dlzoo.specs.base import Spec, Target
from dlzoo.specs.batch import Batch
from dlzoo.specs.targets import Classes, Unlabelled, Values
from dlzoo.tasks.interfaces import Predicting
from dlzoo.tasks.manual import ManualTask
from dlzoo.tasks.map_rules import Neighborhood, NeighborhoodName, online_pass, principal_plane
from dlzoo.tasks.optimization import OptimizerFactory, SchedulerFactory, count_batches
from dlzoo.tasks.prediction_view import decisions
from dlzoo.tasks.views import Tensors, View


class SelfOrganization(ManualTask, Predicting):
    """For nets whose units lie on a grid.

    Metrics: loss is the mean squared distance from the winner, the nearest unit; quantization_error the mean distance;
    topographic_error the fraction of rows whose two nearest units are no neighbours. Where the data have classes, each
    unit takes the label of the majority of the training rows that it wins, and accuracy is that of the nearest unit
    with a label.

    Args:
        algorithm: online moves the units after each row, batch after each epoch, to the means of the rows, weighted by
            the neighbourhood.
        learning_rate: at the start of the online rule; it decreases linearly to 0.
        sigma: radius of the neighbourhood at the start, in units of the grid; None: a third of its longer side.
        final_sigma: radius at the end, to which it decreases linearly.
        neighborhood: exp(-d^2 / sigma^2) at the distance d on the grid, or 1 up to the distance sigma.
        decay: when the online rule's rate and radius change: after each epoch or each batch.
        init: the weights at the start: drawn from N(0, 1), or on the plane of the first two principal components.
    """

    uses_optimizer = False
    monitor = ("val/quantization_error", "min")
    net_type = MapNet
    targets: ClassVar[tuple[type[Target], ...]] = (Classes, Values, Unlabelled)
    net: MapNet

    def __init__(
        self,
        net: MapNet,
        spec: Spec,
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        algorithm: Literal["batch", "online"] = "batch",
        learning_rate: float = 0.5,
        sigma: float | None = None,
        final_sigma: float = 1.0,
        neighborhood: NeighborhoodName = "gaussian",
        decay: Literal["epoch", "batch"] = "epoch",
        init: Literal["random", "pca"] = "random",
    ) -> None:
        super().__init__(net, spec, optimizer=optimizer, scheduler=scheduler)
        pick(algorithm, {"batch": 0, "online": 0}, "task.algorithm")
        pick(neighborhood, {"gaussian": 0, "bubble": 0}, "task.neighborhood")
        pick(decay, {"epoch": 0, "batch": 0}, "task.decay")
        pick(init, {"random": 0, "pca": 0}, "task.init")
        between(0, 1, "task", learning_rate=learning_rate)
        at_least(0, "task", sigma=sigma, final_sigma=final_sigma)
        self.algorithm, self.learning_rate_at_start = algorithm, learning_rate
        self.sigma = max(net.grid.rows, net.grid.columns) / 3 if sigma is None else sigma
        self.final_sigma = final_sigma
        self.neighborhood_name, self.decay, self.init = neighborhood, decay, init
        self.num_epochs = 1.0
        """Epochs over which rate and radius decrease."""
        self.neighborhood: Neighborhood | None = None
        """On the device, while training."""
        self.eval_means: Any = torch.nn.ModuleDict(
            {name: MeanMetric() for name in ("loss", "quantization_error", "topographic_error", "accuracy")}
        )

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        online = (self.algorithm == "online", "task.algorithm=online")
        return super().option_uses() | {"learning_rate": online, "decay": online}

    def setup_trainer(self, trainer: pl.Trainer) -> None:
        if trainer.accumulate_grad_batches > 1:
            raise UserError(
                f"trainer.accumulate_grad_batches={trainer.accumulate_grad_batches}: the batch map moves its units once"
                " in an epoch and the online rule after each row, whatever the batches; omit it"
            )
        super().setup_trainer(trainer)

    # ------------------------------------------------------------------ steps

    def on_train_start(self) -> None:
        super().on_train_start()
        self.neighborhood = Neighborhood(self.net.grid, self.neighborhood_name, self.net.weights.detach())
        self.num_epochs = self.planned_epochs()
        is_new = self.trainer.ckpt_path is None and not self.current_epoch and not self.global_step
        if self.init == "pca" and is_new:
            self.start_on_principal_plane()

    def planned_epochs(self) -> float:
        trainer, limits = self.trainer, []
        if trainer.max_epochs is not None and trainer.max_epochs >= 0:
            limits.append(float(trainer.max_epochs))
        if trainer.max_steps >= 0:
            limits.append(trainer.max_steps / (1 if self.algorithm == "batch" else count_batches(trainer)))
        if not limits:
            raise UserError(
                "trainer.max_epochs=-1: the neighbourhood of a map shrinks over the run, whose length must be known; "
                "set trainer.max_epochs or trainer.max_steps"
            )
        return max(min(limits), 1.0)

    def progress(self, batch_idx: int) -> float:
        """From 0 at the start of the run to 1 at its end."""
        part = batch_idx / count_batches(self.trainer) if self.decay == "batch" else 0.0
        return min((self.current_epoch + part) / self.num_epochs, 1.0)

    def radius(self, progress: float) -> float:
        return self.sigma + (self.final_sigma - self.sigma) * progress

    def is_last_of_step(self, batch_idx: int) -> bool:
        return bool(self.trainer.is_last_batch) if self.algorithm == "batch" else super().is_last_of_step(batch_idx)

    def steps_in(self, batch_idx: int) -> int:
        return 1 if self.step_skipped else super().steps_in(batch_idx)

    @torch.no_grad()
    def learn_batch(self, batch: Batch, batch_idx: int) -> None:
        with torch.autocast(self.device.type, enabled=False):  # sums over many rows need full precision
            x, weight = self.rows_of(batch)
            if self.algorithm == "online":
                self.move_after_each_row(torch.cat([x, weight[:, None]], 1), batch_idx)
                return
            self.add_rows(x, weight)
            if self.is_last_of_step(batch_idx):
                self.move_to_means()

    def rows_of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The rows of a batch as the net compares them, (B, F), and their weights, (B,)."""
        inputs, _, weight = Batch(*batch)
        x = widen(self.standardize(inputs).flatten(1)).to(self.net.weights.dtype)
        return x, torch.ones_like(x[:, 0]) if weight is None else weight.to(x.dtype)

    def move_after_each_row(self, rows: Tensor, batch_idx: int) -> None:
        """Kohonen's rule. All ranks learn from the rows (B, F + 1) of all, so that their maps stay the same."""
        rows = self.gather_batch(rows, batch_idx)
        self.check_finite((rows,))
        if self.step_skipped:
            return
        x, weight = rows[:, :-1], rows[:, -1]
        progress = self.progress(batch_idx)
        rates = (self.learning_rate_at_start * (1 - progress) * weight).clamp(max=1)
        assert self.neighborhood is not None
        nearest = online_pass(self.net.weights.data, x, rates, self.neighborhood, self.radius(progress))
        share = self.rank_weight / rank_and_world()[1]  # each rank has learned from all rows
        self.log_nearest(nearest, weight, share)

    def add_rows(self, x: Tensor, weight: Tensor) -> None:
        """Add rows (B, F) to the sums of their winners."""
        nearest, winners = (-self.net(x)).min(1)
        sums = torch.zeros_like(self.net.weights).index_add_(0, winners, x * weight[:, None])
        counts = torch.zeros_like(self.net.weights[:, 0]).index_add_(0, winners, weight)
        self.add_statistics(sums, counts)
        self.log_nearest(nearest, weight)

    def log_nearest(self, nearest: Tensor, weight: Tensor, share: float = 1.0) -> None:
        """Log the mean of the squared distances (B,) of rows.

        Args:
            share: of the rows that count on this rank.
        """
        total = weight.sum()
        self.log_step(total * share, loss=(weight * nearest).sum() / total.clamp(min=1e-12))

    def move_to_means(self) -> None:
        """The batch map: each unit moves to the mean of all rows, weighted by its neighbourhood to their winners."""
        if (totals := self.total_statistics()) is None:
            return
        assert self.neighborhood is not None
        sums, counts = totals
        means, has_rows = self.neighborhood.means(sums, counts, self.radius(self.progress(0)))
        self.net.weights.copy_(torch.where(has_rows[:, None], means, self.net.weights))

    # ------------------------------------------------------------------ passes over the training rows

    def training_rows(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """This rank's training rows in chunks: rows (B, F), targets and weights (B,)."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if data is None:
            raise UserError(
                "a map reads the training rows again for its labels and for task.init=pca: give the trainer a data "
                "module, not loaders"
            )
        for batch in data.batches("train"):
            moved = data.prepared(data.transfer_batch_to_device(Batch(*batch), self.device, 0))
            yield *self.rows_of(moved), moved.target

    @torch.no_grad()
    def start_on_principal_plane(self) -> None:
        width = self.net.weights.shape[1]
        total = torch.zeros(width + 1, dtype=self.net.weights.dtype, device=self.device)
        for x, weight, _ in self.training_rows():
            total += torch.cat([weight @ x, weight.sum()[None]])
        total = all_reduce_sum(total)
        mean = total[:-1] / total[-1].clamp(min=1e-12)
        squares = torch.zeros(width, width, dtype=total.dtype, device=self.device)
        for x, weight, _ in self.training_rows():
            squares += (x - mean).T @ ((x - mean) * weight[:, None])
        covariance = all_reduce_sum(squares) / total[-1].clamp(min=1e-12)
        self.net.weights.copy_(principal_plane(self.net.grid, mean, covariance))

    @torch.no_grad()
    def label_units(self) -> None:
        """Count the training rows of each class that each unit wins."""
        if self.spec.target.classes is None:
            return
        labels = torch.zeros_like(self.net.labels)
        for x, weight, target in self.training_rows():
            cells = self.net(x).argmax(1) * labels.shape[1] + target
            labels.view(-1).index_add_(0, cells, weight.to(labels.dtype))
        self.net.labels.copy_(all_reduce_sum(labels))

    def on_validation_start(self) -> None:
        super().on_validation_start()
        if self.is_validated and self.trainer.state.fn == "fit":
            self.label_units()

    def on_train_epoch_end(self) -> None:
        if not self.is_validated:
            self.label_units()
        super().on_train_epoch_end()

    # ------------------------------------------------------------------ prediction and evaluation

    def as_predictor(self) -> Predicting | None:  # type: ignore[override]  # of classes, which not all data have
        return self if self.spec.target.classes is not None else None

    @property
    def predicted_target(self) -> Classes:
        """The classes of the data, or else the units."""
        if (classes := self.spec.target.classes) is not None:
            return replace(classes, has_probabilities=False)
        grid = self.net.grid
        return Classes(tuple(map(grid.name, range(grid.num_units))), has_probabilities=False)

    def outputs(self, inputs: Tensor) -> Tensor:
        """Raw inputs (B, …) -> (B, K), the shares of the classes in the training rows of the nearest unit that has any;
        without classes (B, U), one-hot winner."""
        x = widen(self.standardize(inputs).flatten(1))
        if self.spec.target.classes is None:
            return decisions(self.net(x))
        labels = self.net.labels.to(x.dtype)
        total = labels.sum(1)
        winners = self.net(x).masked_fill(total == 0, -torch.inf).argmax(1)
        shares = labels / total.clamp(min=1e-12)[:, None]
        return shares[winners]

    def predict(self, inputs: Tensor) -> Tensor:
        """Raw inputs (B, …) -> (B, K), one-hot class of the majority in the nearest unit; without classes (B, U),
        one-hot winner."""
        return decisions(self.outputs(inputs))

    def export_views(self) -> Mapping[str, Callable[[], View]]:
        return {"model": lambda: MapView(self)}

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        inputs, target, _ = Batch(*batch)
        x, weight = self.rows_of(batch)
        distances, units = self.net.nearest(x, 2)
        positions = self.net.grid.positions().to(x)[units]
        apart = (positions[:, 0] - positions[:, 1]).square().sum(1) > self.net.grid.reach
        means = {"loss": distances[:, 0], "quantization_error": distances[:, 0].sqrt(), "topographic_error": apart}
        outputs = {}
        if self.spec.target.classes is not None:
            outputs = {"output": self.outputs(inputs), "target": target}
            means["accuracy"] = outputs["output"].argmax(1) == target
        for name, each in means.items():
            self.eval_means[name].update(each.to(x.dtype), weight)
        return outputs

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return self.validation_step(batch, batch_idx)

    def log_split(self, split: str) -> None:
        for name, metric in self.eval_means.items():
            if metric.update_called:
                self.log(f"{split}/{name}", metric.compute().float())
                metric.reset()


class MapView(View[SelfOrganization]):
    """Exported map: the class of the nearest unit, or the nearest unit, one-hot."""

    def __init__(self, task: SelfOrganization) -> None:
        super().__init__(task)
        self.inputs = task.spec.ports()
        self.outputs = task.predicted_target.ports()

    def forward(self, x: Tensor) -> Tensors:  # type: ignore[override]
        return (self.task.predict(self.pixels(x)),)

    def expected(self, x: Tensor) -> Tensors:  # type: ignore[override]
        with torch.inference_mode():
            return (self.trained.predict(self.pixels(x)),)
