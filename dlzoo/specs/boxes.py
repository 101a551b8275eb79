"""A rectangle around an object in an image, as a target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dlzoo.specs.base import Port
from dlzoo.specs.targets import Answer


@dataclass(frozen=True)
class Boxes(Answer):
    """Target: (B, 4) float32, the left, top, right and lower edge of a rectangle as fractions of the image's width and
    height; NaN where there is no object.

    ``absent`` is the class of such images in the target that stands beside it, if there are any.
    """

    what: ClassVar[str] = "boxes"
    names: ClassVar[tuple[str, ...]] = ("left", "top", "right", "bottom")
    units: ClassVar[tuple[str, ...]] = ()
    num_outputs: ClassVar[int] = 4

    absent: str | None = None

    @property
    def boxes(self) -> Boxes:
        return self

    def example(self, n: int) -> Tensor:
        start = torch.linspace(0.1, 0.5, n)
        return torch.stack([start, start / 2, start + 0.3, start / 2 + 0.4], dim=1)

    def ports(self) -> tuple[Port, ...]:
        meaning = f"{', '.join(self.names)}, as fractions of the image's width and height"
        return (Port("box", "float32", ("batch", 4), meaning),)

    def metadata(self) -> dict[str, object]:
        return {"box": list(self.names)}


def box_of(centre_and_size: Tensor) -> Tensor:
    """(…, 4) x, y, width, height -> (…, 4) left, top, right, bottom.

    >>> box_of(torch.tensor([0.5, 0.5, 0.25, 1.0])).tolist()
    [0.375, 0.0, 0.625, 1.0]
    """
    centre, half = centre_and_size[..., :2], centre_and_size[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)
