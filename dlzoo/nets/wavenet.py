"""WaveNet: dilated causal convolutions predict the next sample of a recording, one of 256 levels.

A. van den Oord et al., "WaveNet: A Generative Model for Raw Audio", 2016: dilations 1, 2, 4, …, 512, three times over,
with gated units, residual and skip connections, and a class as global condition. The paper gives no sizes; those here
are small. A level enters by its own vector, a convolution of kernel 1 on its one-hot code. An output sees 3,070
samples:

>>> from dlzoo.layers.basic import num_parameters
>>> from dlzoo.specs.targets import Classes
>>> net = WaveNet(AudioSpec(8000, 8000, Classes(tuple("0123456789"))))
>>> net.receptive_field, num_parameters(net)
(3070, 355360)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlzoo.errors import UserError, at_least, between
from dlzoo.layers.dilated import GatedLayer, receptive_field
from dlzoo.layers.mu_law import NUM_LEVELS
from dlzoo.layers.recurrent import State
from dlzoo.nets.base import SampleNet
from dlzoo.specs.audio import AudioSpec

MAX_DOUBLINGS = 16
MAX_RECEPTIVE_FIELD = 2**18
"""Samples, 16 seconds at 16 kHz: the inputs of each layer as far back are held, and copied at each sample."""


class WaveNet(SampleNet):
    """For recordings, with or without classes.

    Args:
        num_units: size of each layer.
        num_skip: size of the layers that all others lead to.
        num_layers: layers of a block, whose dilations double from 1.
        num_blocks: blocks of such layers.
        kernel: samples that each convolution takes.
        conditional: whether the class is given, where the data have classes.
    """

    accepts = (AudioSpec,)

    def __init__(
        self,
        spec: AudioSpec,
        *,
        num_units: int = 32,
        num_skip: int = 128,
        num_layers: int = 10,
        num_blocks: int = 3,
        kernel: int = 2,
        conditional: bool = True,
    ) -> None:
        super().__init__()
        at_least(1, "net", num_units=num_units, num_skip=num_skip)
        between(1, MAX_DOUBLINGS, "net", num_layers=num_layers)
        between(1, 100, "net", num_blocks=num_blocks)
        between(2, 64, "net", kernel=kernel)
        self.num_units = num_units
        self.num_conditions = spec.target.num_outputs if conditional and spec.target.classes is not None else 0
        dilations = [2**i for i in range(num_layers)] * num_blocks
        self.receptive_field = receptive_field(kernel, dilations)
        if self.receptive_field > MAX_RECEPTIVE_FIELD:
            raise UserError(
                f"net.num_layers={num_layers}, net.num_blocks={num_blocks} and net.kernel={kernel} are a receptive "
                f"field of {self.receptive_field:,} samples, all of which are kept for the next sample; at most "
                f"{MAX_RECEPTIVE_FIELD:,} are possible: lower net.num_layers"
            )
        self.embedding = nn.Embedding(NUM_LEVELS, num_units)
        self.layers = nn.ModuleList(
            GatedLayer(num_units, kernel=kernel, dilation=dilation, is_last=i == len(dilations) - 1)
            for i, dilation in enumerate(dilations)
        )
        size = 2 * num_units * len(dilations)
        self.condition = nn.Linear(self.num_conditions, size, bias=False) if self.num_conditions else None
        self.skip = nn.Linear(num_units * len(dilations), num_skip)
        self.hidden = nn.Linear(num_skip, num_skip)
        self.output = nn.Linear(num_skip, NUM_LEVELS)

    def start(self, batch_size: int, condition: Tensor | None = None) -> State:
        """What is added inside the units of each layer, (N, B, 1, 2 C), and the inputs that each has seen, zeros."""
        weight = self.embedding.weight
        added = weight.new_zeros(batch_size, 2 * self.num_units * len(self.layers))
        if self.condition is not None and condition is not None:
            added = self.condition(condition.to(weight.dtype))
        added = added.view(batch_size, 1, len(self.layers), -1).permute(2, 0, 1, 3)
        return (added, *(weight.new_zeros(batch_size, layer.num_past, self.num_units) for layer in self.gated))

    def step(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """x: (B, T) levels -> logits (B, T, 256) of the level after each, and the state to continue with."""
        added, *pasts = self.start(x.shape[0]) if state is None else state
        hidden, units, after = self.embedding(x), [], []
        for layer, past, condition in zip(self.gated, pasts, added, strict=True):
            hidden, unit, past = layer(hidden, past, condition)
            units.append(unit)
            after.append(past)
        skip = F.relu(self.skip(torch.cat(units, -1)))  # the sum of a linear map of each layer's units
        return self.output(F.relu(self.hidden(skip))), (added, *after)

    @property
    def gated(self) -> list[GatedLayer]:
        return list(self.layers)  # type: ignore[arg-type]
