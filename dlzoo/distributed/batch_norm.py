"""BatchNorm synchronized over all processes on CPUs, which PyTorch's SyncBatchNorm does not support.

It also ignores the rows of another rank that a rank without rows computes with as placeholders.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed.nn.functional as across
from lightning.pytorch.plugins.layer_sync import LayerSync
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dlzoo.distributed.collectives import rank_and_world


class SyncedBatchNorm(_BatchNorm):
    """In training, mean and variance are computed over all ranks' rows, and gradients flow back to all ranks."""

    rank_weight: float
    """See `dlzoo.tasks.base.Task.rank_weight`; the task sets it before each step."""
    kind: type[_BatchNorm]
    """The original class of the layer."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        x = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        dims = [0, *range(2, x.ndim)]
        shape = (1, -1, *[1] * (x.ndim - 2))
        mean = self.mean_over_ranks(x.mean(dims))
        centred = x - mean.view(shape)
        var = self.mean_over_ranks(centred.square().mean(dims))
        if self.running_mean is not None:
            self.update_running_stats(mean.detach(), var.detach(), x.numel() // x.shape[1])
        normed = centred * (var + self.eps).rsqrt().view(shape)
        if self.affine:
            normed = normed * self.weight.view(shape) + self.bias.view(shape)
        return normed.to(input.dtype)

    def mean_over_ranks(self, mean: Tensor) -> Tensor:
        """The mean over all ranks' rows (C,), given that of this rank's rows; its gradient is the sum over the ranks'
        losses."""
        return across.all_reduce(mean * (self.rank_weight / rank_and_world()[1]))

    def update_running_stats(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Update the running statistics, as BatchNorm does."""
        total = torch.tensor(float(count * bool(self.rank_weight)), device=mean.device)
        torch.distributed.all_reduce(total)
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked.add_(1)
        step = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), step)
        self.running_var.lerp_((var * total / (total - 1).clamp(min=1)).to(self.running_var.dtype), step)


class BatchNormSync(LayerSync):
    """Turns each BatchNorm into a `SyncedBatchNorm` during training, and back, by changing the class in place."""

    def apply(self, model: nn.Module) -> nn.Module:
        for module in model.modules():
            if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
                layer: Any = module
                layer.kind, layer.rank_weight, layer.__class__ = type(module), 1.0, SyncedBatchNorm
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        for module in model.modules():
            if isinstance(module, SyncedBatchNorm):
                layer: Any = module
                layer.__class__ = layer.kind
                del layer.kind, layer.rank_weight
        return model
