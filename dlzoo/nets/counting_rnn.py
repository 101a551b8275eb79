"""Counting RNN: two weights, s_t = W s_{t-1} + U x_t; with W = U = 1 its last state counts the ones of a sequence.

The smallest net on which back-propagation through time can be followed by hand: d loss / d s_t = W d loss / d s_{t+1},
so the gradient vanishes along the sequence for |W| < 1 and explodes for |W| > 1. R. Pascanu, T. Mikolov, Y. Bengio, "On
the difficulty of training recurrent neural networks", 2013, which also proposes to clip its norm.

>>> from dlzoo.specs.targets import Values
>>> from dlzoo.layers.basic import num_parameters
>>> num_parameters(CountingRNN(SequenceSpec(10, 1, Values(("ones",)))))
2
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dlzoo.errors import SpecError, UserError
from dlzoo.nets.base import ScalarRecurrentNet
from dlzoo.specs.inputs import SequenceSpec


class CountingRNN(ScalarRecurrentNet):
    """For sequences of scalars and a single target value.

    Args:
        start: the initial U and W; None: both are drawn uniformly from [0, 1).
    """

    accepts = (SequenceSpec,)

    def __init__(self, spec: SequenceSpec, *, start: tuple[float, float] | None = None) -> None:
        super().__init__()
        if spec.num_inputs != 1 or spec.is_padded or spec.target.num_outputs != 1 or spec.target.values is None:
            raise SpecError(
                f"the counting RNN reads one value a step and predicts one value; the data gives {spec.describe()} and "
                f"{spec.target.num_outputs} {spec.target.what}"
            )
        if start is not None and (len(start) != 2 or not all(map(math.isfinite, start))):
            raise UserError(f"net.start={[*start]} must be two finite numbers, the initial U and W: net.start=[-2,1]")
        self.recurrent = nn.Parameter(torch.rand(()) if start is None else torch.tensor(float(start[1])))
        self.input = nn.Parameter(torch.rand(()) if start is None else torch.tensor(float(start[0])))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, 1) -> (B, 1), the last state."""
        return self.states(x)[-1][:, None]

    def states(self, x: Tensor) -> list[Tensor]:
        """x: (B, T, 1) -> T states (B,)."""
        states = [self.input * x[:, 0, 0]]
        for value in x[:, 1:, 0].unbind(1):
            states.append(self.recurrent * states[-1] + self.input * value)
        return states
