"""Generated sound in the formats of files that people have, and in that of the spoken digits."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile


def tone(pitch: float, seconds: float = 0.15, rate: int = 8000, amplitude: float = 0.5) -> np.ndarray:
    """(L,), a sine with a little noise."""
    draw = np.random.default_rng(round(pitch))
    times = np.arange(round(seconds * rate)) / rate
    return amplitude * np.sin(2 * np.pi * pitch * times) + 0.01 * draw.standard_normal(len(times))


def write(path: Path, samples: np.ndarray, rate: int = 8000, subtype: str = "PCM_16", **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype=subtype, **options)
    return path


def write_spoken_digits(data_dir: Path, monkeypatch: pytest.MonkeyPatch, num_takes: int = 8) -> None:
    """The recordings of two speakers, fewer and shorter; the pitch tells the digit."""
    from dlzoo.data.audio.spoken_digits import SpokenDigits

    speakers = {"george": 1.0, "theo": 1.03}
    monkeypatch.setattr(SpokenDigits, "speakers", tuple(speakers))
    monkeypatch.setattr(SpokenDigits, "num_takes", num_takes)
    monkeypatch.setattr(SpokenDigits, "num_test_takes", 2)
    folder, total = data_dir / SpokenDigits.folder / "recordings", hashlib.sha256()
    for name in SpokenDigits(data_dir=data_dir).names:
        digit, speaker, take = name.removesuffix(".wav").split("_")
        path = write(folder / name, tone(300 * 1.2 ** int(digit) * speakers[speaker] + int(take)))
        total.update(name.encode() + path.read_bytes())
    monkeypatch.setattr(SpokenDigits, "sha256", total.hexdigest())


def write_folder(path: Path, num_each: int = 8, **options: Any) -> Path:
    """A folder of two classes, low and high tones."""
    for name, pitch in {"low": 300.0, "high": 1500.0}.items():
        for i in range(num_each):
            write(path / name / f"{i}.wav", tone(pitch + 20 * i), **options)
    return path
