"""An autoencoder for windows of a series: a narrow code between perceptrons, which knows normal windows only.

M. Sakurada, T. Yairi, "Anomaly Detection Using Autoencoders with Nonlinear Dimensionality Reduction", MLSDA 2014:
windows that differ from those of the training are reconstructed badly.

>>> from dlzoo.layers.basic import num_parameters
>>> from dlzoo.specs.targets import Values
>>> num_parameters(WindowAutoencoder(SeriesSpec(Values(("load",)), window=24, horizon=24)))
1884
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from dlzoo.layers.basic import ActivationName, InitName, NormName
from dlzoo.nets.autoencoder import Autoencoder
from dlzoo.specs.base import Spec
from dlzoo.specs.inputs import SeriesSpec


class WindowAutoencoder(Autoencoder):
    """For series.

    Args:
        encoder: units of each encoder layer; the last one is the code.
        decoder: units of each hidden decoder layer; null mirrors the encoder.
        code_activation: activation of the code; null uses ``activation``.
    """

    accepts: ClassVar[tuple[type[Spec], ...]] = (SeriesSpec,)

    def __init__(
        self,
        spec: SeriesSpec,
        *,
        encoder: Sequence[int] = (32, 4),
        decoder: Sequence[int] | None = None,
        activation: ActivationName = "tanh",
        code_activation: ActivationName | None = "identity",
        norm: NormName = "none",
        init: InitName = "default",
    ) -> None:
        super().__init__(
            spec,  # type: ignore[arg-type]  # only its shape is read
            encoder=encoder,
            decoder=decoder,
            activation=activation,
            code_activation=code_activation,
            norm=norm,
            init=init,
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, W, D) -> its reconstruction."""
        return self.decode(self.encode(x))
