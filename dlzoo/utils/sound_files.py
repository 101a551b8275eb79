"""Writing sound files."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def wav(samples: np.ndarray, sample_rate: int) -> bytes:
    """(L,) in [-1, 1] as a WAV file of 16 bits."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def wav_files(x: np.ndarray, sample_rate: int) -> dict[str, bytes]:
    """(N, L) in [-1, 1] as N files by name: 00000.wav, …"""
    digits = max(5, len(str(len(x))))
    return {f"{i:0{digits}d}.wav": wav(samples, sample_rate) for i, samples in enumerate(x)}
