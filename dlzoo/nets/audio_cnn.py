"""A convolutional net on the log-mel spectrogram, which it computes itself from the samples.

Spectrograms as images of a convolutional net: O. Abdel-Hamid et al., "Convolutional Neural Networks for Speech
Recognition", 2014; small nets for single words: T. Sainath, C. Parada, "Convolutional Neural Networks for
Small-footprint Keyword Spotting", 2015. Differs in pooling after every convolution, BatchNorm and a mean over time and
pitch at the end, so that the number of parameters does not depend on the length.

>>> from dlzoo.specs.targets import Classes
>>> layers.num_parameters(AudioCNN(AudioSpec(8000, 8000, Classes(tuple("0123456789")))))
98762
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dlzoo.errors import SpecError, at_least
from dlzoo.layers import basic as layers
from dlzoo.layers.spectrogram import LogMel
from dlzoo.nets.base import Net
from dlzoo.specs.audio import AudioSpec


class AudioCNN(Net):
    """For recordings of at least ten frames or so.

    Args:
        num_mels: bands of the spectrogram.
        frame: length of each frame, in seconds.
        hop: time from one frame to the next, in seconds.
        channels: of each convolution, after which time and pitch are halved.
        dropout: dropout rate of the features.
    """

    accepts = (AudioSpec,)

    def __init__(
        self,
        spec: AudioSpec,
        *,
        num_mels: int = 40,
        frame: float = 0.032,
        hop: float = 0.01,
        channels: Sequence[int] = (16, 32, 64, 128),
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        at_least(1, "net", num_mels=num_mels)
        num_points, step = round(frame * spec.sample_rate), round(hop * spec.sample_rate)
        if num_points < 2 or step < 1:
            raise SpecError(
                f"net.frame={frame} and net.hop={hop} are too short for {spec.describe()}: a frame needs 2 samples"
            )
        num_frames, smallest = spec.length // step + 1, 2 ** len(channels)
        if min(num_frames, num_mels) < smallest:
            raise SpecError(
                f"{len(channels)} poolings need {smallest} frames and mel bands, but net.hop={hop} leaves {num_frames} "
                f"frames of {spec.describe()} and net.num_mels={num_mels}: lower net.hop, raise data.seconds or give "
                "fewer net.channels"
            )
        self.spectrogram = LogMel(spec.sample_rate, num_points=num_points, hop=step, num_mels=num_mels)
        self.norm = nn.BatchNorm1d(num_mels)
        self.layers = nn.Sequential()
        before = 1
        for after in channels:
            self.layers += nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)
            )
            before = after
        self.layers += nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            layers.dropout(dropout),
            nn.Linear(before, spec.target.num_outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, 1, L) -> (B, K) logits or values."""
        return self.layers(self.norm(self.spectrogram(x))[:, None])
