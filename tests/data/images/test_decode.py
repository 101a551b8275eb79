"""Every kind of image becomes the same kind of tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audit import audited
from photo_folders import GREY, RED
from PIL import Image

from dlzoo.data.images import decode
from dlzoo.data.images.decode import Decode, to_8_bits
from dlzoo.errors import UserError
from dlzoo.specs.resize import Resize


def palette(color: tuple[int, int, int], transparent: bool) -> Image.Image:
    image = Image.new("P", (6, 6), 1)
    image.putpalette([0, 0, 0, *color])
    if transparent:
        image.info["transparency"] = 1
    return image


@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("rgb.png", Image.new("RGB", (6, 6), RED), RED),
        ("grey.png", Image.new("L", (6, 6), 90), GREY),
        ("black and white.png", Image.new("1", (6, 6), 1), (255, 255, 255)),
        ("palette.png", palette(RED, False), RED),
        ("transparent palette.png", palette(RED, True), (255, 255, 255)),
        ("transparent palette.gif", palette(RED, True), (255, 255, 255)),
        ("opaque.png", Image.new("RGBA", (6, 6), (*RED, 255)), RED),
        ("transparent.png", Image.new("RGBA", (6, 6), (*RED, 0)), (255, 255, 255)),
        ("half transparent.png", Image.new("RGBA", (6, 6), (*RED, 128)), (255, 127, 127)),
        ("grey with alpha.png", Image.new("LA", (6, 6), (90, 255)), GREY),
        ("cmyk.jpg", Image.new("CMYK", (16, 16), (0, 255, 255, 0)), RED),
        ("16 bits.png", Image.fromarray(np.full((6, 6), 90 * 257, np.uint16)), GREY),
        ("16 bits.tif", Image.fromarray(np.full((6, 6), 90 * 257 + 100, np.uint16)), GREY),
        ("brightest.pgm", Image.fromarray(np.full((6, 6), 65535, np.uint16)), (255, 255, 255)),
        ("color.bmp", Image.new("RGB", (6, 6), RED), RED),
        ("color.webp", Image.new("RGB", (6, 6), GREY), GREY),
    ],
)
def test_every_kind_of_image(name: str, image: Image.Image, expected: tuple[int, ...], tmp_path: Path) -> None:
    image.save(tmp_path / name)
    colored = Decode(3, 4, 5)(str(tmp_path / name))
    assert (colored.shape, colored.dtype) == ((3, 4, 5), np.uint8)
    assert np.abs(colored[:, 2, 2].astype(int) - expected).max() <= 2
    assert np.ptp(colored, axis=(1, 2)).max() <= 2
    grey = Decode(1, 4, 5)(str(tmp_path / name))
    assert grey.shape == (1, 4, 5)
    assert grey[0, 2, 2] == pytest.approx(np.dot(expected, (0.299, 0.587, 0.114)), abs=2)


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [(np.full((2, 2), 0.5, np.float32), "floating"), (np.full((2, 2), 70000, np.int32), "16 bits")],
)
def test_numbers_of_unknown_range_are_refused(pixels: np.ndarray, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        to_8_bits(Image.fromarray(pixels), "RGB")


def corners(path: Path, quality: dict[str, Any], orientation: int = 1) -> None:
    """Left half red, right half blue, its upper left sixth green; 48 x 24 pixels as stored."""
    pixels = np.zeros((24, 48, 3), np.uint8)
    pixels[:, :24, 0] = pixels[:, 24:, 2] = 255
    pixels[:8, :8] = (0, 255, 0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif, **quality)


@pytest.mark.parametrize("extension", ["png", "jpg"])
def test_exif_orientation(extension: str, tmp_path: Path) -> None:
    """Orientation 6: the picture was taken with the camera turned; stored left is shown on top."""
    corners(tmp_path / f"a.{extension}", {"quality": 95}, orientation=6)
    upright = Decode(3, 48, 24)(str(tmp_path / f"a.{extension}")).astype(int)
    assert np.abs(upright[:, 4, 20] - (0, 255, 0)).max() < 40  # the green corner is at the upper right
    assert np.abs(upright[:, 12, 12] - (255, 0, 0)).max() < 40
    assert np.abs(upright[:, 40, 12] - (0, 0, 255)).max() < 40


def test_crop_and_squash(tmp_path: Path) -> None:
    corners(tmp_path / "a.png", {})
    crop = Decode(3, 12, 12, Resize("crop"))(str(tmp_path / "a.png")).astype(int)
    squash = Decode(3, 12, 12, Resize("squash"))(str(tmp_path / "a.png")).astype(int)
    assert crop[:, 1, 1].tolist() == [255, 0, 0]  # the middle 24 x 24: the green corner is cut off
    assert crop[:, 6, 10].tolist() == [0, 0, 255]
    assert squash[:, 0, 0].tolist() == [0, 255, 0]
    assert squash[:, 11, 2].tolist() == [255, 0, 0]


@pytest.mark.parametrize(("height", "width"), [(20, 30), (80, 120), (200, 300)])
def test_a_large_jpeg_looks_as_if_resized_from_all_its_pixels(height: int, width: int, tmp_path: Path) -> None:
    cells = np.random.default_rng(0).integers(0, 256, (100, 150), np.uint8)
    image = Image.fromarray(cells).resize((600, 400), Image.Resampling.BICUBIC)
    image.save(tmp_path / "a.jpg", quality=95)
    fast = Decode(1, height, width)(str(tmp_path / "a.jpg"))[0].astype(int)
    exact = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(fast - exact).mean() < 2


def test_a_file_that_is_a_program_is_not_run(tmp_path: Path) -> None:
    """Pillow goes by the content, and has Ghostscript make a picture of this."""
    path = tmp_path / "photo.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n")
    with audited(tmp_path) as violations, pytest.raises(UserError, match="not an image of a known format"):
        Decode(3, 8, 8)(str(path))
    assert violations == []
    Image.init()
    assert {*decode.FORMATS} <= {*Image.OPEN}
