"""Restricted Boltzmann machine of ratings: a softmax unit for each item, which takes part where a user has rated it.

R. Salakhutdinov, A. Mnih, G. Hinton, "Restricted Boltzmann Machines for Collaborative Filtering", ICML 2007: users
share weights and biases, and each has the visible units of the items that they rated; 100 hidden units.

>>> from dlzoo.layers.basic import num_parameters
>>> from dlzoo.specs.ratings import ItemRatings
>>> num_parameters(RatingsRBM(RatingsSpec(ItemRatings(("Alien", "Brazil", "Casablanca")), (1, 2, 3, 4, 5))))
1615
"""

from __future__ import annotations

from torch import Tensor

from dlzoo.errors import at_least
from dlzoo.layers.boltzmann import BoltzmannLayer
from dlzoo.layers.visible_units import SoftmaxUnits
from dlzoo.nets.base import BoltzmannNet
from dlzoo.specs.ratings import RatingsSpec


class RatingsRBM(BoltzmannNet):
    """For ratings, M items on a scale of K levels; `dlzoo.tasks.ratings_rbm.CollaborativeFiltering` trains it.

    Args:
        num_hidden: hidden units, each a taste.
        init_std: standard deviation of the initial weights.
    """

    accepts = (RatingsSpec,)

    def __init__(self, spec: RatingsSpec, *, num_hidden: int = 100, init_std: float = 0.01) -> None:
        super().__init__()
        at_least(1, "net", num_hidden=num_hidden)
        at_least(0, "net", init_std=init_std)
        self.units = SoftmaxUnits(len(spec.scale))
        self.layer = BoltzmannLayer(self.units, spec.num_features * len(spec.scale), num_hidden, init_std=init_std)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, M) levels from 1, 0 for items without a rating -> probabilities of the levels of all items,
        (B, M, K)."""
        hidden = self.layer.hidden_input(self.units.states(x).to(self.layer.weight.dtype)).sigmoid()
        return self.units.groups(self.layer.visible_input(hidden)).softmax(-1)
