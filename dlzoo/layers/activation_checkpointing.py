"""Gradient checkpointing that leaves BatchNorm's running statistics alone.

T. Chen, B. Xu, C. Zhang, C. Guestrin, "Training Deep Nets with Sublinear Memory Cost", 2016. A module's maps are not
kept for the backward pass but computed again in it. PyTorch's own tool does the work; but with it alone a BatchNorm in
the module would see each batch twice, and its running mean and variance would follow it twice as fast.
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
    """From now on, in training, the module's maps are computed a second time instead of being kept."""
    module.forward = partial(_twice, module, module.forward)


def _twice(module: nn.Module, forward: Callable[..., Any], *inputs: Any) -> Any:
    if not (module.training and torch.is_grad_enabled()):
        return forward(*inputs)
    contexts = lambda: (contextlib.nullcontext(), still(module))  # noqa: E731
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts)


@contextlib.contextmanager
def still(module: nn.Module) -> Iterator[None]:
    """Norms of the module normalise by their batch as before, but do not count it."""
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
