"""The objective of boxes."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanMetric, MetricCollection

from dlzoo.errors import UserError, pick
from dlzoo.losses.functional import widen
from dlzoo.losses.objectives import Objective
from dlzoo.specs.boxes import Boxes, box_of

BoxLoss = Literal["smooth_l1", "giou", "smooth_l1_giou"]
SMOOTH_L1_BETA = 0.05
"""Errors below this fraction of the image's side are squared."""


class MeanIoU(MeanMetric):
    """The mean intersection over union of predicted and true boxes, (B, 4) each; images without an object do not
    count."""

    def update(self, predicted: Tensor, true: Tensor) -> None:  # type: ignore[override]
        is_there = ~true.isnan().any(1)
        super().update(iou(predicted[is_there], true[is_there]))


class BoxObjective(Objective, target=Boxes):
    """One box for each image. Output (B, 4): the logits of the centre, the width and the height.

    Metrics: iou, the mean intersection over union, of images with an object; in the others the box is neither learned
    nor measured.

    Args:
        loss: smooth_l1: of the edges (R. Girshick, "Fast R-CNN", 2015); giou: one minus the generalised intersection
            over union (H. Rezatofighi et al., 2019); or the sum of both.
    """

    monitor = ("val/iou", "max")

    def __init__(self, target: Boxes, *, loss: BoxLoss = "smooth_l1_giou") -> None:
        super().__init__()
        if not isinstance(loss, str):
            raise UserError(f"task.loss of boxes is one of {', '.join(get_args(BoxLoss))}, not a module")
        pick(loss, {name: name for name in get_args(BoxLoss)}, "task.loss")
        self.loss = loss

    def criterion(self, output: Tensor, target: Tensor) -> Tensor:
        is_there = ~target.isnan().any(1)
        predicted, true = self.answers(output), target.nan_to_num(0.0)
        total = predicted.new_zeros(len(predicted))
        if "smooth_l1" in self.loss:
            total = total + F.smooth_l1_loss(predicted, true, reduction="none", beta=SMOOTH_L1_BETA).sum(1)
        if "giou" in self.loss:
            total = total + 1 - generalised_iou(predicted, true)
        return total.where(is_there, 0.0)

    def answers(self, output: Tensor) -> Tensor:
        """The edges, (B, 4), within the image."""
        return box_of(widen(output).sigmoid()).clamp(0, 1)

    def reported(self, output: Tensor) -> Tensor:
        return self.answers(output)

    def metrics(self) -> MetricCollection:
        return MetricCollection({"iou": MeanIoU(nan_strategy="ignore")})

    def measured(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return self.answers(output), target


def iou(a: Tensor, b: Tensor) -> Tensor:
    """The intersection over union of pairs of boxes, (B, 4) each -> (B,).

    >>> iou(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 0.0, 3.0, 2.0]]))
    tensor([0.3333])
    """
    return _areas(a, b)[0]


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """(B, 4), (B, 4) -> (B,) from -1 to 1: the intersection over union, less the share of the smallest rectangle
    around both that neither covers.

    >>> generalised_iou(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[3.0, 0.0, 4.0, 1.0]]))
    tensor([-0.5000])
    """
    overlap, union = _areas(a, b)
    around = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(1)
    return overlap - (around - union) / around.clamp(min=1e-9)


def _areas(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The intersection over union, and the union."""
    common = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - common
    return common / union.clamp(min=1e-9), union
