"""Sixteen named colours, the smallest data that show what a self-organising map does.

Training, validation and test rows are the same colours, which is all there are: the metrics describe the map of these
colours, not generalisation.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from dlzoo.data.loaders import Arrays
from dlzoo.data.tables.base import TableData
from dlzoo.specs.base import Target
from dlzoo.specs.inputs import Column, TableSpec
from dlzoo.specs.scaling import FeatureScaling
from dlzoo.specs.targets import Unlabelled

COLORS: dict[str, tuple[int, int, int]] = {
    "Black": (0, 0, 0), "White": (255, 255, 255), "Red": (255, 0, 0), "Lime": (0, 255, 0), "Blue": (0, 0, 255),
    "Yellow": (255, 255, 0), "Aqua": (0, 255, 255), "Magenta": (255, 0, 255), "Olive": (128, 128, 0),
    "Green": (0, 128, 0), "Purple": (128, 0, 128), "Navy": (0, 0, 128), "Orange Red": (255, 69, 0),
    "Orange": (255, 165, 0), "Gold": (255, 215, 0), "Khaki": (240, 230, 140),
}  # fmt: skip
"""Red, green and blue from 0 to 255, as HTML names them."""


class Colors(TableData):
    """Red, green and blue (B, 3) from 0 to 255, and the number of the colour's name in ``row_names``."""

    kind: ClassVar[type[TableSpec]] = TableSpec

    def __init__(
        self,
        *,
        batch_size: int = 16,
        seed: int = 0,
        standardize: bool = True,
        scaling: FeatureScaling = "minmax",
        placement: Literal["auto", "device", "host"] = "auto",
    ) -> None:
        super().__init__(
            batch_size=batch_size, seed=seed, standardize=standardize, scaling=scaling, placement=placement
        )

    @property
    def row_names(self) -> tuple[str, ...]:
        return tuple(COLORS)

    def declare(self) -> TableSpec:
        return TableSpec(tuple(Column(name) for name in "RGB"), Unlabelled())

    def table(self) -> Arrays:
        return Arrays(torch.tensor([*COLORS.values()]).float(), torch.arange(len(COLORS)))

    def split_test(self, rows: Arrays, target: Target) -> tuple[Tensor, Tensor]:
        every = torch.arange(rows.num_rows)
        return every, every

    def split(self, rows: Arrays, target: Target) -> tuple[Tensor, Tensor]:
        return self.split_test(rows, target)
