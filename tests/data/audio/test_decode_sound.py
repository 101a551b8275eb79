"""Sound files of every kind are read alike, and what cannot be read is a sentence that names the file."""

from __future__ import annotations

import contextlib
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from sound_stand_ins import tone, write

from dlzoo.data.audio import decode as sound
from dlzoo.data.audio.decode import Decode, forms_in_words, ratio_of, read_recordings
from dlzoo.data.folders import files
from dlzoo.data.folders.tree import ZipTree
from dlzoo.errors import UserError

DECODE = Decode(8000, 1200)


@pytest.mark.parametrize(
    ("subtype", "tolerance"),
    [("PCM_U8", 1 / 127), ("PCM_16", 1e-4), ("PCM_24", 1e-6), ("PCM_32", 1e-6), ("FLOAT", 1e-6), ("DOUBLE", 1e-6)],
)
def test_every_sample_width_gives_the_same_sound(subtype: str, tolerance: float, tmp_path: Path) -> None:
    x, form = DECODE(str(write(tmp_path / "a.wav", tone(440), subtype=subtype)))
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, tone(440), atol=tolerance)
    assert (form.sample_rate, form.channels) == (8000, 1)


def test_channels_are_averaged(tmp_path: Path) -> None:
    both = np.stack([tone(440), 0.5 * tone(440)], 1)
    x, form = DECODE(str(write(tmp_path / "a.wav", both, subtype="FLOAT")))
    np.testing.assert_allclose(x, 0.75 * tone(440), atol=1e-6)
    assert forms_in_words([form], DECODE) == ["1 of 1 recordings have several channels, which are averaged"]


@pytest.mark.parametrize("rate", [4000, 11025, 16000, 44100, 48000, 44101])
def test_other_rates_are_resampled(rate: int, tmp_path: Path) -> None:
    samples = np.sin(2 * np.pi * 440 * np.arange(round(0.2 * rate)) / rate) / 2
    x, _ = DECODE(str(write(tmp_path / "a.wav", samples, rate)))
    expected = np.sin(2 * np.pi * 440 * np.arange(1200) / 8000) / 2
    inside = slice(50, 1150)
    np.testing.assert_allclose(x[inside], expected[inside], atol=0.01)


def test_short_recordings_are_filled_up_and_long_ones_cut(tmp_path: Path) -> None:
    short, _ = DECODE(str(write(tmp_path / "a.wav", tone(440, 0.05))))
    assert short.shape == (1200,)
    assert short[:400].any()
    assert not short[400:].any()
    long, _ = DECODE(str(write(tmp_path / "b.wav", tone(440, 3.0))))
    np.testing.assert_allclose(long, tone(440, 3.0)[:1200], atol=1e-4)


def test_silence_stays_silence(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", np.zeros(500))
    for decode in (DECODE, Decode(8000, 1200, is_normalized=True)):
        assert not decode(str(path))[0].any()


def test_loudness_is_equal_if_asked_for(tmp_path: Path) -> None:
    x, _ = Decode(8000, 1200, is_normalized=True)(str(write(tmp_path / "a.wav", tone(440, amplitude=0.1))))
    assert abs(x).max() == 1


def damaged(kind: str, folder: Path) -> Path:
    """A file that cannot be read."""
    path = write(folder / "good.wav", tone(440), subtype="FLOAT" if kind in ("nan", "loud") else "PCM_16")
    content = path.read_bytes()
    if kind in ("nan", "loud"):
        soundfile.write(path, tone(440) * (np.nan if kind == "nan" else 1000), 8000, subtype="FLOAT")
        return path
    contents = {
        "empty": b"", "header": content[:20], "no samples": content[:36], "cut off": content[:1000],
        "zero-length": content[:40] + bytes(4), "text": b"this is no sound\n" * 50,
        "rate": content[:24] + (2**31 - 1).to_bytes(4, "little") + content[28:],
    }  # fmt: skip
    path.write_bytes(contents[kind])
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("empty", "it is empty"), ("header", "it is cut off: it ends before its samples begin"),
        ("no samples", "it is cut off"), ("cut off", "its header announces 2,400 bytes of sound, but 956 follow"),
        ("zero-length", "it has no sample"), ("text", "Format not recognised"), ("nan", "not finite"),
        ("loud", "data.normalize=true"), ("rate", "Hz"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_a_sentence(kind: str, reason: str, tmp_path: Path) -> None:
    path = damaged(kind, tmp_path)
    with pytest.raises(UserError, match="cannot be read as sound") as error:
        DECODE(str(path))
    assert str(path) in str(error.value)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_a_cut_off_flac_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, 8000), 8000)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match="cannot be read as sound"):
        Decode(8000, 8000)(str(path))


@pytest.mark.parametrize("name", ["missing.wav", "."])
def test_what_is_no_file_is_a_sentence(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        DECODE(str(tmp_path / name))


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "AU", "RF64"])
def test_a_file_that_was_cut_off_is_a_sentence(kind: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a", tone(440), 8000, format=kind, subtype="PCM_16")
    content = (tmp_path / "a").read_bytes()
    assert not np.allclose(DECODE(io.BytesIO(content))[0], 0)
    with pytest.raises(UserError, match=r"is cut off: its header announces 2,4\d\d bytes of sound, but [\d,]+ follow"):
        DECODE(io.BytesIO(content[:1500]))


@pytest.mark.parametrize("announced", [0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFDB, 0xFFFFFFFF])
@pytest.mark.parametrize("kind", ["WAV", "AU"])
def test_a_file_written_without_knowing_its_end_is_read_to_its_end(kind: str, announced: int, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a", tone(440), 8000, format=kind, subtype="PCM_16")
    content = bytearray((tmp_path / "a").read_bytes())
    if kind == "WAV":
        content[4:8] = min(announced + 36, 0xFFFFFFFF).to_bytes(4, "little")
        content[40:44] = announced.to_bytes(4, "little")
    else:
        content[8:12] = announced.to_bytes(4, "big")
    x, form = DECODE(io.BytesIO(bytes(content)))
    np.testing.assert_allclose(x, tone(440), atol=1e-4)
    assert form.seconds == 0.15


def test_an_empty_recording_with_a_title_is_not_taken_for_a_stream(tmp_path: Path) -> None:
    content = bytearray(write(tmp_path / "a.wav", tone(440)).read_bytes()[:44])
    title = b"LIST" + (10).to_bytes(4, "little") + b"INFOsilent"
    content[4:8], content[40:44] = (36 + len(title)).to_bytes(4, "little"), bytes(4)
    with pytest.raises(UserError, match="it has no sample"):
        DECODE(io.BytesIO(bytes(content) + title))


def test_a_compressed_stream_of_unknown_length_is_a_sentence(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", tone(440), 8000)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21:26] = bytes([content[21] & 0xF0, 0, 0, 0, 0])  # the number of samples
    with pytest.raises(UserError, match="its header does not say how long it is, as in a stream"):
        DECODE(io.BytesIO(bytes(content)))


def test_files_that_can_be_read_are_read_beside_others(tmp_path: Path) -> None:
    good: list[Any] = [str(write(tmp_path / f"{i}.wav", tone(440))) for i in range(2)]
    x, problems, forms = read_recordings(DECODE, [good[0], str(damaged("empty", tmp_path)), good[1]])
    assert x.shape == (2, 1, 1200)
    assert x.dtype == torch.float32
    assert [*problems] == [1]
    assert len(forms) == 2
    content = io.BytesIO(Path(good[0]).read_bytes())
    assert torch.equal(read_recordings(DECODE, [content])[0][0], x[0])


@pytest.mark.parametrize(("rate", "new"), [(383_989, 8000), (383_987, 383_989), (101, 44_101), (44_101, 101)])
def test_rates_without_a_common_factor_take_no_seconds(rate: int, new: int) -> None:
    """The filter has weights in proportion to the factors: a file of a kilobyte took 4 seconds, and 400 MB."""
    up, down = ratio_of(rate, new)
    assert 1 <= up <= 10_000 >= down >= 1
    assert up / down == pytest.approx(new / rate, rel=5e-5)


def test_rates_of_files_are_those_of_sound(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"its header says 99 Hz; from 100 to 384,000 are read"):
        DECODE(str(write(tmp_path / "a.wav", tone(440), 99)))


def test_hours_of_silence_in_a_small_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros(500_000, np.int16), 384_000)
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(sound, "MAX_FRAMES", 400_000)
    assert not DECODE(str(path))[0].any(), "what is not needed is not read"
    with pytest.raises(UserError, match=r"it has 500,000 samples of a channel to read, but at most 400,000 are"):
        Decode(100, 1000)(str(path))


def test_channels_without_end_are_read_in_small_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, sizes = write(tmp_path / "a.wav", np.full((2000, 1000), 0.5)), []
    read = soundfile.SoundFile.read

    def watched(self: Any, frames: int, **options: Any) -> Any:
        sizes.append(frames * self.channels)
        return read(self, frames, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", watched)
    np.testing.assert_allclose(DECODE(str(path))[0], 0.5, atol=1e-4)
    assert max(sizes) <= sound.BLOCK


def test_large_recordings_of_an_archive_are_unpacked_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.wav", tone(440))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.wav", "a.wav")
    (member,) = ZipTree(tmp_path / "a.zip").members
    alone: list[Any] = []
    monkeypatch.setattr(files, "one_at_a_time", lambda is_large: alone.append(is_large) or contextlib.nullcontext())
    for limit in (member.size - 1, member.size):
        monkeypatch.setattr(files, "LARGE_BYTES", limit)
        DECODE(member)
    assert alone == [True, False]
