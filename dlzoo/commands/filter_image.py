"""Slide a kernel or a pooling window over an image, or over numbers as in an exercise by hand.

    dlzoo filter_image input=photo.png kernel=sobel
    dlzoo filter_image input=photo.png kernel=sobel_x,sobel_y,blur size=15 padding=replicate
    dlzoo filter_image input=photo.png 'kernel=[[1,0,-1],[1,0,-1],[1,0,-1]]'
    dlzoo filter_image input=photo.png operation=max size=2
    dlzoo filter_image 'values=[1,1,2,2,3,3,2,2,1,1]' 'kernel=[.5,1,.5]'

Options:
    input      the image
    values     instead: numbers, a list for a signal or a list of rows for an image; the result is printed
    kernel     sobel (the gradient magnitude), sobel_x, sobel_y or blur, or several separated by commas; or numbers, a
               list of rows, a list for a signal, or a list of such kernels. Kernels are not flipped
    operation  conv, or the max, avg or min of each window, without a kernel (conv)
    size       side in pixels of the box blur (10) or of the windows of max, avg and min (2)
    padding    values outside: zeros, replicate, reflect or none (zeros for kernels on an image, otherwise none)
    num_padding    pixels of padding on each side; default: as many as keep the size at stride 1
    stride     pixels between positions (1; of max, avg and min: their size)
    grey       true to filter brightness instead of each colour channel (false)
    output     the PNG to write; default: <input>_<kernel>.png alongside the image

A side of w pixels becomes floor((w + 2p - f) / s) + 1. Pixels lie between 0 and 1 before they are filtered. Means are
shown as they are; other sums of what is positive so that the largest is white; differences so that 0 is middle grey and
the largest black or white.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dlzoo.commands import cli, number_lists
from dlzoo.commands.number_lists import Numbers
from dlzoo.errors import UserError, pick
from dlzoo.utils import files as paths

if TYPE_CHECKING:
    from torch import Tensor

    from dlzoo.inference.filtering import Filter
    from dlzoo.nets.filters import FilterName

MAX_PIXELS = 50_000_000
"""Each takes up to 100 bytes while it is filtered."""
MAX_NUMBERS, MAX_KERNEL = 10_000, 2_500
"""The most numbers of values, and of kernels."""

KERNELS: dict[str, FilterName] = {
    "sobel": "sobel_magnitude",
    "sobel_x": "sobel_x",
    "sobel_y": "sobel_y",
    "blur": "box_blur",
}
"""The name of each kernel on the command line, and in the filter bank."""


@dataclass(frozen=True, kw_only=True)
class Options:
    input: str | None = None
    values: str | None = None
    kernel: str | None = None
    operation: Literal["conv", "max", "avg", "min"] = "conv"
    size: int | None = None
    padding: Literal["zeros", "replicate", "reflect", "none"] | None = None
    num_padding: int | None = None
    stride: int | None = None
    grey: bool = False
    output: str | None = None


def main() -> None:
    """The command."""
    cli.execute(command, __doc__)


def command(argv: Sequence[str]) -> None:
    """Filter as the arguments specify; prints numbers, or one line for each image written."""
    options, _ = cli.parse(Options, argv)
    if (options.input is None) == (options.values is None):
        raise UserError("give input=<image> or values=<numbers>" + ("" if options.input is None else ", not both"))
    values = None if options.values is None else numbers_of_values(options)
    num_dims = 2 if values is None else len(values.shape)
    kernels = chosen_kernels(options, num_dims)
    if values is None:
        filter_file(options, kernels)
    else:
        print_filtered(options, values, kernels)


def numbers_of_values(options: Options) -> Numbers:
    """The numbers that are filtered: a signal, or an image of one channel."""
    assert options.values is not None
    if ignored := next((key for key in ("output", "grey") if getattr(options, key)), None):
        raise UserError(f"{ignored} is of images, but values are printed: omit it, or give input=<image>")
    values = number_lists.read(options.values, "values", MAX_NUMBERS)
    if len(values.shape) > 2:
        raise UserError("values must be a list of numbers, or a list of rows; this list is deeper")
    return values


def chosen_kernels(options: Options, num_dims: int) -> list[str] | Numbers:
    """The names of filters, or kernels of numbers (N, …); no names for pooling.

    Raises:
        UserError: a name is unknown, a kernel is missing or has the wrong shape, or an option would be ignored.
    """
    text = options.kernel
    if options.operation != "conv":
        if text is not None:
            raise UserError(f"kernel={text} is of operation=conv; operation={options.operation} has size instead")
        return []
    if text is None:
        raise UserError("kernel is missing: add kernel=<a name or numbers>, or operation=max; see --help")
    if options.size is not None and "blur" not in text:
        raise UserError(f"size={options.size} is of kernel=blur and of operation=max, avg and min: omit it")
    if not text.lstrip().startswith("["):
        names = list(dict.fromkeys(text.split(",")))
        for name in names:
            pick(name, KERNELS, "kernel")
        if num_dims == 1:
            raise UserError(f"kernel={text} is of images, but values is a signal: give a list of numbers as kernel")
        return names
    given = number_lists.read(text, "kernel", MAX_KERNEL)
    if len(given.shape) == num_dims:
        return Numbers([given.lists], (1, *given.shape))
    if len(given.shape) != num_dims + 1:
        wanted = "a list of numbers" if num_dims == 1 else "a list of rows"
        raise UserError(f"kernel={text} must be {wanted}, or a list of several such kernels")
    return given


def operations(options: Options, kernels: list[str] | Numbers, num_dims: int) -> list[Filter]:
    """What the options name."""
    import torch

    from dlzoo.inference import filtering

    is_conv, is_image = options.operation == "conv", options.values is None
    is_padded = options.num_padding is not None or (is_conv and is_image)
    placing = filtering.Placing(
        options.stride, options.padding or ("zeros" if is_padded else "none"), options.num_padding
    )
    if options.operation != "conv":
        return [filtering.pooling(options.operation, num_dims, options.size, placing)]
    if isinstance(kernels, Numbers):
        return filtering.kernels(torch.tensor(kernels.lists), placing)
    return [filtering.named(name, KERNELS[name], options.size, placing) for name in kernels]


def print_filtered(options: Options, values: Numbers, kernels: list[str] | Numbers) -> None:
    """Prints what each operation makes of the numbers."""
    import torch

    from dlzoo.inference import filtering

    x = torch.tensor(values.lists, dtype=torch.float64)[None]
    found = operations(options, kernels, len(values.shape))
    for operation in found:
        if len(found) > 1:
            print(f"{operation.name}:")
        print(filtering.as_text(operation(x)[0]))


def filter_file(options: Options, kernels: list[str] | Numbers) -> None:
    """Writes an image for each operation."""
    assert options.input is not None
    source = paths.existing_file(options.input, "input")
    found = operations(options, kernels, 2)
    if options.output is not None and len(found) > 1:
        raise UserError(
            f"output={options.output} is one file, but there are {len(found)} kernels: omit it, or choose one kernel"
        )
    if options.output is not None and Path(options.output).suffix.lower() != ".png":
        raise UserError(f"output={options.output}: the output is a PNG, so the extension must be .png")
    default = [str(source.with_name(f"{source.stem}_{operation.name}.png")) for operation in found]
    outputs = [paths.writable(options.output or name, "output", source) for name in default]

    from dlzoo.inference import filtering

    x = read_image(source, grey=options.grey)
    for operation, path in zip(found, outputs, strict=True):
        pixels, meaning = filtering.to_pixels(operation(x), operation.range)
        paths.write(path, to_png(pixels))
        print(f"{operation.name:8} {pixels.shape[2]} x {pixels.shape[1]} pixels, {meaning}   {path}")


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


def to_png(pixels: Tensor) -> bytes:
    """(C, H, W) uint8 with one channel or three."""
    from PIL import Image

    image = Image.fromarray(pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).contiguous().numpy())
    content = io.BytesIO()
    image.save(content, format="PNG")
    return content.getvalue()
