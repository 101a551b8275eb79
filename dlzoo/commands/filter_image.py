"""Convolve an image with fixed kernels: Sobel derivatives, their magnitude, or a box blur (dlzoo/nets/filters.py).

    dlzoo filter_image input=photo.png kernel=sobel
    dlzoo filter_image input=photo.png kernel=sobel_x,sobel_y,blur size=15 padding=replicate

Options:
    input      the image
    kernel     sobel (the gradient magnitude), sobel_x, sobel_y or blur, or several separated by commas
    size       side of the box blur in pixels (10)
    padding    values outside the image: zeros, replicate, reflect or none (zeros)
    num_padding    pixels of padding on each side; default: as many as keep the size at stride 1
    stride     pixels between positions of the kernel (1)
    grey       true to filter brightness instead of each colour channel (false)
    output     the PNG to write; default: <input>_<kernel>.png alongside the image

A side of w pixels becomes floor((w + 2p - f) / s) + 1. Pixels lie between 0 and 1 before and after a blur; magnitudes
are scaled so that the largest is white, and derivatives so that 0 is middle grey and the steepest black or white.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlzoo.commands import cli
from dlzoo.errors import UserError, pick
from dlzoo.utils import files as paths

if TYPE_CHECKING:
    from torch import Tensor

MAX_PIXELS = 50_000_000
"""Each takes up to 100 bytes while it is filtered."""

KERNELS = {"sobel": "sobel_magnitude", "sobel_x": "sobel_x", "sobel_y": "sobel_y", "blur": "box_blur"}
"""The name of each kernel on the command line, and in the filter bank."""


@dataclass(frozen=True, kw_only=True)
class Options:
    input: str
    kernel: str
    size: int | None = None
    padding: str | None = None
    num_padding: int | None = None
    stride: int | None = None
    grey: bool = False
    output: str | None = None


def main() -> None:
    """The command."""
    cli.execute(command, __doc__)


def command(argv: Sequence[str]) -> None:
    """Filter as the arguments specify; prints one line for each image written."""
    options, _ = cli.parse(Options, argv)
    kernels = list(dict.fromkeys(options.kernel.split(",")))
    for kernel in kernels:
        pick(kernel, KERNELS, "kernel")
    source = paths.existing_file(options.input, "input")
    if options.output is not None and len(kernels) > 1:
        raise UserError(
            f"output={options.output} is one file, but there are {len(kernels)} kernels: omit it, or choose one kernel"
        )
    if options.output is not None and Path(options.output).suffix.lower() != ".png":
        raise UserError(f"output={options.output}: the output is a PNG, so the extension must be .png")
    default = {kernel: str(source.with_name(f"{source.stem}_{kernel}.png")) for kernel in kernels}
    outputs = {kernel: paths.writable(options.output or default[kernel], "output", source) for kernel in kernels}

    x = read_image(source, grey=options.grey)
    settings = {"blur_size": options.size, "padding": options.padding, "num_padding": options.num_padding,
                "stride": options.stride}  # fmt: skip
    for kernel, path in outputs.items():
        y = apply(x, kernel, **{key: value for key, value in settings.items() if value is not None})
        pixels, meaning = to_pixels(y, kernel)
        paths.write(path, to_png(pixels))
        print(f"{kernel:8} {pixels.shape[2]} x {pixels.shape[1]} pixels, {meaning}   {path}")


def read_image(path: Path, *, grey: bool = False) -> Tensor:
    """(C, H, W) in [0, 1], rotated upright: one channel for a grey image, else three."""
    import torch
    from PIL import Image, ImageOps

    from dlzoo.data.images.decode import FORMATS, Decode
    from dlzoo.specs.resize import Resize

    try:
        with Image.open(path, formats=FORMATS) as file:
            width, height = ImageOps.exif_transpose(file).size
            if width * height > MAX_PIXELS:
                raise UserError(f"{path} has {width * height:,} pixels; the limit is {MAX_PIXELS:,}: scale it down")
            is_grey = file.mode in ("1", "L", "LA", "I", "I;16", "I;16B")
    except UserError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read as an image ({error})") from None
    return torch.tensor(Decode(1 if grey or is_grey else 3, height, width, Resize("squash"))(str(path))) / 255


def apply(x: Tensor, kernel: str, **options: Any) -> Tensor:
    """(C, H, W) -> (C, H', W'): each channel through the kernel. Options are those of the `FilterBank`."""
    from dlzoo.nets.filters import FilterBank

    try:
        bank = FilterBank([KERNELS[kernel]], **options)  # type: ignore[list-item]
        for side in x.shape[1:]:
            bank.output_side(side)
    except UserError as error:  # the bank's messages name the keys of a net's config
        raise UserError(str(error).replace("net.blur_size", "size").replace("net.", "")) from None
    return bank(x[None])[0]


def to_pixels(y: Tensor, kernel: str) -> tuple[Tensor, str]:
    """(C, H, W) uint8, and what black and white stand for."""
    import torch

    largest = float(y.abs().max()) or 1.0
    if kernel == "blur":
        scaled, meaning = y, "white is 1"
    elif kernel == "sobel":
        scaled, meaning = y / largest, f"white is {largest:.4g}"
    else:
        scaled, meaning = (128 + 127 * y / largest) / 255, f"black to white is {-largest:.4g} to {largest:.4g}"
    return (scaled * 255).round().clamp(0, 255).to(torch.uint8), meaning


def to_png(pixels: Tensor) -> bytes:
    """(C, H, W) uint8 with one channel or three."""
    from PIL import Image

    image = Image.fromarray(pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).contiguous().numpy())
    content = io.BytesIO()
    image.save(content, format="PNG")
    return content.getvalue()
