"""How images are resized to the size that a net was trained with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from dlzoo.specs.base import Storable

Fit = Literal["crop", "squash"]
Interpolation = Literal["bilinear", "bicubic"]


@dataclass(frozen=True)
class Resize(Storable):
    """How an image of any size is resized to that of a spec, with antialiasing as in Pillow.

    ``crop`` scales the image to cover the size and crops the centre; ``squash`` changes its aspect ratio.
    ``resize_size`` (height, width) is the size to cover before cropping, rounded as in the evaluation transforms of
    torchvision and timm; without it, the largest possible part is cropped.
    """

    fit: Fit = "crop"
    interpolation: Interpolation = "bilinear"
    resize_size: tuple[int, int] | None = None

    def cover(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the whole image when it is resized to cover ``resize_size``.

        >>> Resize(resize_size=(256, 256)).cover(640, 427)
        (383, 256)
        >>> Resize("squash", resize_size=(256, 256)).cover(640, 427)
        (256, 256)
        """
        assert self.resize_size is not None
        tall, wide = self.resize_size
        if self.fit == "squash":
            return wide, tall
        if tall * width >= wide * height:
            return tall * width // height, tall
        return wide, wide * height // width

    def describe(self, size: tuple[int, int]) -> str:
        """For users of an exported model.

        >>> Resize("crop", "bicubic", (256, 256)).describe((224, 224))
        'resized (bicubic, antialiased) to cover 256x256, centre cropped to 224x224'
        """
        filter = f"({self.interpolation}, antialiased)"
        cover = self.resize_size or size
        how = "to" if self.fit == "squash" else "to cover"
        cut = "" if self.fit == "squash" and cover == size else f", centre cropped to {size[0]}x{size[1]}"
        return f"resized {filter} {how} {cover[0]}x{cover[1]}{cut}"


@dataclass(frozen=True)
class Preprocessing:
    """How the images that weights were trained with were preprocessed."""

    size: tuple[int, int]
    """Height and width in pixels."""
    resize: Resize | None
    """None: unknown, as in checkpoints of earlier versions."""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    bits: int | None = None
    """Significant bits of files with 16 bits per pixel; None: as the brightest pixel needs."""

    def at(self, size: tuple[int, int]) -> Preprocessing:
        """The same part of an image at another size.

        >>> Preprocessing((224, 224), Resize(resize_size=(256, 256))).at((112, 112)).resize.resize_size
        (128, 128)
        """
        resize = self.resize
        if resize is not None and resize.resize_size is not None:
            tall, wide = (round(a * b / c) for a, b, c in zip(resize.resize_size, size, self.size, strict=True))
            resize = replace(resize, resize_size=(tall, wide))
        return replace(self, size=size, resize=resize)
