"""Jordan net: its output is fed back as its state, where Elman's net feeds back the hidden units.

M. I. Jordan, "Serial order: a parallel distributed processing approach", 1986. The state units remember outputs with
a decay: s(t) = decay s(t-1) + y(t-1). With a decay of 0 the state is the last output.
In training on windows the outputs before the last are the net's own as well, so that gradients pass through them.

>>> from dlzoo.layers.basic import num_parameters
>>> from dlzoo.specs.targets import Values
>>> passengers = SeriesSpec(Values(("passengers",)), window=12, horizon=12)
>>> num_parameters(Jordan(passengers))  # 32 * (1 + 1 + 1) + 32 + 1
129
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlzoo.errors import SpecError, UserError, at_least
from dlzoo.layers import basic as layers
from dlzoo.layers.recurrent import State
from dlzoo.nets.base import RecurrentNet
from dlzoo.specs.inputs import SeriesSpec


class Jordan(RecurrentNet):
    """For series.

    Args:
        num_units: hidden units.
        decay: fraction of its state that a state unit keeps at each step; at least 0 and below 1.
        dropout: dropout rate of the hidden units.
        stateful: carry the state over from each window to the next.
        skip: add a linear map of the window to the output.
    """

    accepts = (SeriesSpec,)

    def __init__(
        self,
        spec: SeriesSpec,
        *,
        num_units: int = 32,
        decay: float = 0.0,
        dropout: float = 0.0,
        stateful: bool = False,
        skip: bool = False,
    ) -> None:
        super().__init__()
        at_least(1, "net", num_units=num_units)
        if not 0 <= decay < 1:
            raise UserError(f"net.decay={decay} must be at least 0 and below 1")
        if stateful and skip:
            raise SpecError("net.skip=true maps a whole window, but net.stateful=true reads value by value: choose one")
        self.is_stateful = stateful
        self.decay = decay
        self.output_shape = spec.output_shape
        self.num_outputs = spec.num_predicted
        self.inputs = nn.Linear(spec.shape[1], num_units)
        self.feedback = nn.Linear(self.num_outputs, num_units, bias=False)
        self.dropout = layers.dropout(dropout)
        self.output = nn.Linear(num_units, self.num_outputs)
        self.skip = nn.Linear(spec.num_features, self.num_outputs, bias=False) if skip else None

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, W, D) -> (B, D), the next value, or (B, S, D), the next S; (B, S, D, Q) of quantiles."""
        y = self.step(x)[0][:, -1]
        return (y if self.skip is None else y + self.skip(x.flatten(1))).unflatten(1, self.output_shape)

    def step(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """x: (B, T, D), the state before it (B, D) -> the next value at each step (B, T, D), the state after it."""
        s = x.new_zeros(x.shape[0], self.num_outputs) if state is None else self.checked(state, x.shape[0])
        from_x, outputs = self.inputs(x), []
        for t in range(x.shape[1]):
            outputs.append(self.output(self.dropout(torch.tanh(from_x[:, t] + self.feedback(s)))))
            s = self.decay * s + outputs[-1]
        return torch.stack(outputs, dim=1), s

    def checked(self, state: State, batch_size: int) -> Tensor:
        """A state that may come from a checkpoint: of another shape it is refused."""
        if not isinstance(state, Tensor) or state.shape != (batch_size, self.num_outputs):
            raise UserError(f"the state passed to the net is not {(batch_size, self.num_outputs)}: restart the run")
        return state
