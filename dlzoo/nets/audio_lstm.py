"""A recurrent net that predicts the next sample of a recording, as a rival of WaveNet.

S. Mehri et al., "SampleRNN: An Unconditional End-to-End Neural Audio Generation Model", 2017, with its lowest tier
alone: one sample a step, and a class as condition. By default of the size of `dlzoo.nets.wavenet.WaveNet`:

>>> from dlzoo.layers.basic import num_parameters
>>> from dlzoo.specs.targets import Classes
>>> digits = AudioSpec(8000, 8000, Classes(tuple("0123456789")))
>>> num_parameters(AudioLSTM(digits))  # 256*32 + 4*246*(42+246+2) + 247*256
356784
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlzoo.errors import at_least
from dlzoo.layers.mu_law import NUM_LEVELS
from dlzoo.layers.recurrent import CellName, Recurrent, State
from dlzoo.nets.base import SampleNet
from dlzoo.specs.audio import AudioSpec


class AudioLSTM(SampleNet):
    """For recordings, with or without classes.

    Args:
        embedding: size of a level's vector.
        num_units: units of each recurrent layer.
        num_layers: number of recurrent layers.
        conditional: whether the class is given, where the data have classes.
    """

    accepts = (AudioSpec,)

    def __init__(
        self,
        spec: AudioSpec,
        *,
        cell: CellName = "lstm",
        embedding: int = 32,
        num_units: int = 246,
        num_layers: int = 1,
        conditional: bool = True,
    ) -> None:
        super().__init__()
        at_least(1, "net", embedding=embedding)
        self.num_conditions = spec.target.num_outputs if conditional and spec.target.classes is not None else 0
        self.embedding = nn.Embedding(NUM_LEVELS, embedding)
        self.recurrent = Recurrent(cell, embedding + self.num_conditions, num_units, num_layers=num_layers)
        self.output = nn.Linear(num_units, NUM_LEVELS)

    def start(self, batch_size: int, condition: Tensor | None = None) -> State:
        """The class (B, K), and no state of the recurrent layers, which begin at zero."""
        weight = self.embedding.weight
        given = weight.new_zeros(batch_size, self.num_conditions) if condition is None else condition.to(weight.dtype)
        return (given,)

    def step(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """x: (B, T) levels -> logits (B, T, 256) of the level after each, and the state to continue with."""
        condition, *parts = self.start(x.shape[0]) if state is None else state
        before = None if not parts else parts[0] if len(parts) == 1 else tuple(parts)
        inputs = torch.cat([self.embedding(x), condition[:, None].expand(-1, x.shape[1], -1)], -1)
        outputs, after = self.recurrent(inputs, before)
        return self.output(outputs), (condition, *((after,) if isinstance(after, Tensor) else after))
