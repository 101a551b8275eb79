"""Filters on files: the loop definition, sizes by the formula, and mistakes named by the keys of this command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import Terminal

from dlzoo.commands import filter_image
from dlzoo.inference import filtering

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
    size = ["size=4"] if kernel == "blur" else []
    code, out, err = terminal(
        filter_image.main, f"input={photo}", f"kernel={kernel}", f"padding={padding}", f"stride={stride}", *size
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


@pytest.mark.parametrize(("values", "level"), [("positive", 0), ("signed", 128)])
def test_a_flat_picture_has_no_slope(values: filtering.Range, level: int) -> None:
    pixels, _ = filtering.to_pixels(torch.zeros(1, 2, 2), values)
    assert pixels.tolist() == [[[level, level], [level, level]]]


BY_HAND = {
    "a signal": ("values=[1,1,2,2,3,3,2,2,1,1] kernel=[.5,1,.5]", "2.5 3.5 4.5 5.5 5.5 4.5 3.5 2.5"),
    "every second position": ("values=[1,1,2,2,3,3,2,2,1,1] kernel=[.5,1,.5] stride=2", "2.5 4.5 5.5 3.5"),
    "zeros outside": ("values=[1,2,3] kernel=[1,1,1] padding=zeros", "3 6 5"),
    "what is at the border": ("values=[1,2,3] kernel=[1,1,1] padding=replicate", "4 6 8"),
    "mirrored": ("values=[1,2,4] kernel=[1,1,1] padding=reflect", "5 7 8"),
    "two outside": ("values=[1,2] kernel=[1,10] num_padding=2", "0 10 21 2 0"),
    "not flipped": ("values=[[1,2,3],[4,5,6],[7,8,9]] kernel=[[1,0],[0,-2]]", " -9 -10\n-12 -13"),
    "a kernel that is no square": ("values=[[1,2,3],[4,5,6]] kernel=[[1,1,1]]", " 6\n15"),
    "several kernels": ("values=[1,2,3] kernel=[[1,1],[1,-1]]", "kernel_1:\n3 5\nkernel_2:\n-1 -1"),
    "largest": ("values=[[1,2,0,4],[5,3,1,1]] operation=max", "5 4"),
    "smallest": ("values=[[1,2,0,4],[5,3,1,1]] operation=min", "1 0"),
    "mean": ("values=[[1,2,0,4],[5,3,1,1]] operation=avg", "2.75 1.5"),
    "overlapping windows": ("values=[3,1,2,5] operation=max size=3 stride=1", "3 5"),
    "a named kernel": ("values=[[0,0,1],[0,0,1],[0,0,1]] kernel=sobel_x", "4"),
}


@pytest.mark.parametrize(("words", "expected"), BY_HAND.values(), ids=[*BY_HAND])
def test_numbers_by_hand(words: str, expected: str, terminal: Terminal) -> None:
    assert terminal(filter_image.main, *words.split()) == (0, f"{expected}\n", "")


def test_kernels_of_ones_own_on_a_file(photo: Path, terminal: Terminal) -> None:
    kernel = [[1, 0, -1], [2, 0, -2], [1, 0, -1]]
    both = f"kernel=[{kernel},{[[0.5, 0.5]] * 3}]"
    code, out, _ = terminal(filter_image.main, f"input={photo}", both.replace(" ", ""))
    assert code == 2, "kernels of one list must have one shape"
    code, out, _ = terminal(filter_image.main, f"input={photo}", f"kernel={kernel}", "padding=none")
    assert (code, "11 x 7 pixels, black to white is " in out) == (0, True)
    x = np.asarray(Image.open(photo)).transpose(2, 0, 1) / 255
    y = np.stack([by_loops(plane, np.array(kernel), "none", 1) for plane in x])
    written = np.asarray(Image.open(photo.with_name("my photo_kernel.png"))).transpose(2, 0, 1)
    assert np.abs(written - (128 + 127 * y / np.abs(y).max())).max() <= 0.51


def test_pooling_a_file(photo: Path, terminal: Terminal) -> None:
    assert terminal(filter_image.main, f"input={photo}", "operation=max", "size=4").code == 0
    x, written = (np.asarray(Image.open(path)) for path in (photo, photo.with_name("my photo_max.png")))
    assert np.array_equal(written, x[:8, :12].reshape(2, 4, 3, 4, 3).max(axis=(1, 3)))


def test_mistakes(photo: Path, terminal: Terminal) -> None:
    (photo.parent / "none.png").write_bytes(b"none")
    known = [f"input={photo}", "kernel=blur"]
    says = {
        ("kernel=blur",): "give input=<image> or values=<numbers>",
        (f"input={photo}", "values=[1]", "kernel=[1]"): "not both",
        (f"input={photo}",): "kernel is missing",
        (f"input={photo}", "kernel=sobbel"): "kernel=sobbel is unknown; did you mean 'sobel'",
        (f"input={photo.parent}/my foto.png", "kernel=blur"): "did you mean 'my photo.png'",
        (f"input={photo.parent}", "kernel=blur"): "this is a folder",
        (f"input={photo.parent}/none.png", "kernel=blur"): "cannot be read as an image",
        (*known, "stride=0"): "error: stride=0 is too small; it must be at least 1",
        (*known, "size=0"): "error: size=0 is too small; it must be at least 1",
        (*known, "size=30", "padding=none"): "change padding or its size",
        (*known, "size=30", "padding=reflect"): "choose padding=replicate",
        (*known, "padding=mirror"): "padding=mirror is unknown",
        (*known, "size=ten"): "must be an integer",
        (*known, f"output={photo}"): "would overwrite an input file",
        (*known, "output=x.jpg"): "the extension must be .png",
        (known[0], "kernel=blur,sobel", "output=x.png"): "is one file, but there are 2 kernels",
        (known[0], "kernel=sobel", "size=3"): "size=3 is of kernel=blur",
        (known[0], "kernel=[1,2]"): "kernel=[1,2] must be a list of rows",
        (known[0], "kernel=blur", "operation=max"): "kernel=blur is of operation=conv",
        (known[0], "operation=median"): "operation=median is unknown",
        ("values=[1,[2,3]]", "kernel=[1]"): "values has rows of different lengths",
        ("values=[1,two]", "kernel=[1]"): "values contains two, which is no finite number",
        ("values=[1,.nan]", "kernel=[1]"): "which is no finite number",
        ("values=[1,true]", "kernel=[1]"): "values contains True, which is no finite number",
        ("values=5", "kernel=[1]"): "values=5 must be a list of numbers",
        ("values=[]", "kernel=[1]"): "values has 0 numbers",
        ("values=[[[1]]]", "kernel=[1]"): "this list is deeper",
        ("values=[1", "kernel=[1]"): "values",
        ("values=[1,2]", "kernel=sobel"): "but values is a signal",
        ("values=[1,2]", "kernel=[1,2,3]"): "a window of 3 exceeds 2 values",
        ("values=[1,2]", "operation=max", "size=3"): "a window of 3 exceeds 2 values",
        ("values=[1,2]", "kernel=[1]", "grey=true"): "grey is of images",
        ("values=[1,2]", "kernel=[1]", "output=x.png"): "output is of images",
    }
    for words, message in says.items():
        assert message in terminal.mistake(filter_image.main, *words)
    assert {file.name for file in photo.parent.iterdir()} == {photo.name, "none.png"}


def test_a_picture_that_would_fill_memory(photo: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filter_image, "MAX_PIXELS", 5)
    assert "the limit is 5" in terminal.mistake(filter_image.main, f"input={photo}", "kernel=sobel")
