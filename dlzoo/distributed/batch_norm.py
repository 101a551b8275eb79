"""BatchNorm over the whole batch of all processes, where PyTorch's SyncBatchNorm does not go: on CPUs.

It also knows that rows of another rank, which a rank without rows is given to compute with, do not count.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed.nn.functional as across
from lightning.pytorch.plugins.layer_sync import LayerSync
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dlzoo.distributed.collectives import rank_and_world


class WholeBatchNorm(_BatchNorm):
    """In training, mean and variance are those of all ranks' rows; their gradients go back to all ranks."""

    share: float
    """See `dlzoo.tasks.base.Task.share`; the task sets it before each step."""
    kind: type[_BatchNorm]
    """What the layer was."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        x = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        dims = [0, *range(2, x.ndim)]
        shape = (1, -1, *[1] * (x.ndim - 2))
        mean = self.over_ranks(x.mean(dims))
        centred = x - mean.view(shape)
        var = self.over_ranks(centred.square().mean(dims))
        if self.running_mean is not None:
            self.follow(mean.detach(), var.detach(), x.numel() // x.shape[1])
        normed = centred * (var + self.eps).rsqrt().view(shape)
        if self.affine:
            normed = normed * self.weight.view(shape) + self.bias.view(shape)
        return normed.to(input.dtype)

    def over_ranks(self, mean: Tensor) -> Tensor:
        """The mean of all ranks' rows (C,), of which this rank's have this mean. Adding up what the ranks' losses ask
        of it is its gradient."""
        return across.all_reduce(mean * (self.share / rank_and_world()[1]))

    def follow(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Move the running statistics, as BatchNorm does."""
        total = torch.tensor(float(count * bool(self.share)), device=mean.device)
        torch.distributed.all_reduce(total)
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked.add_(1)
        step = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), step)
        self.running_var.lerp_((var * total / (total - 1).clamp(min=1)).to(self.running_var.dtype), step)


class BatchNormOverRanks(LayerSync):
    """Turns each BatchNorm into a `WholeBatchNorm` while a model trains, and back; the objects stay what they are."""

    def apply(self, model: nn.Module) -> nn.Module:
        for module in model.modules():
            if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
                layer: Any = module
                layer.kind, layer.share, layer.__class__ = type(module), 1.0, WholeBatchNorm
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        for module in model.modules():
            if isinstance(module, WholeBatchNorm):
                layer: Any = module
                layer.__class__ = layer.kind
                del layer.kind, layer.share
        return model
