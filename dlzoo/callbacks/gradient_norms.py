"""How long the gradient is at each step: it shows an explosion before the loss does."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from dlzoo.callbacks.base import Observer
from dlzoo.callbacks.sinks import publish, tensorboard
from dlzoo.errors import NonFinite
from dlzoo.visualization import series as series_plots


class GradientNorms(Observer):
    """The Euclidean norm of all gradients, before clipping: into TensorBoard, and gradient_norms.png after the fit,
    also after one that ended because the gradients exploded."""

    def __init__(self) -> None:
        self.norms: list[float] = []
        self.write_error: list[float] = []  # to TensorBoard
        self.stored: list[float] = []
        """Of the run that is continued."""
        self.waiting: list[Tensor] = []  # on the device: to read them waits for it

    def state_dict(self) -> dict[str, Any]:
        self.take_waiting()
        return {"norms": torch.tensor(self.norms)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.stored = state_dict["norms"].tolist()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.norms, self.stored, self.write_error, self.waiting = self.stored, [], [], []

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:  # Lightning clips after this
        gradients = [p.grad.detach() for p in pl_module.parameters() if p.grad is not None]
        self.waiting.append(torch.nn.utils.get_total_norm(gradients))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.read(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if isinstance(exception, NonFinite):  # the steps before it show how it came
            self.show(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.show(trainer)

    def show(self, trainer: pl.Trainer) -> None:
        self.read(trainer)
        if self.norms and trainer.is_global_zero:
            clip = trainer.gradient_clip_val if trainer.gradient_clip_algorithm in (None, "norm") else None
            publish(trainer, "gradient_norms", series_plots.gradient_norms(self.norms, clip=clip))

    def read(self, trainer: pl.Trainer) -> None:
        """Take over what the steps have left on the device."""
        self.take_waiting()
        writer = tensorboard(trainer) if trainer.is_global_zero else None
        if writer is not None:
            for i, norm in enumerate(self.write_error, trainer.global_step - len(self.write_error)):
                writer.add_scalar("gradient_norm", norm, i)
        self.write_error = []

    def take_waiting(self) -> None:
        new = torch.stack(self.waiting).tolist() if self.waiting else []
        self.norms += new
        self.write_error += new
        self.waiting = []
