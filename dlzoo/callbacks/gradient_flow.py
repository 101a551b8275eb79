"""Where along a sequence the gradient vanishes or explodes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlzoo.callbacks.base import Observer
from dlzoo.callbacks.sinks import publish
from dlzoo.nets.counting_rnn import CountingRNN
from dlzoo.visualization import series as series_plots


class GradientFlow(Observer):
    """gradient_flow.png after a test of the counting RNN: |d loss / d s_t| over t, for its own W and for others.

    Args:
        weights: the other values of W.
    """

    def __init__(self, *, weights: Sequence[float] = (0.8, 1.0, 1.25)) -> None:
        self.weights = weights
        self.batch: tuple[Tensor, Tensor] | None = None

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if batch_idx == 0:
            self.batch = batch[0], batch[1]

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        net = getattr(pl_module, "net", None)
        if not isinstance(net, CountingRNN) or self.batch is None or not trainer.is_global_zero:
            return
        sizes = {f"W = {net.recurrent.item():.3g}, as trained": gradient_sizes(net, *self.batch)}
        for weight in self.weights:
            sizes[f"W = {weight:g}"] = gradient_sizes(net, *self.batch, weight)
        publish(trainer, "gradient_flow", series_plots.gradient_flow(sizes))
        self.batch = None


@torch.inference_mode(False)
def gradient_sizes(net: CountingRNN, x: Tensor, target: Tensor, weight: float | None = None) -> list[float]:
    """Mean |d loss / d s_t| over the batch, for each t; each sequence has a loss of its own, the squared error.

    Args:
        x, target: (B, T, 1) and (B, 1).
        weight: W; None is the net's own.
    """
    net = copy.deepcopy(net)
    if weight is not None:
        nn.init.constant_(net.recurrent, weight)
    with torch.enable_grad():
        states = net.states(x.clone())
        loss = F.mse_loss(states[-1][:, None], target.clone(), reduction="sum")
        return [gradient.abs().mean().item() for gradient in torch.autograd.grad(loss, states)]
