"""The mean of a metric over an epoch, kept on the device."""

from __future__ import annotations

import torch
from lightning.pytorch.strategies import Strategy
from torch import Tensor


class RunningMean:
    """A weighted mean that is kept on the device: reading it synchronizes, adding to it does not."""

    __slots__ = ("count", "total")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.total: Tensor | None = None
        self.count: int | Tensor = 0

    def add(self, mean: Tensor, count: int | Tensor) -> None:
        mean = mean.detach().float()
        if isinstance(count, Tensor):
            self.total = mean * count if self.total is None else self.total.add_(mean * count)
        else:
            self.total = mean * count if self.total is None else self.total.add_(mean, alpha=count)
        self.count = self.count + count  # not in place: on_nan=skip keeps the count before a batch

    def read(self) -> float:
        return 0.0 if self.total is None or not self.count else float(self.total) / float(self.count)

    def join(self, strategy: Strategy) -> None:
        """Reduce to the mean over all ranks; must be called on all of them.

        Lightning's ``sync_dist`` would round the mean number of samples down to an integer.
        """
        total = torch.zeros((), device=strategy.root_device) if self.total is None else self.total
        count = torch.as_tensor(self.count, dtype=torch.float64, device=total.device)
        both = strategy.reduce(torch.cat([total.double().flatten(), count.view(1)]), reduce_op="sum")
        assert isinstance(both, Tensor)
        self.total, self.count = both[:-1].view(total.shape).float(), both[-1]
