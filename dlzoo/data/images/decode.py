"""Image files of any kind become uint8 tensors of one size: for training, and for predictions on new files alike."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from dlzoo.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

Fit = Literal["crop", "squash"]

EXTENSIONS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
"""What Pillow reads without plug-ins."""

LARGE = 20_000_000
"""Pixels of an image that a process decodes alone, so that many threads do not take as many times its memory."""

_alone = threading.Lock()


FORMATS = (
    "PNG", "JPEG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "AVIF", "PPM", "TGA", "ICO", "JPEG2000", "PCX", "SGI",
)  # fmt: skip
"""What a file may hold, whatever its name ends in. Pillow knows others by their content too: of an EPS it has
Ghostscript make a picture, a program that runs what the file says."""


@dataclass(frozen=True)
class Decode:
    """A file becomes (C, H, W) uint8: upright by its EXIF tag, transparency over white, 16 bits scaled to 8.

    ``crop`` scales until the image covers the size and takes its centre; ``squash`` gives up its proportions.
    """

    channels: int
    height: int
    width: int
    fit: Fit = "crop"

    def __call__(self, path: str) -> np.ndarray:
        """`UserError` if the file cannot be read as an image."""
        from PIL import Image

        mode, longest = "L" if self.channels == 1 else "RGB", max(self.width, self.height)
        try:
            _check_file(path)
            with Image.open(path, formats=FORMATS) as file:
                # A JPEG can be decoded at 1/2, 1/4 or 1/8: twice the size wanted loses nothing that can be seen.
                file.draft(mode, (2 * longest, 2 * longest))
                with _alone if file.width * file.height > LARGE else contextlib.nullcontext():
                    image = self._fitted(file, mode)
        except Exception as error:  # a damaged file makes Pillow's many readers fail in as many ways
            raise UserError(f"{path} cannot be read as an image ({_reason(error)})") from None
        return np.asarray(image).reshape(self.height, self.width, self.channels).transpose(2, 0, 1)

    def _fitted(self, file: Image, mode: str) -> Image:
        from PIL import Image, ImageOps

        size, smooth = (self.width, self.height), Image.Resampling.BILINEAR
        image = to_8_bits(ImageOps.exif_transpose(file), mode)
        return ImageOps.fit(image, size, smooth) if self.fit == "crop" else image.resize(size, smooth)


def _check_file(path: str) -> None:
    """`ValueError` for what would be waited for, or read, without end; standard input has been read already."""
    if not isinstance(path, str):
        return
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is no file, but a folder, a pipe or a device")
    if not found.st_size:
        raise ValueError("the file is empty")


def _reason(error: Exception) -> str:
    """What Pillow complains of, without the path, in one line."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "its content is no image of a known kind"
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels, too many to decode"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(f"{error}".split()) or type(error).__name__


def to_8_bits(image: Image, mode: str) -> Image:
    """An image of any Pillow mode as ``L`` or ``RGB``. `ValueError` for numbers whose range is unknown."""
    from PIL import Image as pil

    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers: save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        pixels = np.asarray(image).astype(np.int64)
        if pixels.min() < 0 or pixels.max() > 65535:
            raise ValueError("its pixels have more than 16 bits")
        image = pil.fromarray(((pixels + 128) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = pil.alpha_composite(pil.new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert(mode)


def read_images(
    decode: Decode, paths: Sequence[str], map: Callable[..., Iterable[None]] = map
) -> tuple[Tensor, dict[int, str]]:
    """The images that can be read, in order, (N, C, H, W) uint8; and, by its place, why another cannot.

    Args:
        map: calls the reader for each place, in any order: that of a thread pool reads several files at once.
    """
    x = torch.empty(len(paths), decode.channels, decode.height, decode.width, dtype=torch.uint8)
    pixels, problems = x.numpy(), {}

    def read(i: int) -> None:
        try:
            pixels[i] = decode(paths[i])
        except UserError as error:
            problems[i] = str(error)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about large images and odd tags: they concern nobody here
        for _ in map(read, range(len(paths))):
            pass
    problems = dict(sorted(problems.items()))
    return (x[others(problems, len(paths))] if problems else x), problems


def others(places: Iterable[int], num: int) -> Tensor:
    """A mask (num,) of all places but these."""
    mask = torch.ones(num, dtype=torch.bool)
    mask[list(places)] = False
    return mask
