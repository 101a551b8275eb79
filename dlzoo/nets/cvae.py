"""Conditional variational autoencoder: encoder and decoder are conditioned on the class.

K. Sohn, H. Lee, X. Yan, "Learning Structured Output Representation using Deep Conditional Generative Models", NeurIPS
2015. Differs in a standard normal prior that does not depend on the class, as in most later sources.

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
    """`VAE` with the one-hot class concatenated to the image and to the latent."""

    def __init__(self, spec: ImageSpec, **options: Any) -> None:
        self.num_conditions = spec.target.num_outputs
        super().__init__(spec, **options)
