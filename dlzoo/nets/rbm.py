"""Restricted Boltzmann machine: visible and hidden units, connected with each other but not among themselves.

P. Smolensky, "Information Processing in Dynamical Systems: Foundations of Harmony Theory", 1986; trained by contrastive
divergence: G. E. Hinton, "Training Products of Experts by Minimizing Contrastive Divergence", Neural Computation 14,
2002. With the 500 hidden units of R. Salakhutdinov, I. Murray, "On the Quantitative Analysis of Deep Belief Networks",
ICML 2008.

>>> from dlzoo.specs.targets import Classes
>>> from dlzoo.layers.basic import num_parameters
>>> num_parameters(RBM(ImageSpec(1, 28, 28, Classes(tuple("0123456789")))))
393284
"""

from __future__ import annotations

from torch import Tensor

from dlzoo.errors import at_least, pick
from dlzoo.layers.boltzmann import BoltzmannLayer
from dlzoo.layers.visible_units import KINDS, UnitName
from dlzoo.nets.base import BoltzmannNet
from dlzoo.specs.inputs import ImageSpec


class RBM(BoltzmannNet):
    """For flattened images.

    Args:
        num_hidden: hidden units.
        visible: binary units for pixels that are 0 or 1, or probabilities; gaussian ones for standardised pixels.
        init_std: standard deviation of the initial weights.
    """

    accepts = (ImageSpec,)

    def __init__(
        self, spec: ImageSpec, *, num_hidden: int = 500, visible: UnitName = "binary", init_std: float = 0.01
    ) -> None:
        super().__init__()
        at_least(1, "net", num_hidden=num_hidden)
        at_least(0, "net", init_std=init_std)
        units = pick(visible, KINDS, "net.visible")()
        self.standardizes_inputs = units.is_binary  # from 0 to 1, whatever the statistics of the data
        self.layer = BoltzmannLayer(units, spec.num_features, num_hidden, init_std=init_std)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) -> probabilities of the hidden units, (B, num_hidden)."""
        return self.layer.hidden_input(x.flatten(1)).sigmoid()
