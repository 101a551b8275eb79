"""Conditional variational autoencoder: encoder and decoder are told the class, so the code need not hold it.

K. Sohn, H. Lee, X. Yan, "Learning Structured Output Representation using Deep Conditional Generative Models", NeurIPS
2015. Differs by codes from a standard normal distribution whatever the class, as most later sources have it.

>>> from dlzoo.layers import basic as layers
>>> from dlzoo.specs.targets import Classes
>>> layers.num_parameters(CVAE(ImageSpec(1, 28, 28, Classes(tuple("0123456789")))))
660824
"""

from __future__ import annotations

from typing import Any

from dlzoo.nets.vae import VAE
from dlzoo.specs.inputs import ImageSpec


class CVAE(VAE):
    """As `VAE`, with the class, one-hot, beside the picture and beside the code."""

    def __init__(self, spec: ImageSpec, **options: Any) -> None:
        self.num_conditions = spec.target.num_outputs
        super().__init__(spec, **options)
