"""Generated tones, whose pitch, waveform or chord is known."""

from __future__ import annotations

import math
from typing import Literal, Unpack

import torch
from torch import Tensor

from dlzoo.data.audio.base import AudioData
from dlzoo.data.generated import check_size
from dlzoo.data.loaders import Arrays
from dlzoo.data.options import AudioOptions
from dlzoo.data.splits import holdout
from dlzoo.errors import at_least, between, pick
from dlzoo.specs.audio import AudioSpec
from dlzoo.specs.targets import Classes

ToneKind = Literal["pitch", "waveform", "chord"]

MIDDLE_C = 261.6256
"""Hz, in the tuning of A at 440 Hz."""
SCALE = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11, "c": 12}
"""Semitones above middle C."""
CHORDS = {"major": (0, 4, 7), "minor": (0, 3, 7), "diminished": (0, 3, 6), "augmented": (0, 4, 8)}
"""Semitones above the root."""
WAVEFORMS = ("sine", "square", "triangle", "sawtooth")
CLASSES: dict[str, tuple[str, ...]] = {"pitch": (*SCALE,), "waveform": WAVEFORMS, "chord": (*CHORDS,)}


class Tones(AudioData):
    """Tones of random loudness and phase, by default sines at 8,000 Hz.

    Args:
        kind: what the classes are: the note of a sine, from middle C to the c above (pitch); the waveform of a tone of
            random pitch within that octave (waveform); the kind of a chord of three sines on a random root (chord).
        num_recordings: their total number, including test and validation recordings.
        noise: standard deviation of white noise that is added, where the loudest tone has amplitude 1.
        test_fraction: fraction of the recordings for testing, stratified by class.
        sample_seed: draws the tones and selects those for testing; independent of the run's seed, so that runs are
            comparable.
    """

    rate = 8000

    def __init__(
        self,
        *,
        kind: ToneKind = "pitch",
        num_recordings: int = 1000,
        noise: float = 0.01,
        test_fraction: float = 0.2,
        sample_seed: int = 0,
        **common: Unpack[AudioOptions],
    ) -> None:
        super().__init__(**common)
        self.class_names = pick(kind, CLASSES, "data.kind")
        at_least(10 * len(self.class_names), "data", num_recordings=num_recordings)
        between(0, 1, "data", noise=noise)
        between(0, 1, "data", test_fraction=test_fraction, exclusive=True)
        check_size(num_recordings=num_recordings, length=self.decode.length)
        self.tone_kind = kind
        self.num_recordings = num_recordings
        self.noise = noise
        self.test_fraction = test_fraction
        self.sample_seed = sample_seed

    def declare(self) -> AudioSpec:
        return self.spec_of(Classes(self.class_names))

    def load(self, split: Literal["train", "test"]) -> Arrays:
        draw = torch.Generator().manual_seed(self.sample_seed)
        labels = torch.arange(self.num_recordings) % len(self.class_names)
        x = self._tones(labels, draw)
        amplitude = 0.2 + 0.8 * torch.rand(len(x), 1, generator=draw)
        x = amplitude * x / x.abs().amax(1, keepdim=True)
        x = (x + self.noise * torch.randn(x.shape, generator=draw)).clamp(-1, 1)
        if self.decode.is_normalized:
            x = x / x.abs().amax(1, keepdim=True).clamp(min=1e-12)
        rows = Arrays(x[:, None], labels)
        train, test = holdout(rows, self.declare().target, self.test_fraction, seed=self.sample_seed)
        return rows.take(train if split == "train" else test)

    def _tones(self, labels: Tensor, draw: torch.Generator) -> Tensor:
        """labels: (N,) -> (N, L)"""
        num = len(labels)
        if self.tone_kind == "pitch":
            semitones = torch.tensor([*SCALE.values()])[labels][:, None]
        elif self.tone_kind == "waveform":
            semitones = 12 * torch.rand(num, 1, generator=draw)
        else:
            root = torch.randint(12, (num, 1), generator=draw)
            semitones = root + torch.tensor([*CHORDS.values()])[labels]
        frequencies = MIDDLE_C * 2 ** (semitones / 12)
        cycles = torch.rand(frequencies.shape, generator=draw)[..., None]
        cycles = cycles + frequencies[..., None] / self.decode.sample_rate * torch.arange(self.decode.length)
        if self.tone_kind != "waveform":
            return (2 * math.pi * cycles).sin().sum(1)
        phase = cycles[:, 0] % 1
        forms = ((2 * math.pi * phase).sin(), (phase - 0.5).sign(), 4 * (phase - 0.5).abs() - 1, 2 * phase - 1)
        return torch.stack(forms)[labels, torch.arange(num)]
