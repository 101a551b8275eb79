"""Image files of any kind become uint8 tensors of one size: for training, and for predictions on new files alike."""

from __future__ import annotations

import struct
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
        from PIL import Image, ImageOps

        mode, size, smooth = "L" if self.channels == 1 else "RGB", (self.width, self.height), Image.Resampling.BILINEAR
        try:
            with Image.open(path) as file:
                # A JPEG can be decoded at 1/2, 1/4 or 1/8: twice the size wanted loses nothing that can be seen.
                file.draft(mode, (2 * max(size), 2 * max(size)))
                image = to_8_bits(ImageOps.exif_transpose(file), mode)
            image = ImageOps.fit(image, size, smooth) if self.fit == "crop" else image.resize(size, smooth)
        except (OSError, EOFError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
            raise UserError(f"{path} cannot be read as an image ({error})") from None
        return np.asarray(image).reshape(self.height, self.width, self.channels).transpose(2, 0, 1)


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

    for _ in map(read, range(len(paths))):
        pass
    problems = dict(sorted(problems.items()))
    return (x[others(problems, len(paths))] if problems else x), problems


def others(places: Iterable[int], num: int) -> Tensor:
    """A mask (num,) of all places but these."""
    mask = torch.ones(num, dtype=torch.bool)
    mask[list(places)] = False
    return mask
