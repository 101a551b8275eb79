"""Spoken digits, tones and augmentation."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from dlzoo.data.audio.augment import AugmentSound, shifted
from dlzoo.data.audio.spoken_digits import SpokenDigits
from dlzoo.data.audio.tones import CLASSES, MIDDLE_C, SCALE, Tones
from dlzoo.errors import UserError
from dlzoo.layers import mu_law


def digits(data_dir: Path, **options: Any) -> SpokenDigits:
    data = SpokenDigits(data_dir=data_dir, seconds=0.2, **options)
    data.prepare_data()
    data.setup()
    return data


def test_spoken_digits_by_takes_and_by_speaker(stand_in_data: Path) -> None:
    data = digits(stand_in_data)
    assert data.spec.shape == (1, 1600)
    sizes = [data.arrays(split).num_rows for split in ("train", "val", "test")]  # type: ignore[arg-type]
    assert sizes == [108, 12, 40]
    assert data.arrays("test").y.bincount().tolist() == [4] * 10
    by_speaker = digits(stand_in_data, split="speaker")
    assert by_speaker.arrays("test").num_rows == 80
    ids = [{*map(int, part)} for part in (*by_speaker.fit_ids(), by_speaker.test_ids())]
    assert not ids[2] & (ids[0] | ids[1])
    assert {name.split("_")[1] for name in by_speaker.names if by_speaker.is_test(name)} == {"theo"}


def test_the_archive_is_read_in_place(stand_in_data: Path) -> None:
    folder = stand_in_data / SpokenDigits.folder
    expected = digits(stand_in_data).arrays("test")
    with zipfile.ZipFile(folder / SpokenDigits.archive, "w") as archive:
        for path in sorted((folder / "recordings").iterdir()):
            archive.write(path, f"free-spoken-digit-dataset-1.0.10/recordings/{path.name}")
    shutil.rmtree(folder / "recordings")
    assert torch.equal(digits(stand_in_data).arrays("test").x, expected.x)
    (folder / SpokenDigits.archive).write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"v1\.0\.10\.zip is damaged"):
        digits(stand_in_data)


def test_a_changed_recording_is_noticed(stand_in_data: Path) -> None:
    path = stand_in_data / SpokenDigits.folder / "recordings" / "0_george_1.wav"
    path.write_bytes(path.read_bytes()[:-2] + b"ab")
    with pytest.raises(UserError, match="not those of version"):
        digits(stand_in_data)


def test_a_missing_recording_is_named(stand_in_data: Path) -> None:
    (stand_in_data / SpokenDigits.folder / "recordings" / "3_theo_1.wav").unlink()
    with pytest.raises(UserError, match="3_theo_1"):
        digits(stand_in_data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_speaker": "teo", "split": "speaker"}, "did you mean 'theo'"),
        ({"seconds": 0}, "data.seconds=0 must be above 0"),
        ({"seconds": 1e5}, "data.seconds=100000.0 at 8,000 Hz are 800,000,000 samples, but 10,000,000 at most"),
        ({"sample_rate": 10}, "data.sample_rate=10"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SpokenDigits(**options)


@pytest.mark.realdata
def test_the_published_recordings(real_data_dir: Path) -> None:
    data = SpokenDigits(data_dir=real_data_dir)
    test = data.load("test")
    assert test.x.shape == (300, 1, 8000)
    assert test.y.bincount().tolist() == [30] * 10


@pytest.mark.parametrize("kind", CLASSES)
def test_tones_are_balanced_and_drawn_once(kind: Any) -> None:
    data = Tones(kind=kind, num_recordings=100, seconds=0.1)
    data.setup()
    x, y = data.arrays("train")[:2]
    assert x.shape[1:] == (1, 800)
    assert x.abs().max() <= 1
    assert {*y.tolist()} == {*range(len(CLASSES[kind]))}
    again = Tones(kind=kind, num_recordings=100, seconds=0.1, seed=7)
    assert torch.equal(again.load("test").x, data.load("test").x)


def test_the_pitch_of_a_tone_is_that_of_its_note() -> None:
    data = Tones(num_recordings=80, seconds=1.0)
    x, y, _ = data.load("train")
    loudest = torch.fft.rfft(x[:, 0]).abs().argmax(1).float()
    expected = MIDDLE_C * 2 ** (torch.tensor([*SCALE.values()])[y] / 12)
    assert (loudest - expected).abs().max() <= 1, "bins are 1 Hz apart"


def test_augmentation_changes_what_it_says() -> None:
    x, y = torch.rand(6, 1, 100) - 0.5, torch.arange(6)
    assert torch.equal(AugmentSound()(x, y)[0], x)
    moved = AugmentSound(shift=0.2)(x, y)[0]
    assert any(torch.equal(moved[0], shifted(x[:1], torch.tensor([k]))[0]) for k in range(-20, 21))
    louder = AugmentSound(gain=6.0)(x, y)[0]
    ratio = louder.abs().amax(2) / x.abs().amax(2)
    assert (ratio >= 10 ** (-0.3) - 1e-4).all()
    assert (ratio <= 10**0.3 + 1e-4).all()
    noisy = AugmentSound(noise=0.1)(x, y)[0]
    assert not torch.equal(noisy, x)
    assert (noisy - x).std() < 0.1 * x.std()
    short = torch.cat([x[..., :60], torch.zeros(6, 1, 40)], dim=2)
    assert mu_law.lengths(AugmentSound(noise=0.1)(short, y)[0]).eq(60).all(), "no noise behind the end"
    with pytest.raises(UserError, match="requires recordings"):
        AugmentSound(shift=0.1)(torch.rand(2, 3, 8, 8), y)
