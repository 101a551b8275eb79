"""Mu-law, spectrograms and dilated convolutions: identities of the textbooks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dlzoo.layers import mu_law
from dlzoo.layers.dilated import receptive_field
from dlzoo.layers.spectrogram import LogMel, mel_filterbank


def test_decoding_an_encoded_sample_is_off_by_half_a_level_at_most() -> None:
    x = torch.linspace(-1, 1, 10_001, dtype=torch.float64)
    error = mu_law.compress(mu_law.decode(mu_law.encode(x)).double()) - mu_law.compress(x)
    assert error.abs().max() <= 1 / mu_law.MU + 1e-6
    levels = torch.arange(mu_law.NUM_LEVELS)
    assert torch.equal(mu_law.encode(mu_law.decode(levels)), levels)
    assert torch.equal(mu_law.encode(torch.tensor([-9.0, 0.0, 9.0])), torch.tensor([0, mu_law.SILENCE, 255]))


def test_compressing_and_expanding_are_inverse() -> None:
    x = torch.linspace(-1, 1, 101, dtype=torch.float64)
    torch.testing.assert_close(mu_law.expand(mu_law.compress(x)), x)
    quiet, loud = (mu_law.decode(torch.tensor([a, a + 1])).diff() for a in (130, 250))
    assert loud > 50 * quiet, "levels lie closer together where it is quiet"


def test_levels_before_samples_begin_with_silence() -> None:
    assert mu_law.previous(torch.tensor([[5, 6, 7]])).tolist() == [[mu_law.SILENCE, 5, 6]]


def test_a_recording_ends_with_its_last_sample_that_is_not_zero() -> None:
    x = torch.zeros(3, 1, 10)
    x[0, 0, 4], x[1, 0, 9] = -0.1, 0.1
    assert mu_law.lengths(x).tolist() == [5, 10, 0]


@pytest.mark.parametrize(("num_mels", "num_points", "rate"), [(40, 256, 8000), (64, 400, 16000)])
def test_mel_bands_are_triangles_that_add_up_to_one(num_mels: int, num_points: int, rate: int) -> None:
    bands = mel_filterbank(num_mels, num_points, rate)
    centres = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + rate / 1400), num_mels + 2) / 2595) - 1)
    frequencies = np.linspace(0, rate / 2, num_points // 2 + 1)
    inside = (frequencies >= centres[1]) & (frequencies <= centres[-2])
    torch.testing.assert_close(bands.sum(0)[torch.from_numpy(inside)], torch.ones(int(inside.sum())))
    expected = np.stack([np.interp(frequencies, centres[i : i + 3], [0, 1, 0]) for i in range(num_mels)])
    np.testing.assert_allclose(bands.numpy(), expected, atol=1e-6)


def test_a_spectrogram_is_that_of_the_fourier_transform() -> None:
    x = torch.randn(2, 1, 1000)
    layer = LogMel(8000, num_points=256, hop=80, num_mels=20)
    power = (
        torch.stft(
            x[:, 0], 256, 80, window=torch.hann_window(256), center=True, pad_mode="constant", return_complex=True
        ).abs()
        ** 2
    )
    torch.testing.assert_close(layer(x), (layer.bands @ power + 1e-6).log(), atol=1e-3, rtol=1e-4)


def test_a_tone_is_loudest_in_its_band() -> None:
    bands = mel_filterbank(40, 256, 8000)
    x = torch.sin(2 * torch.pi * 1000 / 8000 * torch.arange(4000))[None, None]
    loudest = LogMel(8000, num_points=256, hop=80, num_mels=40)(x)[0, :, 25].argmax()
    assert bands[loudest, 32] == bands[:, 32].max(), "1000 Hz is the 32nd of 128 frequencies up to 4000"


def test_half_precision_computes_the_spectrogram_in_single() -> None:
    layer, x = LogMel(8000, num_points=256, hop=80, num_mels=20), torch.randn(1, 1, 800) / 1000
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(x), layer(x.clone()))
        found = layer(x)
    torch.testing.assert_close(found, layer(x))


def test_the_receptive_field_of_the_paper() -> None:
    assert receptive_field(2, [2**i for i in range(10)]) == 1024, "the paper: 1, 2, 4, …, 512 has a field of 1024"
