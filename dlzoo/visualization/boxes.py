"""Figures of boxes in images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dlzoo.visualization import plots
from dlzoo.visualization.layout import RIGHT, WRONG, rgb

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRUE, PREDICTED = "#00C853", "#FF8F00"
SIDE = 160
"""Pixels to which small images are enlarged, so that lines are thin."""


def boxes(
    images: Tensor, true: Tensor, predicted: Tensor | None = None, *, titles: Sequence[str] = (), heading: str = ""
) -> Figure:
    """Images with their true boxes, and with the predicted ones.

    Args:
        images: (N, C, H, W) in [0, 1].
        true, predicted: (N, 4) left, top, right, bottom as fractions; NaN where there is none.
        titles: text above each image.
    """
    drawn = with_boxes(images, true, TRUE)
    if predicted is not None:
        drawn = with_boxes(drawn, predicted.where(~true.isnan(), torch.nan), PREDICTED)
    colours = [WRONG if "\nis " in title else RIGHT for title in titles]
    return plots.image_grid(drawn, titles, colours, heading=heading)


def with_boxes(images: Tensor, boxes: Tensor, colour: str) -> Tensor:
    """(N, C, H, W) in [0, 1] or uint8 (N, 3, H, W) -> uint8 (N, 3, H', W') with the boxes drawn."""
    from torchvision.utils import draw_bounding_boxes

    x = images
    if x.dtype != torch.uint8:
        x = x.detach().float().clamp(0, 1).mul(255).round().byte()
        x = x if x.shape[1] in (1, 3) else x.float().mean(1, keepdim=True).byte()
        factor = max(1, math.ceil(SIDE / max(x.shape[-2:])))
        x = x.expand(-1, 3, -1, -1).repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    height, width = x.shape[-2:]
    scale = torch.tensor([width - 1, height - 1, width - 1, height - 1])
    return torch.stack(
        [
            image
            if box.isnan().any()
            else draw_bounding_boxes(image, (box.cpu() * scale)[None], colors=[tuple(rgb(colour))], width=2)
            for image, box in zip(x, boxes, strict=True)
        ]
    )
