"""Figures of recordings: the samples over time, and the spectrogram below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from dlzoo.visualization.layout import INK, new_panels, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_RECORDINGS = 12
RANGE_DB = 70
"""Below the loudest point everything is equally dark."""
FRAME_SECONDS = 0.032


def recordings(x: Tensor, sample_rate: int, titles: Sequence[str], *, heading: str = "") -> Figure:
    """x: (N, L) in [-1, 1] -> up to twelve recordings, each with its samples and its spectrogram.

    Args:
        titles: one for each.
    """
    num = min(len(x), MAX_RECORDINGS)
    columns = min(num, 4)
    rows = -(-num // columns)
    fig, panels = new_panels(num, width=3.1, height=2.9, left=0.55, columns=columns, heading=heading)
    for i, pitch in enumerate(panels):
        row, column = divmod(i, columns)
        left, below, width, height = pitch.get_position().bounds
        pitch.set_position((left, below, width, 0.62 * height))
        wave = fig.add_axes((left, below + 0.68 * height, width, 0.32 * height))
        samples = x[i].detach().cpu().float().numpy()
        seconds = len(samples) / sample_rate
        style(wave, title=titles[i])
        wave.plot(np.arange(len(samples)) / sample_rate, samples, color=INK, linewidth=0.4)
        peak = max(float(np.abs(samples).max(initial=0)), 1e-3)
        wave.set(xlim=(0, seconds), ylim=(-peak, peak))
        wave.tick_params(labelbottom=False, length=0)
        style(pitch, title="", x="seconds" if row == rows - 1 else "", y="kHz" if column == 0 else "")
        pitch.imshow(
            spectrogram(samples, sample_rate), origin="lower", aspect="auto", cmap="magma", vmin=-RANGE_DB, vmax=0,
            extent=(0, seconds, 0, sample_rate / 2000), interpolation="nearest",
        )  # fmt: skip
        pitch.grid(False)
    return fig


def spectrogram(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """(L,) -> (F, T) decibels below the loudest point; frames of 32 ms under a Hann window, every 8 ms."""
    size = max(16, round(FRAME_SECONDS * sample_rate) // 2 * 2)
    padded = np.pad(samples, (size // 2, size))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[:: size // 4][: max(1, 4 * len(samples) // size)]
    power = np.abs(np.fft.rfft(frames * np.hanning(size), axis=1).T) ** 2
    return 10 * np.log10(np.maximum(power / max(float(power.max()), 1e-12), 1e-12))
