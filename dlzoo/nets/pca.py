"""Principal component analysis: the directions in which rows vary most, and the rows' coordinates along them.

K. Pearson, "On Lines and Planes of Closest Fit to Systems of Points in Space", Philosophical Magazine 2, 1901; H.
Hotelling, "Analysis of a Complex of Statistical Variables into Principal Components", 1933. With the singular value
decomposition of the centred rows, X = U Σ Vᵀ, the components are the first K columns of V, and the scores are
Y = X V = U Σ; no other linear code of K numbers reconstructs the rows with a smaller squared error.

>>> from dlzoo.layers.basic import num_parameters
>>> from dlzoo.specs.inputs import Column
>>> from dlzoo.specs.targets import Classes
>>> flowers = TableSpec(tuple(map(Column, "abcd")), Classes(("setosa", "versicolor", "virginica")))
>>> num_parameters(PCA(flowers, num_components=2))  # the mean and two components
12
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlzoo.errors import UserError
from dlzoo.nets.base import ConditionalNet
from dlzoo.specs.inputs import ImageSpec, TableSpec


class PCA(ConditionalNet):
    """For images (flattened) and tables; fitted by `dlzoo.tasks.pca.PrincipalComponents`.

    Args:
        num_components: K, at most the number of features.
    """

    accepts = (ImageSpec, TableSpec)

    def __init__(self, spec: ImageSpec | TableSpec, *, num_components: int = 2) -> None:
        super().__init__()
        if not 1 <= num_components <= spec.num_features:
            raise UserError(
                f"net.num_components={num_components}: give 1 to {spec.num_features}, the number of features"
            )
        self.input_shape = spec.shape
        self.mean = nn.Parameter(torch.zeros(spec.num_features))
        self.components = nn.Parameter(torch.zeros(num_components, spec.num_features))
        """(K, F), orthonormal, in the order of their variances."""
        self.variances: Tensor
        self.register_buffer("variances", torch.zeros(spec.num_features))
        """(F,): the variance of the training rows along each component, those that are dropped included."""

    def encode(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) or (B, F) -> scores (B, K)."""
        return (x.flatten(1) - self.mean) @ self.components.T

    def decode(self, scores: Tensor) -> Tensor:
        """scores: (B, K) -> inputs (B, C, H, W) or (B, F)."""
        return (scores @ self.components + self.mean).unflatten(1, self.input_shape)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) or (B, F) -> its reconstruction."""
        return self.decode(self.encode(x))
