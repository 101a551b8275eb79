"""Boxes and classes of images without a net: ridge regression on the pixels."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch

from dlzoo.losses.boxes import iou

STRENGTHS = (1.0, 10.0, 100.0, 1000.0)
"""Candidates for the strength of regularisation, for pixels from 0 to 1."""


def methods(data: Any) -> dict[str, dict[str, Any]]:
    """Those of the metrics test/box/iou and test/class/accuracy; each is measured once for both."""
    found = cache(lambda: ridge(data))
    return {
        "test/box/iou": {"ridge": lambda: found()[0], "mean_box": lambda: mean_box(data)},
        "test/class/accuracy": {"ridge": lambda: found()[1]},
    }


def mean_box(data: Any) -> float:
    """The mean intersection over union of the mean training box."""
    box = data.arrays("train").y["box"]
    mean = box[~box.isnan().any(1)].mean(0)
    return _iou(mean.expand(data.arrays("test").num_rows, 4), data.arrays("test").y["box"])


def ridge(data: Any) -> tuple[float, float]:
    """The mean intersection over union and the accuracy on the test images; validation selects the strength of each.

    Classes are regressed as ones and zeros; boxes on the images that have one.
    """
    train, val, test = (data.arrays(split) for split in ("train", "val", "test"))
    x_train, x_val, x_test = (_pixels(part.x) for part in (train, val, test))
    num = data.spec.target.by_name["class"].num_outputs
    has_box = ~train.y["box"].isnan().any(1).numpy()
    boxes = _solve(x_train[has_box], train.y["box"].numpy()[has_box])
    classes = _solve(x_train, np.eye(num)[train.y["class"].numpy()])
    best_box = max(boxes, key=lambda w: _iou(_predicted(x_val, w), val.y["box"]))
    best_class = max(classes, key=lambda w: _accuracy(x_val, w, val.y["class"]))
    return _iou(_predicted(x_test, best_box), test.y["box"]), _accuracy(x_test, best_class, test.y["class"])


def _pixels(x: torch.Tensor) -> np.ndarray:
    rows = x.flatten(1).numpy().astype(np.float64) / 255
    return np.concatenate([rows, np.ones((len(rows), 1))], axis=1)


def _solve(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """The weights for each strength."""
    gram, moment = x.T @ x, x.T @ y
    return [np.linalg.solve(gram + strength * np.eye(len(gram)), moment) for strength in STRENGTHS]


def _predicted(x: np.ndarray, weights: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x @ weights).float().clamp(0, 1)


def _accuracy(x: np.ndarray, weights: np.ndarray, labels: torch.Tensor) -> float:
    return float(((x @ weights).argmax(1) == labels.numpy()).mean())


def _iou(predicted: torch.Tensor, true: torch.Tensor) -> float:
    has_box = ~true.isnan().any(1)
    return float(iou(predicted[has_box], true[has_box]).mean())
