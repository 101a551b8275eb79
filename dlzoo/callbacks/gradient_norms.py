"""Gradient norm at each step: it shows an explosion before the loss does."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from dlzoo.callbacks.base import Observer
from dlzoo.callbacks.sinks import publish, tensorboard
from dlzoo.errors import NonFinite
from dlzoo.visualization import series as series_plots


class GradientNorms(Observer):
    """The Euclidean norm of all gradients, before clipping: to TensorBoard, and as gradient_norms.png after the fit,
    also if it ended because the gradients exploded."""

    def __init__(self) -> None:
        self.norms: list[float] = []
        self.unwritten: list[float] = []  # not in TensorBoard yet
        self.stored: list[float] = []
        """Of the run that is resumed."""
        self.pending: list[Tensor] = []  # on the device: reading them synchronises

    def state_dict(self) -> dict[str, Tensor]:
        self.read_pending()
        return {"norms": torch.tensor(self.norms)}

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        self.stored = state_dict["norms"].tolist()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.norms, self.stored, self.unwritten, self.pending = self.stored, [], [], []

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:  # Lightning clips after this
        gradients = [p.grad.detach() for p in pl_module.parameters() if p.grad is not None]
        self.pending.append(torch.nn.utils.get_total_norm(gradients))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.read(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if isinstance(exception, NonFinite):  # the earlier steps show how it came about
            self.show(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.show(trainer)

    def show(self, trainer: pl.Trainer) -> None:
        self.read(trainer)
        if self.norms and trainer.is_global_zero:
            clip = trainer.gradient_clip_val if trainer.gradient_clip_algorithm in (None, "norm") else None
            publish(trainer, "gradient_norms", series_plots.gradient_norms(self.norms, clip=clip))

    def read(self, trainer: pl.Trainer) -> None:
        """Read the norms from the device, and write new ones to TensorBoard."""
        self.read_pending()
        writer = tensorboard(trainer) if trainer.is_global_zero else None
        if writer is not None:
            for i, norm in enumerate(self.unwritten, trainer.global_step - len(self.unwritten)):
                writer.add_scalar("gradient_norm", norm, i)
        self.unwritten = []

    def read_pending(self) -> None:
        new = torch.stack(self.pending).tolist() if self.pending else []
        self.norms += new
        self.unwritten += new
        self.pending = []
