"""An exponential moving average of the weights, and which weights are evaluated while it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import lightning.pytorch as pl
import torch
from lightning.pytorch import callbacks
from torch import Tensor

from dlzoo.errors import between


class EMAWeightAveraging(callbacks.EMAWeightAveraging):
    """Keeps an exponential moving average of weights and buffers, and evaluates it in place of the raw weights.

    What is measured in validation, saved as ``state_dict``, chosen as best and tested is the average, also for tasks
    and reports that measure when a validation ends; Lightning restores the raw weights shortly before. Until the
    first update the raw weights are evaluated. With weights in half precision, updates are in single precision, and
    each evaluation rounds the average.

    Args:
        decay: the weight of the average in an update, at most.
        warmup: after n updates use a decay of at most (1 + n) / (10 + n), as TensorFlow's ExponentialMovingAverage
            does: without it, the weights of the first steps dominate the average for several times 1 / (1 - decay)
            steps.
        update_every_n_steps: optimizer steps between updates.
        update_starting_at_step: the first step with an update.
        update_starting_at_epoch: from this epoch on, counted from 0, update when an epoch ends.
        device: where the average is kept; null: where the model is.
        use_buffers: also average buffers, such as BatchNorm's statistics; false: the buffers are never updated.
    """

    def __init__(
        self,
        *,
        decay: float = 0.99,
        warmup: bool = True,
        update_every_n_steps: int = 1,
        update_starting_at_step: int | None = None,
        update_starting_at_epoch: int | None = None,
        device: str | None = None,
        use_buffers: bool = True,
    ) -> None:
        between(0, 1, "callbacks.ema", decay=decay)
        super().__init__(
            device, use_buffers, decay, update_every_n_steps, update_starting_at_step, update_starting_at_epoch
        )
        self._kwargs["avg_fn"] = average(decay, warmup)

    @property
    def has_started(self) -> bool:
        """Whether there has been an update: the average is a copy of the initial weights before."""
        return self._average_model is not None and bool(self._average_model.n_averaged)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lightning copies the weights before it converts them to the trainer's precision."""
        if self._average_model is not None and pl_module.dtype == torch.float64:
            self._average_model.double()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.has_started:
            self._swap_models(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.has_started:
            self._swap_models(pl_module)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lightning's exchange of the weights, which `on_validation_start` does here."""

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """See `on_validation_epoch_start`."""

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.has_started:
            super().on_train_end(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, object]
    ) -> None:
        if self._average_model is not None and not self.has_started:
            self._average_model.module.load_state_dict(pl_module.state_dict())
        super().on_save_checkpoint(trainer, pl_module, checkpoint)


def average(decay: float, warmup: bool) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """The update of an average: what `torch.optim.swa_utils.AveragedModel` calls as ``avg_fn``.

    >>> update = average(0.9, warmup=True)
    >>> [round(float(update(torch.zeros(()), torch.ones(()), n)), 4) for n in (1, 10, 1000)]  # 1 - 2/11, 1 - 11/20, 0.1
    [0.8182, 0.45, 0.1]
    """

    def update(averaged: Tensor, current: Tensor, num_updates: Tensor | int) -> Tensor:
        if not averaged.is_floating_point():
            return current  # a count, such as that of BatchNorm's batches
        current = current.to(averaged.dtype)
        factor = torch.tensor(decay, device=averaged.device)
        if warmup:
            factor = factor.clamp(max=(1 + num_updates) / (10 + num_updates))
        return torch.lerp(current, averaged, factor.to(averaged.dtype))

    return update


@contextmanager
def evaluated_weights(trainer: pl.Trainer) -> Iterator[None]:
    """The task has the weights that validation measures: the averaged ones, if an average is kept."""
    run_callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    averages = [c for c in run_callbacks if isinstance(c, EMAWeightAveraging) and c.has_started]
    for callback in averages:
        callback.on_validation_start(trainer, trainer.lightning_module)
    try:
        yield
    finally:
        for callback in averages:
            callback.on_validation_end(trainer, trainer.lightning_module)
