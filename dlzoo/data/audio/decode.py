"""Decoding sound files of any rate, sample width and number of channels into recordings of one rate and length.

libsndfile decodes them (soundfile); it accepts a file that was cut off, which is why the lengths that headers announce
are compared with those of the files.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlzoo.data.folders.files import File, ZipMember, alone_if_large
from dlzoo.data.folders.media import Media
from dlzoo.errors import UserError, short, visible
from dlzoo.specs.audio import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, AudioSpec
from dlzoo.utils.files import open_regular

EXTENSIONS = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".au")
"""What libsndfile reads without being told the format."""
RECORDINGS = Media("recording", EXTENSIONS, ".wav or .flac", needs_classes=False)
MAX_BYTES = 2**30
"""Of a file."""
BLOCK = 1 << 16
"""Samples of all channels that are read at a time: a header may announce far more than the file holds."""
MAX_FRAMES = 50_000_000
"""Of a file: a few kilobytes can hold hours of silence."""
MAX_FACTOR = 10_000
"""By which a recording is resampled up or down."""
LOUDEST = 4.0
"""Floating-point files may exceed 1 a little, and are clipped; beyond this their samples have another unit."""
STREAMED = 0x7FFFF000
"""From this number of bytes, or 0, the length in a header is that of a file that was written without knowing its end:
programs write several numbers, all beyond `MAX_BYTES`."""
UNKNOWN = 2**62
"""Frames that libsndfile says a compressed file has whose header does not tell."""

Source = File | io.BytesIO


@dataclass(frozen=True)
class Form:
    """How a file stores its sound."""

    sample_rate: int
    channels: int
    seconds: float


@dataclass(frozen=True)
class Decode:
    """Decode a file to (L,) float32 in [-1, 1]: channels averaged, resampled, cut to the length or filled with zeros.

    Args:
        sample_rate: samples per second; files of other rates are resampled by a polyphase filter.
        length: samples to keep, from the beginning.
        is_normalized: whether the loudest of these samples becomes 1 or -1.
    """

    sample_rate: int
    length: int
    is_normalized: bool = False

    @classmethod
    def of(cls, spec: AudioSpec) -> Decode:
        return cls(spec.sample_rate, spec.length, spec.is_normalized)

    def __call__(self, source: Source) -> tuple[np.ndarray, Form]:
        """The samples, and how the file stores them; `UserError` if it cannot be read as sound."""
        try:
            with alone_if_large(source):
                x, form = read_frames(content_of(source), self._frames)
            return self.fitted(x, form.sample_rate), form
        except (ValueError, OSError, RuntimeError) as error:
            name = "the input" if isinstance(source, io.BytesIO) else str(source)
            raise UserError(f"{visible(name)} cannot be read as sound ({reason(error)})") from None

    def _frames(self, rate: int) -> int:
        """Frames of a file that are enough, with what the resampling filter reaches beyond the end."""
        return math.ceil(self.length * rate / self.sample_rate) + 20 * max(1, math.ceil(rate / self.sample_rate))

    def fitted(self, x: np.ndarray, rate: int) -> np.ndarray:
        """One channel (N,) of any rate -> (L,) float32.

        Raises:
            ValueError: samples that are not finite, or in another unit.
        """
        if not np.isfinite(x).all():
            raise ValueError("it has samples that are not finite numbers")
        loudest = float(np.abs(x).max(initial=0))
        if loudest > LOUDEST and not self.is_normalized:
            raise ValueError(
                f"its loudest sample is {loudest:,.6g}, but floating-point samples lie between -1 and 1: scale it, or "
                "set data.normalize=true"
            )
        if rate != self.sample_rate:
            from scipy.signal import resample_poly

            x = resample_poly(x, *ratio_of(rate, self.sample_rate))
        x = x[: self.length]
        if self.is_normalized and (peak := float(np.abs(x).max(initial=0))) > 0:
            x = x / peak
        return np.pad(x, (0, self.length - len(x))).clip(-1, 1).astype(np.float32)


def ratio_of(rate: int, new: int) -> tuple[int, int]:
    """The factors by which a recording is resampled up and down.

    The filter has twenty weights for each unit of the larger one: those of rates without a common factor are rounded,
    which changes the pitch by less than a tenth of a cent.

    >>> ratio_of(44100, 16000), ratio_of(383_989, 8000)
    ((160, 441), (1, 48))
    """
    ratio = Fraction(new, rate)
    if max(ratio.numerator, ratio.denominator) > MAX_FACTOR:
        is_up = ratio > 1
        ratio = (1 / ratio if is_up else ratio).limit_denominator(MAX_FACTOR)
        ratio = 1 / ratio if is_up else ratio
    return ratio.numerator, ratio.denominator


def content_of(source: Source) -> bytes:
    """The bytes of a file; `ValueError` or `OSError` if they cannot be read."""
    if isinstance(source, io.BytesIO):
        content = source.getvalue()
    elif isinstance(source, ZipMember):
        content = source.read()
    else:
        with open_regular(Path(str(source))) as file:
            content = file.read(MAX_BYTES + 1)
    if not content:
        raise ValueError("it is empty")
    if len(content) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
    return content


def read_frames(content: bytes, num_frames: Callable[[int], int]) -> tuple[np.ndarray, Form]:
    """The first frames (N,) of a file, the mean of its channels, float64 in [-1, 1].

    Args:
        num_frames: how many are enough, by the rate.

    Raises:
        ValueError: no sound file, one without a sample, or one that was cut off.
    """
    import soundfile

    try:
        file: Any = soundfile.SoundFile(io.BytesIO(with_length(content)))
    except soundfile.LibsndfileError as error:
        raise ValueError(str(error.error_string).rstrip(".")) from None
    with file:
        if not MIN_SAMPLE_RATE <= file.samplerate <= MAX_SAMPLE_RATE:
            raise ValueError(
                f"its header says {file.samplerate:,} Hz; from {MIN_SAMPLE_RATE:,} to {MAX_SAMPLE_RATE:,} are read"
            )
        if file.frames > UNKNOWN:
            raise ValueError("its header does not say how long it is, as in a stream: write it to a file anew")
        blocks, num_left = [], min(file.frames, num_frames(file.samplerate))
        if num_left > MAX_FRAMES:
            raise ValueError(
                f"it has {num_left:,} samples of a channel to read, but at most {MAX_FRAMES:,} are: resample it to "
                "a lower rate, or lower data.seconds"
            )
        size = max(1, BLOCK // file.channels)
        while num_left > 0:
            try:
                block = file.read(min(size, num_left), dtype="float64", always_2d=True)
            except soundfile.LibsndfileError as error:
                raise ValueError(str(error.error_string).rstrip(".")) from None
            if not len(block):
                raise ValueError("it is cut off: it holds fewer samples than its header announces")
            blocks.append(block.mean(1))
            num_left -= len(block)
        if not blocks:
            raise ValueError("it has no sample")
        return np.concatenate(blocks), Form(file.samplerate, file.channels, file.frames / file.samplerate)


class SoundBytes(NamedTuple):
    """The samples of a file, as its header announces them."""

    place: int
    """Of the four bytes in the header that say how many bytes of samples there are."""
    order: Literal["little", "big"]
    announced: int
    left: int
    """Bytes of the file from the first sample."""


def with_length(content: bytes) -> bytes:
    """A WAV, AIFF or AU file; one that was written without knowing its end gets its length.

    Raises:
        ValueError: it ends before its samples do.
    """
    found = _sound_bytes(content)
    if found is None:
        return content
    if found.left < found.announced < STREAMED:
        raise ValueError(
            f"it is cut off: its header announces {found.announced:,} bytes of sound, but {found.left:,} follow"
        )
    magic = content[:4]
    is_whole = magic in RIFF and int.from_bytes(content[4:8], RIFF[magic]) + 8 == len(content)
    is_open = found.announced >= STREAMED or (not found.announced and not is_whole)
    if not is_open or magic in (b"FORM", b"RF64"):
        return content
    end = found.place + 4
    return content[: found.place] + found.left.to_bytes(4, found.order) + content[end:]


RIFF: dict[bytes, Literal["little", "big"]] = {b"RIFF": "little", b"RIFX": "big", b"RF64": "little"}
AU: dict[bytes, Literal["little", "big"]] = {b".snd": "big", b"dns.": "little"}


def _sound_bytes(content: bytes) -> SoundBytes | None:
    """None for another format; `ValueError` for a file that ends before its first sample."""
    magic, form = content[:4], content[8:12]
    if magic in AU:
        order = AU[magic]
        start, size = (int.from_bytes(content[i : i + 4], order) for i in (4, 8))
        return SoundBytes(8, order, size, max(len(content) - start, 0))
    if magic in RIFF and form == b"WAVE":
        order, wanted = RIFF[magic], b"data"
    elif magic == b"FORM" and form in (b"AIFF", b"AIFC"):
        order, wanted = "big", b"SSND"
    else:
        return None
    place, large = 12, None
    while place + 8 <= len(content):
        name, size = content[place : place + 4], int.from_bytes(content[place + 4 : place + 8], order)
        if name == b"ds64":  # the lengths of files that may exceed 4 GiB
            large = int.from_bytes(content[place + 16 : place + 24], order)
        if name == wanted:
            left = len(content) - place - 8
            return SoundBytes(place + 4, order, large or size, left)
        place += 8 + size + size % 2
    raise ValueError("it is cut off: it ends before its samples begin")


def reason(error: Exception) -> str:
    """Why a file cannot be read, for a message."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return short(str(error), 200) or type(error).__name__


def read_recordings(
    decode: Decode, sources: Sequence[Source], map_: Callable[..., Iterable[Any]] = map
) -> tuple[Tensor, dict[int, str], list[Form]]:
    """Recordings (N, 1, L) of the files that can be read, why the others cannot, by index, and how each is stored.

    Args:
        map_: in place of ``map``, such as that of a pool of threads.
    """

    def attempt(source: Source) -> tuple[np.ndarray, Form] | str:
        try:
            return decode(source)
        except UserError as error:
            return str(error)

    results = [*map_(attempt, sources)]
    problems = {i: result for i, result in enumerate(results) if isinstance(result, str)}
    good = [result for result in results if not isinstance(result, str)]
    x = np.stack([samples for samples, _ in good]) if good else np.empty((0, decode.length), np.float32)
    return torch.from_numpy(x)[:, None], problems, [form for _, form in good]


def forms_in_words(forms: Iterable[Form], decode: Decode) -> list[str]:
    """What was changed in files of other rates, of several channels or too long, for the start of a run.

    >>> forms = [Form(8000, 1, 0.5), Form(44100, 2, 1), Form(44100, 2, 1.5)]
    >>> print(*forms_in_words(forms, Decode(8000, 8000)), sep="\\n")
    2 of 3 recordings have several channels, which are averaged
    2 of 3 recordings were resampled from 44,100 Hz
    1 of 3 recordings last longer than 1 s, up to 1.5 s: only their beginnings are used (data.seconds)
    """
    forms = [*forms]
    lines = []
    if num := sum(form.channels > 1 for form in forms):
        lines.append(f"{num:,} of {len(forms):,} recordings have several channels, which are averaged")
    rates = sorted({form.sample_rate for form in forms} - {decode.sample_rate})
    if rates:
        num = sum(form.sample_rate != decode.sample_rate for form in forms)
        listed = " and ".join([", ".join(f"{r:,}" for r in rates[:-1]), f"{rates[-1]:,}"][len(rates) == 1 :])
        lines.append(f"{num:,} of {len(forms):,} recordings were resampled from {listed} Hz")
    if num := sum(round(form.seconds * decode.sample_rate) > decode.length for form in forms):
        longest, kept = max(form.seconds for form in forms), decode.length / decode.sample_rate
        lines.append(
            f"{num:,} of {len(forms):,} recordings last longer than {kept:.4g} s, up to {longest:.4g} s: only their "
            "beginnings are used (data.seconds)"
        )
    return lines
