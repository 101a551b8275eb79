"""Recurrent forecaster: a recurrent layer reads a series value by value, and a linear layer says the next one.

The cells and their papers are in dlzoo/layers/recurrent.py. As a forecaster: J. L. Elman, "Finding structure in time",
1990, which predicts the next element at each step. In training the net sees true values; to forecast further, its own
outputs are fed back (dlzoo/tasks/forecast.py).
Differs by ``skip``: a linear map from the window to the output, so that the recurrent layer learns what is not linear.

>>> from dlzoo.layers.basic import num_parameters
>>> from dlzoo.specs.targets import Values
>>> passengers = SeriesSpec(Values(("passengers",)), window=12, horizon=12)
>>> num_parameters(Forecaster(passengers))  # 4 * (32 * (1 + 32) + 2 * 32) + 32 + 1
4513
>>> num_parameters(Forecaster(passengers, cell="gru"))
3393
"""

from __future__ import annotations

from torch import Tensor, nn

from dlzoo.errors import SpecError
from dlzoo.layers import basic as layers
from dlzoo.layers.recurrent import CellName, Recurrent, State
from dlzoo.nets.base import RecurrentNet
from dlzoo.specs.inputs import SeriesSpec


class Forecaster(RecurrentNet):
    """For series.

    Args:
        num_units: units of each recurrent layer.
        num_layers: number of recurrent layers.
        dropout: dropout rate of the outputs of each recurrent layer.
        bidirectional: always rejected; the option exists to explain why.
        stateful: carry the hidden state over from each window to the next.
        skip: add a linear map of the window to the output.
    """

    accepts = (SeriesSpec,)

    def __init__(
        self,
        spec: SeriesSpec,
        *,
        cell: CellName = "lstm",
        num_units: int = 32,
        num_layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = False,
        stateful: bool = False,
        skip: bool = False,
    ) -> None:
        super().__init__()
        if bidirectional:
            raise SpecError("net.bidirectional=true would read the future that is to be forecast; set it to false")
        if stateful and skip:
            raise SpecError("net.skip=true maps a whole window, but net.stateful=true reads value by value: choose one")
        self.is_stateful = stateful
        between = dropout if num_layers > 1 else 0.0
        self.recurrent = Recurrent(cell, spec.shape[1], num_units, num_layers=num_layers, dropout=between)
        self.dropout = layers.dropout(dropout)
        self.output_shape = spec.output_shape
        self.output = nn.Linear(num_units, spec.num_predicted)
        self.skip = nn.Linear(spec.num_features, spec.num_predicted, bias=False) if skip else None

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, W, D) -> (B, D), the next value, or (B, S, D), the next S; (B, S, D, Q) of quantiles."""
        y = self.output(self.dropout(self.recurrent(x)[0][:, -1]))
        return (y if self.skip is None else y + self.skip(x.flatten(1))).unflatten(1, self.output_shape)

    def step(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """x: (B, T, D), the state before it -> the next value at each step (B, T, D), the state after it."""
        outputs, state = self.recurrent(x, state)
        return self.output(self.dropout(outputs)), state
