"""Where along a sequence the gradient vanishes or explodes."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlzoo.callbacks.base import Report, Step
from dlzoo.callbacks.sinks import publish
from dlzoo.errors import UserError
from dlzoo.nets.base import ScalarRecurrentNet
from dlzoo.tasks.base import Task
from dlzoo.visualization import series as series_plots


class GradientFlow(Report):
    """gradient_flow.png after a test of a net with a scalar state, such as the counting RNN: |d loss / d s_t| over t,
    for its trained recurrent weight W and for other values.

    Args:
        weights: the other values of W.
    """

    def __init__(self, *, weights: Sequence[float] = (0.8, 1.0, 1.25)) -> None:
        self.weights = weights
        self.batch: tuple[Tensor, Tensor] | None = None

    def applies_to(self, task: Task) -> bool:
        if task.net.as_scalar_recurrent() is None:
            raise UserError(
                f"callbacks.gradient_flow needs a net with a scalar state (model=counting_rnn), but this is "
                f"{type(task.net).__name__}; remove it from callbacks"
            )
        return True

    def collect(self, trainer: pl.Trainer, task: Task, step: Step) -> None:
        if step.batch_idx == 0:
            self.batch = step.batch[0], step.batch[1]

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        net = task.net.as_scalar_recurrent()
        if net is None or self.batch is None:
            return
        sizes = {f"W = {net.recurrent.item():.3g}, as trained": gradient_sizes(net, *self.batch)}
        for weight in self.weights:
            sizes[f"W = {weight:g}"] = gradient_sizes(net, *self.batch, weight)
        publish(trainer, "gradient_flow", series_plots.gradient_flow(sizes))
        self.batch = None


@torch.inference_mode(False)
def gradient_sizes(net: ScalarRecurrentNet, x: Tensor, target: Tensor, weight: float | None = None) -> list[float]:
    """Mean |d loss / d s_t| over the batch, for each t; the loss of a sequence is its squared error.

    Args:
        x, target: (B, T, 1) and (B, 1).
        weight: W; None is the net's.
    """
    net = copy.deepcopy(net)
    if weight is not None:
        nn.init.constant_(net.recurrent, weight)
    with torch.enable_grad():
        states = net.states(x.clone())
        loss = F.mse_loss(states[-1][:, None], target.clone(), reduction="sum")
        return [gradient.abs().mean().item() for gradient in torch.autograd.grad(loss, states)]
