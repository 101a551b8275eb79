"""k-means: centroids, each representing the inputs nearest to it.

S. P. Lloyd, "Least Squares Quantization in PCM", 1957 (IEEE Transactions on Information Theory 28, 1982). Depends on
initialization, so several sets of centroids are trained in parallel; the best one comes first.

>>> from dlzoo.specs.targets import Classes
>>> from dlzoo.specs.inputs import Column
>>> flowers = TableSpec(tuple(map(Column, "abcd")), Classes(("setosa", "versicolor", "virginica")))
>>> tuple(KMeans(flowers, num_starts=5).centroids.shape)
(5, 3, 4)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlzoo.errors import UserError, at_least
from dlzoo.nets.base import ConditionalNet
from dlzoo.specs.inputs import ImageSpec, TableSpec


class KMeans(ConditionalNet):
    """For images (flattened) and tables; trained by `Clustering`.

    Args:
        num_clusters: None: the number of classes of the data.
        num_starts: initializations, trained in parallel.
    """

    accepts = (ImageSpec, TableSpec)

    def __init__(self, spec: ImageSpec | TableSpec, *, num_clusters: int | None = None, num_starts: int = 10) -> None:
        super().__init__()
        at_least(1, "net", num_starts=num_starts, num_clusters=num_clusters)
        if num_clusters is None and spec.target.classes is None:
            raise UserError("net.num_clusters must be given: this data has no classes to take the number from")
        num = num_clusters or spec.target.num_outputs
        self.centroids = nn.Parameter(torch.zeros(num_starts, num, spec.num_features))
        self.counts: Tensor
        self.register_buffer("counts", torch.zeros(num_starts, num))
        """Number (or total weight) of the rows that each centroid was computed from."""

    def squared_distances(self, x: Tensor, centroids: Tensor, *, far: bool = True) -> Tensor:
        """x: (B, …), centroids: (K, F) -> (B, K).

        Args:
            far: whether they may lie so far from the origin that the squares would cancel, which takes longer.
        """
        x = x.flatten(1)
        if far:
            centre = centroids.mean(0)
            x, centroids = x - centre, centroids - centre
        norms = torch.linalg.vector_norm(x, dim=1, keepdim=True).square()
        squares = norms + torch.addmm(centroids.square().sum(1), x, centroids.T, alpha=-2)
        return squares.clamp(min=0)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) or (B, F) -> (B, K) negative squared distances; the argmax is the cluster."""
        return -self.squared_distances(x, self.centroids[0])
