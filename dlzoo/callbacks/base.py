"""Base classes of callbacks that leave the training step unchanged."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar, NamedTuple, Self, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.seed import isolate_rng
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor, nn

from dlzoo.callbacks.ema import evaluated_weights
from dlzoo.data.base import DataModule
from dlzoo.specs.batch import Batch
from dlzoo.tasks.base import Task


class Observer(Callback):
    """A callback without hooks in the training step, except those that it defines.

    Lightning calls six hooks of every callback in each step, even empty ones, but skips those that are not callable.
    The default callbacks then cost 6 microseconds a step instead of 74 (one core of a busy machine, Lightning 2.6.6).
    """


for _hook in (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
):
    setattr(Observer, _hook, None)


class Step(NamedTuple):
    """A batch of validation or test, and what the task returned for it."""

    outputs: Mapping[str, Tensor]
    """What ``validation_step`` or ``test_step`` returned, as dlzoo/tasks/interfaces.py documents; empty if nothing."""
    batch: Batch
    batch_idx: int
    """Index of the batch in its split."""

    @classmethod
    def of(cls, outputs: STEP_OUTPUT, batch: Batch, batch_idx: int) -> Self:
        return cls(outputs if isinstance(outputs, Mapping) else {}, batch, batch_idx)


class Report(Observer):
    """A callback that draws or tabulates results of tasks of some kind.

    The methods below are called only for tasks that it `applies_to`. It collects on every rank, and writes only on rank
    zero:

    =========================  ========================================================  ==========
    method                     called                                                    on ranks
    =========================  ========================================================  ==========
    ``write_start``            when training starts, or is resumed                       zero
    ``collect_validation``     after each validation batch, except in the sanity check   all
    ``write_epoch``            after the training of each epoch                          zero
    ``write_fit``              when training ends                                        zero
    ``begin_test``             before a test                                             all
    ``collect``                after each test batch                                     all
    ``measure``                after the last one, while metrics can still be logged     all
    ``gather``                 when a test ends                                          all
    ``write``                  right after that                                          zero
    =========================  ========================================================  ==========
    """

    needs_data: ClassVar[bool] = False
    """Whether it reads the data itself: it then applies only if the trainer has a data module."""

    @abstractmethod
    def applies_to(self, task: Task) -> bool:
        """Whether the report applies to this task.

        Raises:
            UserError: it does not, and the report is not a default one: the user asked for it by name.
        """

    def write_start(self, trainer: pl.Trainer, task: Task) -> None: ...

    def collect_validation(self, trainer: pl.Trainer, task: Task, step: Step) -> None: ...

    def write_epoch(self, trainer: pl.Trainer, task: Task) -> None: ...

    def write_fit(self, trainer: pl.Trainer, task: Task) -> None: ...

    def begin_test(self, trainer: pl.Trainer, task: Task) -> None:
        """Clear what an earlier test collected."""

    def collect(self, trainer: pl.Trainer, task: Task, step: Step) -> None: ...

    def measure(self, trainer: pl.Trainer, task: Task) -> None: ...

    def gather(self, trainer: pl.Trainer, task: Task) -> None:
        """Combine what the ranks have collected."""

    def write(self, trainer: pl.Trainer, task: Task) -> None: ...

    # ------------------------------------------------------------------ Lightning's hooks

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero and self._applies(trainer, pl_module):
            self.write_start(trainer, task_of(pl_module))

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: STEP_OUTPUT,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not trainer.sanity_checking and self._applies(trainer, pl_module):
            self.collect_validation(trainer, task_of(pl_module), Step.of(outputs, batch, batch_idx))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        writes = type(self).write_epoch is not Report.write_epoch  # exchanging weights takes time
        if writes and trainer.is_global_zero and self._applies(trainer, pl_module):
            with evaluated_weights(trainer):
                self.write_epoch(trainer, task_of(pl_module))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero and self._applies(trainer, pl_module):
            self.write_fit(trainer, task_of(pl_module))

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._applies(trainer, pl_module):
            self.begin_test(trainer, task_of(pl_module))

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: STEP_OUTPUT,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._applies(trainer, pl_module):
            self.collect(trainer, task_of(pl_module), Step.of(outputs, batch, batch_idx))

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._applies(trainer, pl_module):
            self.measure(trainer, task_of(pl_module))

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self._applies(trainer, pl_module):
            return
        self.gather(trainer, task_of(pl_module))
        if trainer.is_global_zero:
            self.write(trainer, task_of(pl_module))

    def _applies(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> bool:
        return not (self.needs_data and datamodule(trainer) is None) and self.applies_to(task_of(pl_module))


def task_of(pl_module: pl.LightningModule) -> Task:
    """The module that Lightning passes to a hook, typed: only tasks are trained (dlzoo/config/instantiate.py)."""
    return cast(Task, pl_module)


def datamodule(trainer: pl.Trainer) -> DataModule | None:
    """The trainer's data module; None if it was given loaders."""
    return trainer.datamodule  # type: ignore[attr-defined]


def data_of(trainer: pl.Trainer) -> DataModule:
    """The data module, for a report that `needs_data`."""
    data = datamodule(trainer)
    assert data is not None
    return data


def training_batch(trainer: pl.Trainer, task: Task) -> Batch:
    """A training batch as the net receives it, from the run's own loader; the random state is restored afterwards."""
    data = data_of(trainer)
    with isolate_rng():
        batch = next(iter(trainer.train_dataloader))  # type: ignore[arg-type]
        batch = data.on_before_batch_transfer(batch, 0)
        batch = data.transfer_batch_to_device(batch, task.device, 0)
        return data.on_after_batch_transfer(batch, 0)


@contextlib.contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """The module in evaluation mode and without gradients; afterwards each submodule is back in its former mode."""
    modes = {submodule: submodule.training for submodule in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for submodule, training in modes.items():
            submodule.training = training
