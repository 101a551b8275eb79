"""Grids on which the units of a self-organising map lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

GridName = Literal["rectangular", "hexagonal"]
"""Each inner unit has eight neighbours, or six."""

ROW_HEIGHT = 3**0.5 / 2
"""Of hexagons whose centres are 1 apart."""


@dataclass(frozen=True)
class UnitGrid:
    """U = rows * columns units, numbered row by row; a single row is a chain.

    >>> UnitGrid(2, 3).positions().tolist()
    [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 1.0]]
    >>> [int(UnitGrid(5, 5, kind).neighbours()[12].sum()) for kind in ("rectangular", "hexagonal")]
    [8, 6]
    """

    rows: int
    columns: int
    kind: GridName = "rectangular"

    @property
    def num_units(self) -> int:
        return self.rows * self.columns

    @property
    def reach(self) -> float:
        """The largest squared distance of neighbours."""
        return 1.01 if self.kind == "hexagonal" else 2.01

    def positions(self) -> Tensor:
        """(U, 2) float64, x and y; hexagons in odd rows are half a unit to the right."""
        sides = (torch.arange(side, dtype=torch.float64) for side in (self.rows, self.columns))
        y, x = torch.meshgrid(*sides, indexing="ij")
        if self.kind == "hexagonal":
            x, y = x + (y % 2) / 2, y * ROW_HEIGHT
        return torch.stack([x.flatten(), y.flatten()], 1)

    def neighbours(self) -> Tensor:
        """(U, U), whether two different units are neighbours."""
        distances = squared_distances(self.positions(), self.positions())
        return (distances > 0.01) & (distances < self.reach)

    def name(self, unit: int) -> str:
        """Of a unit: its row and column, from 1."""
        row, column = divmod(unit, self.columns)
        return f"unit {column + 1}" if self.rows == 1 else f"row {row + 1}, column {column + 1}"


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """(A, 2), (B, 2) positions -> (A, B)."""
    return (a[:, None] - b).square().sum(2)
