"""Self-organising map: units on a grid, each with a weight vector, such that neighbours represent similar inputs.

T. Kohonen, "Self-Organized Formation of Topologically Correct Feature Maps", Biological Cybernetics 43, 1982. A map of
10x10 units for four features:

>>> from dlzoo.layers.basic import num_parameters
>>> from dlzoo.specs.inputs import Column
>>> from dlzoo.specs.targets import Unlabelled
>>> num_parameters(SelfOrganizingMap(TableSpec(tuple(map(Column, "abcd")), Unlabelled())))
400
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlzoo.errors import UserError, at_least, pick
from dlzoo.layers.unit_grid import GridName, UnitGrid
from dlzoo.nets.base import MapNet
from dlzoo.specs.inputs import ImageSpec, TableSpec

NUM_SPARE = 2
"""Units beyond the nearest ones whose distances are computed again without cancellation."""


class SelfOrganizingMap(MapNet):
    """For images (flattened) and tables; trained by `Mapping`. The weights are drawn from N(0, 1).

    Args:
        rows: of the grid; 1 for a chain of units.
        columns: of the grid.
        grid: eight neighbours (rectangular) or six (hexagonal).
    """

    accepts = (ImageSpec, TableSpec)

    def __init__(
        self, spec: ImageSpec | TableSpec, *, rows: int = 10, columns: int = 10, grid: GridName = "rectangular"
    ) -> None:
        super().__init__()
        at_least(1, "net", rows=rows, columns=columns)
        pick(grid, {"rectangular": 0, "hexagonal": 0}, "net.grid")
        if rows * columns < 2:
            raise UserError("net.rows=1 net.columns=1 is a single unit: a map needs at least two")
        self.grid = UnitGrid(rows, columns, grid)
        self.weights = nn.Parameter(torch.randn(self.grid.num_units, spec.num_features))
        classes = spec.target.classes
        self.register_buffer("labels", torch.zeros(self.grid.num_units, classes.num_outputs if classes else 0))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) or (B, F) -> (B, U) negative squared distances; the argmax is the winner."""
        return -squared_distances(x.flatten(1), self.weights)

    def nearest(self, x: Tensor, num: int) -> tuple[Tensor, Tensor]:
        """x: (B, …) -> the squared distances to the ``num`` nearest units and these units, (B, num).

        Distances are computed for all units by a matrix product, which cancels for units close to x, and again by
        subtraction for the nearest ones.
        """
        x = x.flatten(1)
        candidates = self(x).topk(min(num + NUM_SPARE, len(self.weights))).indices
        distances = (x[:, None] - self.weights[candidates]).square().sum(2)
        distances, order = distances.topk(num, largest=False)
        return distances, candidates.gather(1, order)


def squared_distances(x: Tensor, weights: Tensor) -> Tensor:
    """(B, F), (U, F) -> (B, U), by a matrix product around the mean of the weights: far from 0 it would cancel."""
    center = weights.mean(0)
    x, weights = x - center, weights - center
    rest = torch.addmm(weights.square().sum(1), x, weights.T, alpha=-2)
    return rest.add_(x.square().sum(1, keepdim=True)).clamp_(min=0)
