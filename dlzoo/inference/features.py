"""The features that a net computes of its inputs: what its last linear layer receives."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Penultimate:
    """Records the input of the last linear layer that runs in each forward pass of a net, whatever its architecture.

    >>> import torch
    >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> recorder = Penultimate(net)
    >>> output = net(torch.ones(5, 3))
    >>> recorder.features.shape, recorder.remove()
    (torch.Size([5, 4]), None)
    """

    def __init__(self, net: nn.Module) -> None:
        self.features: Tensor | None = None
        """(B, …), of the last forward pass; None if the net has no linear layer."""
        self._hooks = [
            module.register_forward_pre_hook(self._note) for module in net.modules() if isinstance(module, nn.Linear)
        ]

    def _note(self, _: nn.Module, inputs: Any) -> None:
        self.features = inputs[0].detach()

    def remove(self) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
