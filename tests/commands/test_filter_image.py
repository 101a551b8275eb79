"""Filters on files: the loop definition, sizes by the formula, and mistakes named by the keys of this command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import Terminal

from dlzoo.commands import filter_image

MODES = {"zeros": "constant", "replicate": "edge", "reflect": "reflect"}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """13 wide and 9 high, in colour."""
    path = tmp_path / "my photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)).save(path)
    return path


def by_loops(plane: np.ndarray, kernel: np.ndarray, padding: str, stride: int) -> np.ndarray:
    """The definition: at each place the sum of products, the kernel not turned around."""
    f = len(kernel)
    margins = ((f - 1) // 2, f // 2)
    if padding != "none":
        plane = np.pad(plane, (margins, margins), mode=MODES[padding])  # type: ignore[call-overload]
    places = [range(0, side - f + 1, stride) for side in plane.shape]
    return np.array([[(plane[i : i + f, j : j + f] * kernel).sum() for j in places[1]] for i in places[0]])


def reference(x: np.ndarray, kernel: str, size: int, padding: str, stride: int) -> np.ndarray:
    right = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    if kernel == "sobel":
        return np.hypot(*(reference(x, part, size, padding, stride) for part in ("sobel_x", "sobel_y")))
    weights = {"sobel_x": right, "sobel_y": right.T, "blur": np.full((size, size), 1 / size**2)}[kernel]
    return np.stack([by_loops(plane, weights, padding, stride) for plane in x])


@pytest.mark.parametrize("kernel", filter_image.KERNELS)
@pytest.mark.parametrize(("padding", "stride"), [("zeros", 1), ("replicate", 2), ("reflect", 1), ("none", 3)])
def test_the_file_holds_the_loop_definition(
    kernel: str, padding: str, stride: int, photo: Path, terminal: Terminal
) -> None:
    code, out, err = terminal(
        filter_image.main, f"input={photo}", f"kernel={kernel}", "size=4", f"padding={padding}", f"stride={stride}"
    )
    path = photo.with_name(f"my photo_{kernel}.png")
    assert (code, err, out.endswith(f"   {path}\n")) == (0, "", True)
    x = np.asarray(Image.open(photo)).transpose(2, 0, 1) / 255
    y = reference(x, kernel, 4, padding, stride)
    largest = np.abs(y).max()
    shown = {"blur": y * 255, "sobel": y / largest * 255}.get(kernel, 128 + 127 * y / largest)
    written = np.asarray(Image.open(path)).transpose(2, 0, 1)
    assert written.shape == y.shape
    assert np.abs(written - shown).max() <= 0.51  # rounded
    f, p = (4 if kernel == "blur" else 3), (0 if padding == "none" else 1)
    if f == 3 or padding == "none":
        assert written.shape[1:] == ((9 + 2 * p - f) // stride + 1, (13 + 2 * p - f) // stride + 1)
    if kernel != "blur":
        assert f"{largest:.4g}   " in out


def test_several_kernels(photo: Path, terminal: Terminal) -> None:
    code, out, _ = terminal(filter_image.main, f"input={photo}", "kernel=sobel,blur")
    assert (code, len(out.splitlines())) == (0, 2)
    assert {file.name for file in photo.parent.iterdir()} == {photo.name, "my photo_sobel.png", "my photo_blur.png"}
    assert "sobel    13 x 9 pixels, white is " in out


@pytest.mark.parametrize(
    ("stored", "words", "mode"), [("L", [], "L"), ("RGB", ["grey=true"], "L"), ("RGBA", [], "RGB")]
)
def test_grey_and_colour(stored: str, words: list[str], mode: str, terminal: Terminal, tmp_path: Path) -> None:
    Image.new(stored, (20, 20), "gray").save(tmp_path / "in.png")
    words = [
        f"input={tmp_path / 'in.png'}",
        "kernel=blur",
        "padding=replicate",
        f"output={tmp_path / 'out.png'}",
        *words,
    ]
    assert terminal(filter_image.main, *words).code == 0
    with Image.open(tmp_path / "out.png") as image:
        assert (image.mode, image.size) == (mode, (20, 20))
        assert np.all(np.asarray(image) == 128)


def test_a_turned_photo_is_filtered_upright(terminal: Terminal, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (30, 10), "red").save(tmp_path / "phone.jpg", exif=exif)
    assert terminal(filter_image.main, f"input={tmp_path / 'phone.jpg'}", "kernel=blur").code == 0
    with Image.open(tmp_path / "phone_blur.png") as image:
        assert image.size == (10, 30)


def test_a_flat_picture_has_no_slope() -> None:
    for kernel, level in {"sobel": 0, "sobel_x": 128}.items():
        pixels, _ = filter_image.to_pixels(torch.zeros(1, 2, 2), kernel)
        assert pixels.tolist() == [[[level, level], [level, level]]]


def test_mistakes(photo: Path, terminal: Terminal) -> None:
    (photo.parent / "none.png").write_bytes(b"none")
    known = [f"input={photo}", "kernel=blur"]
    says = {
        ("kernel=blur",): "input is missing",
        (f"input={photo}",): "kernel is missing",
        (f"input={photo}", "kernel=sobbel"): "kernel=sobbel is unknown; did you mean 'sobel'",
        (f"input={photo.parent}/my foto.png", "kernel=blur"): "did you mean 'my photo.png'",
        (f"input={photo.parent}", "kernel=blur"): "this is a folder",
        (f"input={photo.parent}/none.png", "kernel=blur"): "cannot be read as an image",
        (*known, "stride=0"): "error: stride=0 must be at least 1",
        (*known, "size=0"): "error: size=0 must be at least 1",
        (*known, "size=30", "padding=none"): "change padding or size",
        (*known, "size=30", "padding=reflect"): "choose padding=replicate",
        (*known, "padding=mirror"): "padding=mirror is unknown",
        (*known, "size=ten"): "must be an integer",
        (*known, f"output={photo}"): "would overwrite an input file",
        (*known, "output=x.jpg"): "the extension must be .png",
        (known[0], "kernel=blur,sobel", "output=x.png"): "is one file, but there are 2 kernels",
    }
    for words, message in says.items():
        assert message in terminal.mistake(filter_image.main, *words)
    assert {file.name for file in photo.parent.iterdir()} == {photo.name, "none.png"}


def test_a_picture_that_would_fill_memory(photo: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filter_image, "MAX_PIXELS", 5)
    assert "the limit is 5" in terminal.mistake(filter_image.main, f"input={photo}", "kernel=sobel")
