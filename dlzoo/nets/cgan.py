"""Conditional generative adversarial net: both nets are told the class.

M. Mirza, S. Osindero, "Conditional Generative Adversarial Nets", 2014: the class, one-hot, beside the code and beside
the picture. Differs as nets/gan.py does from its paper.

>>> from dlzoo.layers import basic as layers
>>> from dlzoo.specs.targets import Classes
>>> layers.num_parameters(CGAN(ImageSpec(1, 28, 28, Classes(tuple("0123456789")))))
1102353
"""

from __future__ import annotations

from typing import Any

from dlzoo.nets.gan import GAN
from dlzoo.specs.inputs import ImageSpec


class CGAN(GAN):
    """As `GAN`, with the class beside the code and beside the picture."""

    def __init__(self, spec: ImageSpec, **options: Any) -> None:
        self.num_conditions = spec.target.num_outputs
        super().__init__(spec, **options)
