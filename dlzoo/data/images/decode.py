"""Decoding image files of any format into uint8 tensors of one size, for training and for predictions alike."""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dlzoo.data.folders.files import File, alone_if_large, one_at_a_time, opened
from dlzoo.data.folders.media import Media
from dlzoo.data.loaders import all_except
from dlzoo.errors import UserError
from dlzoo.specs.resize import Resize

if TYPE_CHECKING:
    from PIL.Image import Image, Resampling

EXTENSIONS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".avif", ".jp2", ".tga",
    ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
"""What Pillow reads without plug-ins."""
IMAGES = Media("image", EXTENSIONS, ".jpg or .png", in_saved_sets=True)

LARGE_PIXELS = 20_000_000
"""Larger images are decoded one at a time, so that many threads do not multiply the memory they take."""

MAX_PROBED_IMAGES = 64
"""Number of files in which images with 16 bits per pixel are looked for."""
MAX_MEASURED_IMAGES = 2000
"""Number of 16-bit files whose brightest pixel is measured."""


FORMATS = (
    "PNG", "JPEG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "AVIF", "PPM", "TGA", "ICO", "JPEG2000", "PCX", "SGI",
)  # fmt: skip
"""Formats a file may have, regardless of its extension. Pillow would detect others by content: it renders an EPS file
with Ghostscript, which executes the code in the file."""


@dataclass(frozen=True)
class Decode:
    """Decode a file to (C, H, W) uint8: rotated by its EXIF tag, alpha composited over white, 16 bits scaled to 8.

    Of an animated image, the first frame is used.
    """

    channels: int
    height: int
    width: int
    resize: Resize = field(default_factory=Resize)
    bits: int = 16
    """Significant bits of files with 16 bits per pixel: cameras write 10, 12 or 14, which would appear black."""

    def __call__(self, path: File | io.BytesIO) -> np.ndarray:
        """Raise `UserError` if the file cannot be read as an image."""
        longest = max(self.width, self.height)
        try:
            with alone_if_large(path), open_image(path) as file:
                # A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size: twice the target size loses nothing visible, but
                # differs from the preprocessing of published weights.
                if self.resize.resize_size is None:
                    file.draft(self._mode, (2 * longest, 2 * longest))
                with one_at_a_time(file.width * file.height > LARGE_PIXELS):
                    return self.fitted(file)
        except Exception as error:  # Pillow's many decoders raise many kinds of errors for corrupt files
            raise UserError(f"{path} cannot be read as an image ({_reason(error)})") from None

    @property
    def _mode(self) -> str:
        return "L" if self.channels == 1 else "RGB"

    def fitted(self, image: Image) -> np.ndarray:
        """An image of any size and mode -> (C, H, W) uint8."""
        from PIL import Image, ImageOps

        how, size = self.resize, (self.width, self.height)
        filter = Image.Resampling[how.interpolation.upper()]
        image = to_8_bits(ImageOps.exif_transpose(image), self._mode, self.bits)
        if how.resize_size is not None:
            image = _resized_and_cropped(image, how.cover(*image.size), size, filter)
        else:
            image = ImageOps.fit(image, size, filter) if how.fit == "crop" else image.resize(size, filter)
        return np.asarray(image).reshape(self.height, self.width, self.channels).transpose(2, 0, 1)


def _resized_and_cropped(image: Image, cover: tuple[int, int], size: tuple[int, int], filter: Resampling) -> Image:
    """The centre of an image resized to ``cover``; bit-identical to torchvision's `Resize` and `CenterCrop`.

    Args:
        size: width and height of the centre.
    """
    left, top = (round((a - b) / 2) for a, b in zip(cover, size, strict=True))
    box = (left, top, left + size[0], top + size[1])
    if cover[0] * cover[1] <= LARGE_PIXELS:
        return image.resize(cover, filter).crop(box)
    # Very elongated images would not fit into memory as a whole: resize the centre alone, which differs by 1 in places.
    x, y = (a / b for a, b in zip(image.size, cover, strict=True))
    ends = (min(box[2] * x, image.width), min(box[3] * y, image.height))
    return image.resize(size, filter, (box[0] * x, box[1] * y, *ends))


def open_image(file: File | io.BytesIO) -> Image:
    """An image that is not decoded yet, to be used as a context; nothing else in this package opens image files.

    Raises:
        ValueError: the file might block or never end, or is empty.
    """
    from PIL import Image

    _check_file(file)
    return Image.open(opened(file), formats=FORMATS)


def _check_file(path: File | io.BytesIO) -> None:
    """`ValueError` for files that might block or never end; standard input has already been read into memory."""
    if not isinstance(path, str):
        return
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is not a file, but a folder, a pipe or a device")
    if not status.st_size:
        raise ValueError("the file is empty")


def _reason(error: Exception) -> str:
    """Pillow's error in one line, without the path."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "its content is not an image of a known format"
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels, too many to decode"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(f"{error}".split()) or type(error).__name__


def to_8_bits(image: Image, mode: str, bits: int = 16) -> Image:
    """Convert an image of any Pillow mode to ``L`` or ``RGB``; `ValueError` for pixels of unknown range.

    Args:
        bits: significant bits of 16.
    """
    from PIL import Image as pil

    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers: save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        pixels = np.asarray(image).astype(np.int64)
        if pixels.min() < 0 or pixels.max() > 65535:
            raise ValueError("its pixels have more than 16 bits")
        if pixels.max() > (most := 2**bits - 1):
            raise ValueError(f"its brightest pixel is {pixels.max():,}, which exceeds {bits} bits: set data.bits=16")
        image = pil.fromarray(((pixels * 255 + most // 2) // most).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = pil.alpha_composite(pil.new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert(mode)


def significant_bits(files: Sequence[File], map: Callable[..., Iterable[int]] = map) -> int:
    """The bits (8, 10, 12, 14 or 16) that the brightest pixel of files with 16 bits needs; 16 without such files.

    Unreadable files are ignored: they are reported when they are decoded.
    """

    def brightest(file: File) -> int:
        try:
            with alone_if_large(file), open_image(file) as image:
                return int(np.asarray(image).max()) if image.mode.startswith("I") else 0
        except Exception:  # as in `Decode`
            return 0

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        few = files[:: -(-len(files) // MAX_PROBED_IMAGES)]
        highest = max(map(brightest, few), default=0)
        if highest:  # otherwise the remaining files are not opened
            highest = max(map(brightest, files[:: -(-len(files) // MAX_MEASURED_IMAGES)]))
    return next((bits for bits in (8, 10, 12, 14) if 0 < highest < 2**bits), 16)


def read_images(
    decode: Decode, paths: Sequence[File | io.BytesIO], map: Callable[..., Iterable[None]] = map
) -> tuple[Tensor, dict[int, str]]:
    """The readable images in order, (N, C, H, W) uint8, and the error messages of the others by index.

    Args:
        map: applies the decoder to each index, in any order; that of a thread pool decodes in parallel.
    """
    x = torch.empty(len(paths), decode.channels, decode.height, decode.width, dtype=torch.uint8)
    pixels, problems = x.numpy(), {}

    def read(i: int) -> None:
        try:
            pixels[i] = decode(paths[i])
        except UserError as error:
            problems[i] = str(error)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about large images and unusual tags
        for _ in map(read, range(len(paths))):
            pass
    problems = dict(sorted(problems.items()))
    return (x[all_except(problems, len(paths))] if problems else x), problems
