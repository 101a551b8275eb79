"""Two optimizers that take turns, with what Lightning leaves to a task that steps by itself.

With manual optimization Lightning counts a step for each optimizer, refuses to clip and to accumulate gradients, and
leaves the schedules alone. Here a training step counts once, however many optimizers step in it, so that max_steps,
logging and checkpoints mean what they mean elsewhere; `setup_trainer` brings clipping and accumulation; and each
schedule follows its optimizer. Optimizers and schedules are known to Lightning, so checkpoints hold them all.
"""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import lightning.pytorch as pl
from torch import Tensor, nn
from torch.optim import Optimizer

from dlzoo.optim.lr_schedules import UNLIMITED, Plan
from dlzoo.tasks.base import Task, for_manual, stop_searching_for_cuda


class Part(NamedTuple):
    """A module with an optimizer of its own."""

    module: nn.Module
    changes: dict[str, Any] = {}
    """To the options of the config's optimizer."""
    every: int = 1
    """Training steps from one step of the optimizer to its next."""


class Alternating(Task):
    """A task with an optimizer for each of its `parts`, which it moves by `backward` and `update`."""

    has_parts = True

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.automatic_optimization = False
        self.accumulate = 1
        """Batches whose gradients make one step."""
        self.clip: tuple[float, str] | None = None
        """Largest gradient, and whether its norm or each value is meant."""

    @abstractmethod
    def parts(self) -> list[Part]:
        """What is optimized in turn."""

    def setup_trainer(self, trainer: pl.Trainer) -> None:
        """Clipping and accumulation, which the trainer would refuse to do."""
        self.accumulate, trainer.accumulate_grad_batches = trainer.accumulate_grad_batches, 1
        if trainer.gradient_clip_val:
            algorithm = trainer.gradient_clip_algorithm
            self.clip = float(trainer.gradient_clip_val), str(getattr(algorithm, "value", algorithm) or "norm")
        trainer.gradient_clip_val = trainer.gradient_clip_algorithm = None

    def configure_optimizers(self) -> Any:
        optimizers, schedules = [], []
        for part in self.parts():
            optimizers.append(self.make_optimizer(part.module.parameters(), **part.changes))
            if self.scheduler is not None:
                for schedule in self.scheduler(optimizers[-1], self.plan(part.every)):
                    schedules.append(for_manual(schedule))
        stop_searching_for_cuda()
        return optimizers, schedules

    def plan(self, every: int) -> Plan:
        """Of an optimizer that moves in each ``every``-th training step."""
        trainer = self.trainer
        _ = trainer.estimated_stepping_batches  # until it is asked, Lightning does not count an epoch's batches
        per_epoch = -(-int(min(trainer.num_training_batches, UNLIMITED)) // self.accumulate)
        epochs, steps = trainer.max_epochs, trainer.max_steps
        total = min(per_epoch * epochs if epochs is not None and epochs >= 0 else UNLIMITED, UNLIMITED)
        total = min(total, steps) if steps >= 0 else total
        return Plan(total if total == UNLIMITED else total // every, per_epoch / every, *self.monitor)

    def is_last_of_step(self, batch_idx: int) -> bool:
        """Whether this batch completes a step: the last batch of an epoch always does."""
        return (batch_idx + 1) % self.accumulate == 0 or self.trainer.is_last_batch

    def backward_part(self, loss: Tensor) -> None:
        """Add a batch's share of the gradient."""
        with self.timed("backward"):
            self.manual_backward(loss / self.accumulate)

    def timed(self, action: str) -> AbstractContextManager[Any]:
        """For the trainer's profiler, which Lightning tells only what it does itself."""
        return self.trainer.profiler.profile(f"[Alternating].{action}")  # type: ignore[attr-defined]

    def part_optimizer(self, index: int) -> Any:
        return self.optimizers()[index]  # type: ignore[index]

    def update(self, index: int, *, counts: bool = False) -> None:
        """Step the optimizer of a part, and its schedule. One part's updates count as the training steps."""
        optimizer = self.part_optimizer(index)
        with self.timed("optimizer_step"):
            if counts:
                optimizer.step()
            else:  # what its own step() does, loss scaling included, but without being counted
                self.trainer.strategy.optimizer_step(optimizer.optimizer, _nothing)
        for config in self.trainer.lr_scheduler_configs:
            schedule: Any = config.scheduler
            if config.interval == "step" and schedule.optimizer is optimizer.optimizer and not self.step_skipped:
                schedule.step()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Called when gradients are unscaled."""
        if self.clip:
            self.clip_gradients(optimizer, *self.clip)


def _nothing() -> None:
    """The closure of an optimizer whose gradients are there already."""


@contextlib.contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Gradients pass through the module, but none is added to its parameters."""
    parameters: Iterable[nn.Parameter] = [p for p in module.parameters() if p.requires_grad]
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in parameters:
            p.requires_grad_(True)
