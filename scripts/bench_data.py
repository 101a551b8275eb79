"""Data of the benchmark: MNIST or noise of the same shapes, and synthetic series and reviews."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

NUM_IMAGES = {"train": 60_000, "t10k": 10_000}
NUM_HOURS = 20_000
NUM_REVIEWS = 4_000


def read_mnist(data_dir: Path) -> tuple[Tensor, Tensor]:
    """Training images (60000, 1, 28, 28) float32 in [0, 1], and labels (60000,)."""
    raw = data_dir / "MNIST" / "raw"
    x = np.fromfile(raw / "train-images-idx3-ubyte", np.uint8, offset=16).reshape(-1, 1, 28, 28)
    y = np.fromfile(raw / "train-labels-idx1-ubyte", np.uint8, offset=8)
    return torch.from_numpy(x).float().div_(255), torch.from_numpy(y).long()


@contextlib.contextmanager
def mnist_folder() -> Iterator[tuple[Path, str]]:
    """The folder of MNIST and a description: the real files in DLZOO_DATA_DIR, or noise of the same shapes."""
    real = Path(os.environ.get("DLZOO_DATA_DIR", "data")).expanduser().resolve()
    if all((real / "MNIST" / "raw" / f"{split}-images-idx3-ubyte").is_file() for split in NUM_IMAGES):
        yield real, "MNIST"
        return
    with tempfile.TemporaryDirectory() as folder:
        write_noise(Path(folder))
        yield Path(folder), "noise instead of MNIST (no MNIST/raw in DLZOO_DATA_DIR)"


def write_noise(folder: Path) -> None:
    """Write the files of MNIST with random bytes."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for split, num in NUM_IMAGES.items():
        for part, shape, end in (("images-idx3", (num, 28, 28), 256), ("labels-idx1", (num,), 10)):
            header = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
            content = draw.integers(0, end, shape, np.uint8)
            (raw / f"{split}-{part}-ubyte").write_bytes(header + content.tobytes())


def write_hours(path: Path) -> None:
    """Write a CSV file of hourly values: a daily wave with noise."""
    times = np.datetime64("2022-01-01T00") + np.arange(NUM_HOURS)
    wave = 100 + 10 * np.sin(np.arange(NUM_HOURS) * 2 * np.pi / 24)
    values = wave + np.random.default_rng(0).normal(size=NUM_HOURS)
    rows = (f"{time},{value:.3f}\n" for time, value in zip(times.astype("datetime64[m]"), values, strict=True))
    path.write_text("time,load\n" + "".join(rows))


def read_hours(path: Path, window: int, day: int) -> Tensor:
    """Windows (N, W + 1, 1) of standardized day-to-day changes; the last day is dropped, and the one before it does not
    enter the statistics."""
    hours = torch.from_numpy(np.loadtxt(path, delimiter=",", skiprows=1, usecols=1))[:-day]
    changes = (hours[day:] - hours[:-day]).float()
    train = changes[:-day]
    changes = (changes - train.mean()) / train.std()
    return changes.unfold(0, window + 1, 1)[..., None].contiguous()


def write_reviews(path: Path) -> None:
    """Write a table of reviews with the lengths and word frequencies of IMDB's."""
    draw = np.random.default_rng(0)
    lengths = np.exp(draw.normal(5.2, 0.6, NUM_REVIEWS)).clip(10, 2500).astype(int)
    words = np.array([f"word{i}" for i in range(10_000)])
    frequencies = 1 / np.arange(2, len(words) + 2)  # Zipf's law
    word_indices = draw.choice(len(words), int(lengths.sum()), p=frequencies / frequencies.sum())
    texts = (" ".join(words[part]) for part in np.split(word_indices, lengths.cumsum()[:-1]))
    rows = (f"{text},{i % 2}" for i, text in enumerate(texts))
    path.write_text("\n".join(["review,label", *rows]) + "\n")
