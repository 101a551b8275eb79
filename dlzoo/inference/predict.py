"""Predictions of a trained task for any kind of input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlzoo.errors import UserError

if TYPE_CHECKING:
    from dlzoo.tasks.base import Task


def predict(task: Task, x: Any) -> Any:
    """x: (B, …), images in [0, 1] -> (B, K) probabilities of the classes, or (B, D) values; of several inputs or
    targets dicts of these by name.

    For a series, x: (N, D) are the raw values so far, and the next (H, D) are predicted.
    """
    import torch

    from dlzoo.specs.batch import tensors

    with torch.inference_mode():
        result = task.predict(x)
    if not all(part.isfinite().all() for part in tensors(result)):
        raise UserError("the net's output is not finite: its training diverged, or an input is far too large")
    return result
