"""Base class of data that are recordings of sound."""

from __future__ import annotations

from typing import ClassVar, Unpack

from dlzoo.data.audio.decode import Decode
from dlzoo.data.base import InMemoryData
from dlzoo.data.options import InMemoryOptions
from dlzoo.errors import UserError, between
from dlzoo.specs.audio import MAX_LENGTH, MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, AudioSpec
from dlzoo.specs.base import Spec, Target

DEFAULT_RATE = 16_000
DEFAULT_SECONDS = 1.0
EVAL_BATCH_SIZE = 64
"""A recording is as large as ten images."""


class AudioData(InMemoryData):
    """Recordings of one rate and length.

    Args:
        sample_rate: samples per second; None: that of the checkpoint, or else of the data set.
        seconds: length of the recordings: longer ones are cut at their end, shorter ones filled up with zeros; None:
            that of the checkpoint, or 1.
        normalize: scale each recording so that its loudest sample is 1 or -1; None: as for the checkpoint, or false.
    """

    kind: ClassVar[type[Spec]] = AudioSpec
    rate: ClassVar[int] = DEFAULT_RATE
    """Samples per second without the option."""

    def __init__(
        self,
        *,
        sample_rate: int | None = None,
        seconds: float | None = None,
        normalize: bool | None = None,
        **common: Unpack[InMemoryOptions],
    ) -> None:
        common.setdefault("eval_batch_size", EVAL_BATCH_SIZE)
        super().__init__(**common)
        between(MIN_SAMPLE_RATE, MAX_SAMPLE_RATE, "data", sample_rate=sample_rate)
        if seconds is not None and not seconds > 0:
            raise UserError(f"data.seconds={seconds} must be above 0")
        self.sample_rate = sample_rate
        self.seconds = seconds
        self.normalize = normalize
        self._adopted: AudioSpec | None = None
        if (length := self.decode.length) > MAX_LENGTH:
            raise UserError(
                f"data.seconds={seconds} at {self.decode.sample_rate:,} Hz are {length:,} samples, but "
                f"{MAX_LENGTH:,} at most are possible: lower data.seconds or data.sample_rate"
            )

    def adopt(self, spec: Spec) -> None:
        super().adopt(spec)
        self._adopted = spec.audio

    @property
    def decode(self) -> Decode:
        """How files become recordings: by the options, else as for the checkpoint, else the defaults."""
        known = self._adopted
        rate = self.sample_rate or (known.sample_rate if known is not None else self.rate)
        seconds = self.seconds or (known.seconds if known is not None else DEFAULT_SECONDS)
        is_normalized = known is not None and known.is_normalized if self.normalize is None else self.normalize
        return Decode(rate, max(1, round(seconds * rate)), is_normalized)

    def spec_of(self, target: Target) -> AudioSpec:
        """The spec with this target."""
        decode = self.decode
        return AudioSpec(decode.sample_rate, decode.length, target, decode.is_normalized)
