"""M5: five layers of convolutions on the samples themselves.

W. Dai, C. Dai, S. Qu, J. Li, S. Das, "Very Deep Convolutional Neural Networks for Raw Waveforms", 2017, table 1, where
it has 0.5 million parameters:

>>> from dlzoo.specs.targets import Classes
>>> num_parameters(AudioCNNRaw(AudioSpec(8000, 32000, Classes(tuple("0123456789")))))
559114
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from dlzoo.errors import SpecError, at_least
from dlzoo.layers.basic import num_parameters as num_parameters
from dlzoo.nets.base import Net
from dlzoo.specs.audio import AudioSpec

FIRST_KERNEL, FIRST_STRIDE, POOL = 80, 4, 4
MIN_LENGTH = FIRST_STRIDE * POOL**4
"""Below it the last pooling has nothing left."""


class AudioCNNRaw(Net):
    """For recordings of at least 1,024 samples; the published net is for 32,000.

    Args:
        num_units: channels of the first two convolutions; the third has twice and the fourth four times as many.
    """

    accepts = (AudioSpec,)

    def __init__(self, spec: AudioSpec, *, num_units: int = 128) -> None:
        super().__init__()
        at_least(1, "net", num_units=num_units)
        if spec.length < MIN_LENGTH:
            raise SpecError(
                f"audio_cnn_raw needs at least {MIN_LENGTH:,} samples, but the data gives {spec.describe()}, which are "
                f"{spec.length:,}: raise data.seconds"
            )
        first = nn.Conv1d(1, num_units, FIRST_KERNEL, FIRST_STRIDE, padding=FIRST_KERNEL // 2)
        sizes = (num_units, num_units, 2 * num_units, 4 * num_units)
        convolutions = [first, *(nn.Conv1d(a, b, 3, padding=1) for a, b in pairwise(sizes))]
        self.layers = nn.Sequential()
        for convolution, size in zip(convolutions, sizes, strict=True):
            self.layers += nn.Sequential(convolution, nn.BatchNorm1d(size), nn.ReLU(), nn.MaxPool1d(POOL))
        self.output = nn.Linear(sizes[-1], spec.target.num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, 1, L) -> (B, K) logits or values."""
        return self.output(self.layers(x).mean(-1))
