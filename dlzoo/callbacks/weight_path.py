"""The way that gradient descent takes on the loss surface of a net with two weights."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor
from torch.func import functional_call, vmap

from dlzoo.callbacks.base import Observer, eval_mode, task_of
from dlzoo.callbacks.sinks import publish
from dlzoo.errors import NonFinite, UserError, between
from dlzoo.specs.batch import Batch
from dlzoo.tasks.base import Task
from dlzoo.tasks.interfaces import Minimizing
from dlzoo.visualization.regions import Plane
from dlzoo.visualization.surfaces import weight_path

LARGEST = 1e30
"""Weights beyond it are not drawn: the plane around them would not be finite."""


class WeightPath(Observer):
    """weight_path.png after the fit, also if it ended because the loss exploded: the two weights after each step, over
    the loss on rows of the training data.

    Args:
        num_rows: training rows of which the loss surface is the mean loss, at most; those of the first batches.
        resolution: points of the surface along each weight.
    """

    def __init__(self, *, num_rows: int = 500, resolution: int = 80) -> None:
        between(1, 10_000, "callbacks.weight_path", num_rows=num_rows)
        between(2, 500, "callbacks.weight_path", resolution=resolution)
        self.num_rows = num_rows
        self.resolution = resolution
        self.path: list[Tensor] = []
        """(2,) each; on the device: reading them synchronises."""
        self.stored: list[Tensor] = []
        """Of the run that is resumed."""
        self.batches: list[Batch] = []

    def state_dict(self) -> dict[str, Tensor]:
        return {"path": torch.cat(self.path).cpu() if self.path else torch.zeros(0)}

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        if (path := state_dict["path"]).numel() % 2:
            raise UserError(f"its callbacks.WeightPath.path has {path.numel()} numbers, but must have two a step")
        self.stored = [*path.view(-1, 2)]

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        num = sum(p.numel() for p in pl_module.parameters() if p.requires_grad)
        if stage == "fit" and (num != 2 or task_of(pl_module).as_minimizer() is None):
            net = type(task_of(pl_module).net).__name__
            raise UserError(
                f"callbacks.weight_path draws two weights that learn from targets (model=counting_rnn), but {net} has "
                f"{num}; remove it from callbacks"
            )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.path, self.stored, self.batches = self.stored or [weights(task_of(pl_module))], [], []

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: STEP_OUTPUT,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        self.path.append(weights(task_of(pl_module)))
        if sum(len(kept.target) for kept in self.batches) < self.num_rows:
            self.batches.append(Batch(*batch))

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if isinstance(exception, NonFinite):  # the steps before show how it came about
            self.show(trainer, task_of(pl_module))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.show(trainer, task_of(pl_module))

    def show(self, trainer: pl.Trainer, task: Task) -> None:
        learner = task.as_minimizer()
        if learner is None or not (trainer.is_global_zero and self.batches):
            return
        path = torch.stack([place.to(self.path[-1]) for place in self.path]).cpu()
        path = path[(path.abs() < LARGEST).all(1)]
        if not len(path):
            return
        plane = Plane.around(path[typical(path)], self.resolution)
        with eval_mode(task):
            losses = plane.predictions(lambda places: self.losses(learner, places.to(task.device)).cpu())
        names = [
            name.removeprefix("net.") for name, p in task.named_parameters() if p.requires_grad for _ in p.flatten()
        ]
        publish(trainer, "weight_path", weight_path(plane, losses, path, names=names))

    def losses(self, task: Minimizing, places: Tensor) -> Tensor:
        """The mean loss (N,) of the kept rows at each pair of weights (N, 2)."""
        trained = {name: p for name, p in task.named_parameters() if p.requires_grad}
        inputs = torch.cat([batch.inputs for batch in self.batches])
        target = torch.cat([batch.target for batch in self.batches])

        def loss(place: Tensor) -> Tensor:
            parts = place.split([p.numel() for p in trained.values()])
            parameters = {name: part.view_as(p) for (name, p), part in zip(trained.items(), parts, strict=True)}
            return task.loss(functional_call(task, parameters, (inputs,)), target)

        return vmap(loss, chunk_size=64)(places)


def typical(path: Tensor) -> Tensor:
    """Which places (N, 2) are near most others: an explosion would make everything before it a point. (N,) bool."""
    low, high = path.quantile(0.1, 0), path.quantile(0.9, 0)
    room = 3 * (high - low) + 1e-6
    near = ((path >= low - room) & (path <= high + room)).all(1)
    near[0] = True  # the start
    return near


def weights(task: Task) -> Tensor:
    """The trainable parameters in one vector, a copy."""
    return torch.cat([p.detach().flatten() for p in task.parameters() if p.requires_grad]).clone()
