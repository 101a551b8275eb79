"""How a task gets its optimizer and its schedules, and when the schedules are stepped."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import TypedDict

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import LRSchedulerConfig, LRSchedulerConfigType, LRSchedulerTypeUnion
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.optimizer import ParamsT

from dlzoo.errors import UserError
from dlzoo.optim.lr_schedules import UNLIMITED, Plan, Schedules

OptimizerFactory = Callable[..., Optimizer]
SchedulerFactory = Callable[[Optimizer, Plan], Schedules]
OptimizersAndSchedules = tuple[list[Optimizer], Schedules]
"""For Lightning, whose own type lacks the dicts of schedules that it documents: hence ``type: ignore[override]``."""


class TaskOptions(TypedDict, total=False):
    """The keyword arguments that the constructor of every task takes."""

    optimizer: OptimizerFactory | None
    scheduler: SchedulerFactory | None


class Optimization(pl.LightningModule):
    """The part of `dlzoo.tasks.base.Task` that Lightning asks for optimizers and schedules."""

    monitor: tuple[str, str] = ("val/loss", "min")
    """The validation metric that selects the best checkpoint, and its direction."""

    optimizer: OptimizerFactory | None
    scheduler: SchedulerFactory | None
    is_validated: bool
    """Whether the current epoch has been validated at least once."""
    step_skipped: bool
    """Whether the current step has non-finite values and is skipped (training/nan_guard/)."""
    last_metrics: dict[str, float]
    """Metrics of the resumed run at the time of its checkpoint."""

    @property
    def batches_per_step(self) -> int:
        """Number of batches per optimizer step."""
        return self.trainer.accumulate_grad_batches

    @property
    def learning_rate(self) -> float:
        """Learning rate of the first parameter group."""
        return next((float(group["lr"]) for o in self.trainer.optimizers for group in o.param_groups), 0.0)

    def step_epoch_schedules(self) -> None:
        """Step the epoch-wise schedules that Lightning does not step.

        Those that monitor a metric get the epoch's last validation, if there was one. Done here because checkpoints are
        written right after this hook: Lightning steps them later, and not at all if a run is resumed from
        such a checkpoint. The others are stepped here for manual optimization.
        """
        for config in self.trainer.lr_scheduler_configs:
            if config.interval != "epoch" or (self.current_epoch + 1) % config.frequency:
                continue
            if isinstance(config.scheduler, ReduceLROnPlateau):
                if self.is_validated:
                    config.scheduler.step(self.monitored_value(config))
            elif not self.automatic_optimization:
                config.scheduler.step()

    def monitored_value(self, config: LRSchedulerConfig) -> float:
        """The latest value of the metric that a plateau schedule monitors."""
        name = config.monitor or self.monitor[0]
        value = self.trainer.callback_metrics.get(name, self.last_metrics.get(name))
        if value is None:
            known = sorted(name for name in self.trainer.callback_metrics if name.startswith("val/"))
            raise UserError(f"scheduler=plateau monitors {name}, but validation reports {', '.join(known)}")
        return float(value)

    def lr_scheduler_step(self, scheduler: LRSchedulerTypeUnion, metric: object) -> None:
        """Called by Lightning; a skipped step does not advance step-wise schedules."""
        config = next(c for c in self.trainer.lr_scheduler_configs if c.scheduler is scheduler)
        is_stepped = config.interval == "epoch" and isinstance(scheduler, ReduceLROnPlateau)  # step_epoch_schedules
        if not (is_stepped or (self.step_skipped and config.interval == "step")):
            super().lr_scheduler_step(scheduler, metric)

    def param_groups(self) -> ParamsT:
        """The optimizer's parameters, or parameter groups, whose ``factor`` scales the learning rate."""
        return self.parameters()

    def make_optimizer(self, parameters: ParamsT, **changes: float) -> Optimizer:
        """The configured optimizer, with these options changed."""
        if self.optimizer is None:
            raise UserError("this model has trainable parameters, but optimizer is missing")
        try:
            optimizer = self.optimizer(parameters, **changes)
        except (ValueError, TypeError, RuntimeError) as error:
            raise UserError(f"optimizer: {error}") from None
        if isinstance(optimizer, torch.optim.LBFGS) and not self.automatic_optimization:
            raise UserError(
                "optimizer=lbfgs evaluates the loss several times per step, "
                "which this model's manual optimization does not support: use another, such as optimizer=adam"
            )
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * group.get("factor", 1.0)
        return optimizer

    def configure_optimizers(self) -> Optimizer | OptimizersAndSchedules | None:  # type: ignore[override]
        optimizer = self.make_optimizer(self.param_groups())
        stop_searching_for_cuda()
        if self.scheduler is None:
            return optimizer
        trainer = self.trainer
        total_steps = int(min(trainer.estimated_stepping_batches, UNLIMITED))
        per_epoch = -(-count_batches(trainer) // trainer.accumulate_grad_batches)
        return [optimizer], self.scheduler(optimizer, Plan(total_steps, per_epoch, self.monitor[0], self.monitor[1]))


def count_batches(trainer: pl.Trainer) -> int:
    """The number of training batches in an epoch, at most `UNLIMITED`.

    Lightning counts them when it estimates the number of steps, but not if the number of epochs is unlimited.
    """
    if not math.isfinite(trainer.num_training_batches):
        trainer.fit_loop.setup_data()
    return int(min(trainer.num_training_batches, UNLIMITED))


def for_manual(schedule: LRSchedulerConfigType) -> LRSchedulerConfigType:
    """Lightning's scheduler dict without the keys that are ignored in manual optimization."""
    schedule = schedule.copy()
    schedule.pop("monitor", None)
    schedule.pop("strict", None)
    return schedule


def stop_searching_for_cuda() -> None:
    """Without a GPU, make PyTorch's CUDA check use its cached answer.

    Adam and its variants check at each step. Lightning sets a variable that makes the check go through NVML,
    which is safe for processes that fork later; but if NVML is missing, each check searches the
    disk, which takes a tenth of a small net's step. Without a GPU the variable is not needed.
    """
    if not torch.cuda.is_available():
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
