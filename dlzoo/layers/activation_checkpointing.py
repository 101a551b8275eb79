"""Gradient checkpointing that updates BatchNorm's running statistics only once per batch.

T. Chen, B. Xu, C. Zhang, C. Guestrin, "Training Deep Nets with Sublinear Memory Cost", 2016. Activations are not
kept for the backward pass but recomputed in it. This wraps PyTorch's implementation, with which a BatchNorm in
the module would see each batch twice and update its running mean and variance twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute(module: nn.Module) -> None:
    """Make the module recompute its activations in the backward pass of training instead of storing them."""
    module.forward = partial(_checkpointed, module, module.forward)


def _checkpointed(module: nn.Module, forward: Callable[..., Any], *inputs: Any) -> Any:
    if not (module.training and torch.is_grad_enabled()):
        return forward(*inputs)
    contexts = lambda: (contextlib.nullcontext(), frozen_running_stats(module))  # noqa: E731
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts)


@contextlib.contextmanager
def frozen_running_stats(module: nn.Module) -> Iterator[None]:
    """Within the block, the module's norms use batch statistics as usual but do not update the running ones."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        norm.num_batches_tracked = None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
