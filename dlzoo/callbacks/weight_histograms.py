"""Distributions of weights and gradients over the epochs."""

from __future__ import annotations

from collections.abc import Iterable

import lightning.pytorch as pl
import numpy as np
from torch import Tensor

from dlzoo.callbacks.base import Observer, task_of
from dlzoo.callbacks.sinks import tensorboard
from dlzoo.errors import UserError


class WeightHistograms(Observer):
    """Writes histograms of every parameter, and of the last gradients of an epoch, to TensorBoard.

    A tensor costs 0.2 ms (one CPU core), so the default, twenty times a run, takes 5 ms each for a perceptron of three
    layers. Gradients need a training set whose number of batches is known.

    Args:
        every_n_epochs: interval between histograms; None gives about twenty a run.
        most: elements used of a larger tensor, evenly spaced, about this many.
    """

    def __init__(self, *, every_n_epochs: int | None = None, most: int = 5000) -> None:
        if every_n_epochs is not None and every_n_epochs < 1:
            raise UserError(f"callbacks.weights.every_n_epochs={every_n_epochs} must be at least 1, or null")
        self.every_n_epochs = every_n_epochs
        self.most = most
        self.due = False
        self.last_batch = -1

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        every = self.every_n_epochs or max(1, (trainer.max_epochs or 0) // 20)
        self.due = trainer.is_global_zero and trainer.current_epoch % every == 0 and tensorboard(trainer) is not None
        known = self.due and trainer.num_training_batches != float("inf")
        self.last_batch = int(trainer.num_training_batches) - 1 if known else -1

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if batch_idx == self.last_batch:  # here, since Lightning clears the gradients before validation
            self.write(trainer, "gradients", ((n, p.grad) for n, p in parameters(pl_module) if p.grad is not None))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.due:
            self.write(trainer, "weights", parameters(pl_module))

    def write(self, trainer: pl.Trainer, kind: str, tensors: Iterable[tuple[str, Tensor]]) -> None:
        writer = tensorboard(trainer)
        assert writer is not None
        for name, tensor in tensors:
            flat = tensor.detach().flatten()
            values = flat[:: max(1, len(flat) // self.most)].double().cpu().numpy()
            values = values[np.isfinite(values)]
            if len(values):
                # add_histogram sorts into 1,549 buckets and is twenty times slower
                counts, edges = histogram(values)
                writer.add_histogram_raw(
                    f"{kind}/{name}",
                    min=float(values.min()),
                    max=float(values.max()),
                    num=len(values),
                    sum=float(values.sum()),
                    sum_squares=float(np.square(values).sum()),
                    bucket_limits=edges[1:].tolist(),
                    bucket_counts=counts.tolist(),
                    global_step=trainer.global_step,
                )


def parameters(pl_module: pl.LightningModule) -> Iterable[tuple[str, Tensor]]:
    return task_of(pl_module).net.named_parameters()


def histogram(values: np.ndarray, bins: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Counts (bins,) and edges (bins + 1,) of finite values (N,) float64, also of values that are all (nearly) equal.

    >>> counts, edges = histogram(np.full(3, 1e30))
    >>> counts.sum(), bool((np.diff(edges) > 0).all())
    (np.int64(3), True)
    """
    low, high = float(values.min()), float(values.max())
    least = 1e-9 * max(abs(low), abs(high))  # NumPy refuses bins that are too narrow for its numbers
    if high - low < least or low == high:
        margin = least or 0.5
        low, high = low - margin, high + margin
    return np.histogram(values, bins=bins, range=(low, high))
