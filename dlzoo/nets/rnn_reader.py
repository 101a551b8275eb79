"""Reader: a recurrent net that reads a sequence step by step, or an image row by row, and predicts at the end.

The cells and their papers are in dlzoo/layers/recurrent.py. Images as sequences are a classic test of memory: Q. V.
Le, N. Jaitly, G. E. Hinton, "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units", 2015, which
reads MNIST pixel by pixel; by rows it is 28 steps of 28 pixels.

>>> from dlzoo.layers.basic import num_parameters
>>> from dlzoo.specs.targets import Classes
>>> mnist = ImageSpec(1, 28, 28, Classes(tuple("0123456789")))
>>> num_parameters(Reader(mnist))  # 4 * (128 * (28 + 128) + 2 * 128) + 128 * 10 + 10
82186
"""

from __future__ import annotations

from torch import Tensor, nn

from dlzoo.layers import basic as layers
from dlzoo.layers.padding import lengths_of
from dlzoo.layers.recurrent import CellName, Recurrent
from dlzoo.nets.base import Net
from dlzoo.specs.inputs import ImageSpec, SequenceSpec


class Reader(Net):
    """For sequences and images.

    Args:
        num_units: units of each recurrent layer.
        num_layers: number of recurrent layers.
        dropout: dropout rate of the outputs of each recurrent layer.
        bidirectional: a second layer reads from the end.
    """

    accepts = (SequenceSpec, ImageSpec)

    def __init__(
        self,
        spec: SequenceSpec | ImageSpec,
        *,
        cell: CellName = "lstm",
        num_units: int = 128,
        num_layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        images, sequences = spec.images, spec.sequences
        self.is_padded = sequences is not None and sequences.is_padded
        num_inputs = images.channels * images.width if images else sequences.num_inputs if sequences else 0
        between = dropout if num_layers > 1 else 0.0
        self.recurrent = Recurrent(
            cell, num_inputs, num_units, num_layers=num_layers, dropout=between, bidirectional=bidirectional
        )
        self.dropout = layers.dropout(dropout)
        self.output = nn.Linear(self.recurrent.num_outputs, spec.target.num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, D), NaN behind a sequence's end, or (B, C, H, W) as H steps -> (B, K) logits or values."""
        if x.ndim == 4:
            x = x.transpose(1, 2).flatten(2)
        lengths = None
        if self.is_padded:
            lengths, x = lengths_of(x), x.nan_to_num(0.0)
        outputs, _ = self.recurrent(x, lengths=lengths)
        return self.output(self.dropout(self.recurrent.last(outputs, lengths)))
