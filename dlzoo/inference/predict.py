"""Predictions of a trained task for any kind of input."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dlzoo.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from dlzoo.tasks.base import Task
    from dlzoo.tasks.interfaces import Encoding, Forecasting


def predict(task: Task, x: Any) -> Any:
    """x: (B, …), images in [0, 1] -> (B, K) probabilities of the classes, or (B, D) values; of several inputs or
    targets dicts of these by name.

    For a series, x: (N, D) are the raw values so far, and the next (H, D) are predicted.
    """
    import torch

    from dlzoo.specs.batch import tensors

    with torch.inference_mode():
        result = task.predict(x)
    _check_finite(tensors(result))
    return result


def forecast(task: Forecasting, history: Tensor, horizon: int) -> Tensor:
    """history: (N, D), the raw values so far -> (horizon, D), the next ones."""
    import torch

    with torch.inference_mode():
        result = task.forecast(history, horizon)
    _check_finite([result])
    return result


def reconstruct(task: Encoding, x: Tensor) -> Tensor:
    """x: (B, C, H, W) in [0, 1] -> as the autoencoder reconstructs or denoises them."""
    import torch

    with torch.inference_mode():
        result = task.reconstruct(x)
    _check_finite([result])
    return result


def _check_finite(outputs: Iterable[Tensor]) -> None:
    if not all(part.isfinite().all() for part in outputs):
        raise UserError("the net's output is not finite: its training diverged, or an input is far too large")
