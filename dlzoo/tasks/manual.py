"""Manual optimisation: the single implementation for all tasks without Lightning's automatic optimisation.

With manual optimisation Lightning counts a step for each optimizer and none where there is no optimizer, refuses to
clip and to accumulate gradients, and does not step the schedules. A `ManualTask` defines how it learns from a batch
(`learn_batch`) and inherits the rest: a training step counts once, however many optimizers step in it, even
if none does, so that max_steps, logging, checkpoints and weight averaging work as usual. It can
learn in four ways:

- by backpropagation, with an optimizer for each of its `parts`: `backward_part`, then `step_optimizer`;
- by a rule that gives the gradient itself: `add_gradient`, then `step_optimizer`;
- by a closed form, without an optimizer: `add_statistics`, then `total_statistics`, by which it updates the net;
- by interaction with environments, which count their own steps: see `dlzoo.tasks.rl.agent`.

Gradients and statistics are reduced over all ranks. Optimizers, schedules and pending statistics are stored
in checkpoints.
"""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Unpack

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT
from typing_extensions import TypeVar

from dlzoo.distributed.collectives import all_reduce_sum, rank_and_world
from dlzoo.errors import UserError
from dlzoo.nets.base import Net
from dlzoo.optim.lr_schedules import UNLIMITED, Plan, Schedules, keeps_rate
from dlzoo.specs.base import Spec
from dlzoo.specs.batch import Batch
from dlzoo.tasks.base import Task
from dlzoo.tasks.optimization import (
    OptimizersAndSchedules,
    TaskOptions,
    count_batches,
    for_manual,
    stop_searching_for_cuda,
)

B = TypeVar("B", default=Batch)
"""What a training step gets."""


class Part(NamedTuple):
    """The parameters of one optimizer."""

    parameters: ParamsT
    """Parameters, or groups of them, see `Task.param_groups`."""
    changes: Mapping[str, float] = {}
    """Changes to the configured optimizer's options."""
    every: int = 1
    """Training steps between steps of this optimizer."""
    epochs: int | None = None
    """Epochs in which it steps, by which its schedules are planned; None: all."""


class ManualTask(Task, Generic[B]):
    """A task that updates its parameters itself.

    `learn_batch` is called for each batch. A step consists of `accumulate` batches; complete it when
    `is_last_of_step` is true.
    """

    has_parts = True

    gradients_by_hand: ClassVar[bool] = False
    """Whether gradients come from `add_gradient`, so that there is no loss to scale."""

    carried_state: ClassVar[tuple[str, ...]] = ("statistics",)

    def __init__(self, net: Net, spec: Spec, **options: Unpack[TaskOptions]) -> None:
        super().__init__(net, spec, **options)
        self.automatic_optimization = False
        self.accumulate = 1
        """Number of batches per step."""
        self.clip: tuple[float, str] | None = None
        """Gradient clipping threshold, and whether it applies to the norm or to each value."""
        self.statistics: tuple[Tensor, ...] | None = None
        """Sums over this rank's rows in the step so far, see `add_statistics`."""
        if not self.uses_optimizer:
            self._reject_optimizer_options()

    def _reject_optimizer_options(self) -> None:
        name = type(self).__name__
        if self.optimizer is not None:
            raise UserError(f"optimizer: {name} learns without an optimizer; omit it")
        if self.scheduler is not None and not keeps_rate(self.scheduler):
            raise UserError(f"scheduler: {name} learns without an optimizer, so it has no learning rate; omit it")

    # ------------------------------------------------------------------ defined by each task

    @abstractmethod
    def learn_batch(self, batch: B, batch_idx: int) -> None:
        """Learn from a batch, and log the means of the step."""

    def parts(self) -> list[Part]:
        """The parts to optimize, each with its own optimizer."""
        return [Part(self.param_groups())]

    def is_last_of_step(self, batch_idx: int) -> bool:
        """Whether this batch completes a step: the last batch of an epoch always does."""
        return (batch_idx + 1) % self.accumulate == 0 or self.trainer.is_last_batch

    def steps_in(self, batch_idx: int) -> int:
        """How many steps the current batch has completed."""
        return int(self.is_last_of_step(batch_idx))

    # ------------------------------------------------------------------ the trainer

    def setup_trainer(self, trainer: pl.Trainer) -> None:
        """Take over clipping and accumulation, which the trainer would reject, and reject unsupported options."""
        super().setup_trainer(trainer)
        if trainer.gradient_clip_val and not self.uses_optimizer:
            raise UserError(
                f"trainer.gradient_clip_val={trainer.gradient_clip_val}: {type(self).__name__} learns without "
                "gradients; omit it"
            )
        if self.gradients_by_hand and str(trainer.precision).startswith("16"):
            raise UserError(
                f"trainer.precision={trainer.precision} scales the loss, but {type(self).__name__} computes its "
                "gradients without one: use bf16-mixed or 32-true"
            )
        self.accumulate, trainer.accumulate_grad_batches = trainer.accumulate_grad_batches, 1
        if trainer.gradient_clip_val:
            algorithm = trainer.gradient_clip_algorithm
            self.clip = float(trainer.gradient_clip_val), str(getattr(algorithm, "value", algorithm) or "norm")
        trainer.gradient_clip_val = trainer.gradient_clip_algorithm = None

    @property
    def batches_per_step(self) -> int:
        return self.accumulate

    def configure_optimizers(self) -> OptimizersAndSchedules | None:  # type: ignore[override]
        if not self.uses_optimizer:
            return None  # Lightning substitutes a mock optimizer without parameters
        optimizers: list[Optimizer] = []
        schedules: Schedules = []
        for part in self.parts():
            optimizers.append(self.make_optimizer(part.parameters, **part.changes))
            if self.scheduler is not None:
                for schedule in self.scheduler(optimizers[-1], self.plan(part.every, part.epochs)):
                    schedules.append(for_manual(schedule))
        stop_searching_for_cuda()
        return optimizers, schedules

    def plan(self, every: int, num_epochs: int | None = None) -> Plan:
        """The plan of an optimizer that steps in each ``every``-th training step of so many epochs, or of all."""
        trainer = self.trainer
        per_epoch = -(-count_batches(trainer) // self.accumulate)
        epochs, steps = trainer.max_epochs, trainer.max_steps
        total = min(per_epoch * epochs if epochs is not None and epochs >= 0 else UNLIMITED, UNLIMITED)
        total = min(total, steps) if steps >= 0 else total
        total = total if num_epochs is None else min(total, max(1, per_epoch * num_epochs))
        return Plan(total if total == UNLIMITED else total // every, per_epoch / every, *self.monitor)

    def training_step(self, batch: B, batch_idx: int) -> None:
        if self.gradients_by_hand and batch_idx % self.accumulate == 0:
            for optimizer in self.trainer.optimizers:  # not after the step: callbacks read gradients when it ends
                optimizer.zero_grad()
        self.learn_batch(batch, batch_idx)
        if num_steps := self.steps_in(batch_idx):
            self.count_steps(num_steps)

    def count_steps(self, num_steps: int) -> None:
        """Add to the trainer's ``global_step``: Lightning would count optimizer steps, of which there may be none,
        or several in a training step."""
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        for part in (progress.total, progress.current):
            part.ready += num_steps
            part.completed += num_steps

    def timed(self, action: str) -> AbstractContextManager[None]:
        """Context manager that reports the action to the trainer's profiler."""
        return self.trainer.profiler.profile(f"[{type(self).__name__}].{action}")  # type: ignore[attr-defined]

    def gather_batch(self, rows: Tensor, batch_idx: int) -> Tensor:
        """The rows (B, F) of all ranks in a training batch, in the order of a single process."""
        if rank_and_world()[1] == 1:
            return rows
        loader: Any = self.trainer.train_dataloader
        places, num_rows = loader.positions(batch_idx)
        whole = rows.new_zeros(num_rows, rows.shape[1])
        if self.rank_weight:
            whole[places] = rows
        return all_reduce_sum(whole)

    # ------------------------------------------------------------------ gradients

    def backward_part(self, loss: Tensor) -> None:
        """Add the gradient of a batch's mean loss."""
        with self.timed("backward"):
            self.manual_backward(loss / self.accumulate if self.accumulate > 1 else loss)

    def add_gradient(self, parameter: Tensor, gradient: Tensor, *, reduction: Literal["sum", "mean"]) -> None:
        """Add a gradient that was computed by hand from this rank's rows of a batch.

        Args:
            gradient: of the parameter's shape.
            reduction: whether it is the sum or the mean over the rows; the gradient of the step is the same over the
                rows of all accumulated batches of all ranks.
        """
        if reduction == "mean":
            factor = self.rank_weight * self.batch_weight / (self.accumulate * rank_and_world()[1])
            gradient = gradient if factor == 1 else gradient * factor  # a pass over a large matrix takes time
        elif not self.rank_weight:  # these rows count on another rank
            gradient = torch.zeros_like(gradient)
        gradient = gradient.detach().to(parameter.dtype)
        parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient

    def step_optimizer(self, index: int = 0, *, advance_schedules: bool = True) -> None:
        """Step the optimizer of a part, and its learning-rate schedules.

        Args:
            index: index of the part in `parts`.
            advance_schedules: False if schedules do not count optimizer steps.
        """
        optimizer = self.trainer.optimizers[index]
        if self.gradients_by_hand:
            for group in optimizer.param_groups:
                for p in group["params"]:
                    p.grad = None if p.grad is None else all_reduce_sum(p.grad)
        with self.timed("optimizer_step"):  # LightningOptimizer.step() without counting the step
            self.trainer.strategy.optimizer_step(optimizer, _nothing)
        if advance_schedules and not self.step_skipped:
            self.step_schedules(optimizer)

    def step_schedules(self, optimizer: Optimizer) -> None:
        """Step the step-wise schedules of an optimizer."""
        for config in self.trainer.lr_scheduler_configs:
            schedule: Any = config.scheduler
            if config.interval == "step" and schedule.optimizer is optimizer:
                schedule.step()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Called after gradients are unscaled."""
        if self.clip:
            self.clip_gradients(optimizer, *self.clip)

    # ------------------------------------------------------------------ closed forms

    def add_statistics(self, *sums: Tensor, is_counted: bool | None = None) -> None:
        """Add a batch's sums over this rank's rows to those of the step.

        Args:
            sums: floating-point, in the same shapes and order in each batch.
            is_counted: whether these rows count on this rank; None: as those of the current batch do.
        """
        if not (self.rank_weight if is_counted is None else is_counted):  # these rows count on another rank
            sums = tuple(torch.zeros_like(total) for total in sums)
        self.check_finite(sums)
        if not self.step_skipped:
            before = self.statistics or tuple(torch.zeros_like(total) for total in sums)
            self.statistics = tuple(a + b for a, b in zip(before, sums, strict=True))

    def check_finite(self, values: tuple[Tensor, ...]) -> None:
        """Called with what a step uses in place of gradients; hook for training/nan_guard/."""

    def total_statistics(self) -> tuple[Tensor, ...] | None:
        """The step's sums over the rows of all ranks, which are then reset; None if the step is to be skipped."""
        sums, self.statistics = self.statistics, None
        if self.step_skipped or sums is None:
            return None
        return tuple(all_reduce_sum(total) for total in sums)


def _nothing() -> None:
    """Closure for an optimizer whose gradients are already computed."""


@contextlib.contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Gradients flow through the module, but its parameters receive none."""
    parameters: Iterable[nn.Parameter] = [p for p in module.parameters() if p.requires_grad]
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in parameters:
            p.requires_grad_(True)
