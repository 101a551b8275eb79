"""NAR network: the next value of a series as a function of the last ones, x(t) = F(x(t-1), …, x(t-W)).

A. Lapedes, R. Farber, "Nonlinear signal processing using neural networks", 1987; K. S. Narendra, K. Parthasarathy,
"Identification and control of dynamical systems using neural networks", 1990. F is a multilayer perceptron. In training
it sees true values; to forecast further, its own outputs are fed back (dlzoo/tasks/forecast.py).
Differs in ``skip``: a linear map from the window to the output, so that the hidden layers learn the nonlinear rest.

>>> from dlzoo.specs.targets import Values
>>> passengers = SeriesSpec(Values(("passengers",)), window=12, horizon=12)
>>> layers.num_parameters(NAR(passengers)), layers.num_parameters(NAR(passengers, skip=True))
(449, 461)
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dlzoo.layers import basic as layers
from dlzoo.layers.basic import ActivationName, InitName, NormName
from dlzoo.nets.base import Net
from dlzoo.nets.mlp import hidden_layers
from dlzoo.specs.inputs import SeriesSpec


class NAR(Net):
    """For series.

    Args:
        hidden: units of each hidden layer.
        dropout: dropout rate of each hidden layer.
        skip: add a linear map of the window to the output.
    """

    accepts = (SeriesSpec,)

    def __init__(
        self,
        spec: SeriesSpec,
        *,
        hidden: Sequence[int] = (32,),
        activation: ActivationName = "tanh",
        norm: NormName = "none",
        dropout: float = 0.0,
        init: InitName = "default",
        skip: bool = False,
    ) -> None:
        super().__init__()
        num_lags = spec.num_features
        self.hidden = hidden_layers(num_lags, hidden, activation=activation, norm=norm, dropout=dropout)
        self.output_shape = spec.output_shape
        self.output = nn.Linear([num_lags, *hidden][-1], spec.num_predicted)
        self.skip = nn.Linear(num_lags, spec.num_predicted, bias=False) if skip else None
        layers.initialise(self, init)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, W, D) -> (B, D), the next value, or (B, S, D), the next S; (B, S, D, Q) of quantiles."""
        lags = x.flatten(1)
        y = self.output(self.hidden(lags))
        return (y if self.skip is None else y + self.skip(lags)).unflatten(1, self.output_shape)
