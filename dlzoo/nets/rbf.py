"""Radial basis function network: Gaussian units around centres, and a linear output of their activities.

D. S. Broomhead, D. Lowe, "Multivariable Functional Interpolation and Adaptive Networks", Complex Systems 2, 1988; J.
Moody, C. J. Darken, "Fast Learning in Networks of Locally-Tuned Processing Units", Neural Computation 1, 1989: the
centres are those of k-means, the width of each unit is the root mean square distance to its nearest neighbours, and the
output is linear least squares, so that nothing needs a gradient.

>>> from dlzoo.layers.basic import num_parameters
>>> from dlzoo.specs.inputs import Column
>>> from dlzoo.specs.targets import Classes
>>> flowers = TableSpec(tuple(map(Column, "abcd")), Classes(("setosa", "versicolor", "virginica")))
>>> num_parameters(RBF(flowers, num_centers=10, num_starts=1))  # ten centres, 10 weights and a bias for each class
73
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlzoo.errors import UserError, at_least
from dlzoo.nets.base import Net
from dlzoo.nets.kmeans import KMeans
from dlzoo.specs.inputs import ImageSpec, TableSpec


class RBF(Net):
    """For images (flattened) and tables, classes, labels and values; `dlzoo.tasks.rbf.RadialBasis` fits it.

    Args:
        num_centers: Gaussian units.
        num_neighbors: nearest other centres whose distance is a unit's width.
        width: factor of all widths: wider units are smoother functions, and generalise better in many dimensions.
        num_starts: initializations of k-means, trained in parallel.
    """

    accepts = (ImageSpec, TableSpec)

    def __init__(
        self,
        spec: ImageSpec | TableSpec,
        *,
        num_centers: int = 20,
        num_neighbors: int = 2,
        width: float = 1.0,
        num_starts: int = 3,
    ) -> None:
        super().__init__()
        at_least(1, "net", num_centers=num_centers, num_neighbors=num_neighbors)
        if not width > 0:
            raise UserError(f"net.width={width:g} must be above 0: it is a factor of the widths of the units")
        self.num_neighbors = num_neighbors
        self.width = width
        self.centers = KMeans(spec, num_clusters=num_centers, num_starts=num_starts)
        self.widths: Tensor
        self.register_buffer("widths", torch.ones(num_centers))
        self.linear = nn.Linear(num_centers, spec.target.num_outputs)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    @torch.no_grad()
    def set_widths(self) -> None:
        """The root mean square distance of each centre to its nearest neighbours, times ``width``; centres that
        coincide with theirs get the smallest width of the others, and a single one has width 1."""
        centers = self.centers.centroids[0]
        num = min(self.num_neighbors, len(centers) - 1)
        widths = torch.ones_like(self.widths)
        if num:
            squares = torch.cdist(centers.double(), centers.double()).square().fill_diagonal_(torch.inf)
            widths = squares.topk(num, largest=False).values.mean(1).sqrt()
            apart = widths > 0
            widths[~apart] = widths[apart].min() if apart.any() else 1.0
        self.widths.copy_(self.width * widths)

    def activities(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) or (B, F) -> the Gaussian of each unit, (B, num_centers), 1 at its centre."""
        return (self.centers(x) / (2 * self.widths**2)).exp()

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) or (B, F) -> (B, K), linear in the activities; the argmax is the class."""
        return self.linear(self.activities(x))
