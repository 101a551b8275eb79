"""Conditional generative adversarial net: both nets are conditioned on the class.

M. Mirza, S. Osindero, "Conditional Generative Adversarial Nets", 2014: the one-hot class is concatenated to
the latent and to the image. Differs from the paper as nets/gan.py does from its own.

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
    """`GAN` with the one-hot class concatenated to the latent and to the image."""

    def __init__(self, spec: ImageSpec, **options: Any) -> None:
        self.num_conditions = spec.target.num_outputs
        super().__init__(spec, **options)
