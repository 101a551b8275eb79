"""Fixed convolutions: Sobel gradients, their magnitude, and the box blur; as an operation, and before a classifier.

I. Sobel, G. Feldman, "A 3x3 Isotropic Gradient Operator for Image Processing", 1968. As everywhere in deep learning,
"convolution" does not flip the kernel: sobel_x is positive where the image gets brighter to the right, sobel_y
where it gets brighter downwards.

>>> from dlzoo.specs.targets import Classes
>>> layers.num_parameters(Filters(ImageSpec(1, 28, 28, Classes(tuple("0123456789")))))  # (4*28*28 + 1) * 10
31370
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlzoo.errors import UserError, at_least, nearest, pick
from dlzoo.layers import basic as layers
from dlzoo.layers.basic import InitName
from dlzoo.layers.windows import PaddingName, Window, convolve
from dlzoo.nets.base import Net
from dlzoo.specs.inputs import ImageSpec

FilterName = Literal["sobel_x", "sobel_y", "sobel_magnitude", "box_blur"]


class FilterBank(nn.Module):
    """Images (B, C, H, W) -> (B, C * N, H', W'): each channel through each of N filters, channel by channel.

    A side of w pixels becomes floor((w + 2p - f) / s) + 1 for kernel size f, padding p and stride s.

    Args:
        filters: names; Sobel kernels are 3x3.
        blur_size: side of the box blur.
        padding: how the image is padded.
        num_padding: p, pixels on each side; None: "same" padding at stride 1, 2p = f - 1 (for an even f one
            more below and to the right).
    """

    sobel: Tensor
    box_row: Tensor

    def __init__(
        self,
        filters: Sequence[FilterName] = ("sobel_x", "sobel_y", "sobel_magnitude", "box_blur"),
        *,
        blur_size: int = 10,
        padding: PaddingName = "zeros",
        num_padding: int | None = None,
        stride: int = 1,
    ) -> None:
        super().__init__()
        at_least(1, "net", blur_size=blur_size)
        sizes = {"sobel_x": 3, "sobel_y": 3, "sobel_magnitude": 3, "box_blur": blur_size}
        self.filters = tuple(filters)
        self.sizes = sorted({pick(name, sizes, "net.filters") for name in self.filters})
        self.windows = {size: Window((size, size), stride, padding, num_padding) for size in self.sizes}
        if not self.filters:
            raise UserError(f"net.filters is empty; {nearest('', sizes)}")
        if len(self.sizes) > 1 and (padding == "none" or num_padding is not None):
            raise UserError(
                f"filters of sizes {self.sizes} give images of different sizes with net.padding={padding} and "
                f"net.num_padding={num_padding}; omit net.num_padding, or choose net.filters of one size"
            )
        right = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
        self.register_buffer("sobel", torch.stack([right, right.T]), persistent=False)
        self.register_buffer("box_row", torch.full((1, 1, 1, blur_size), 1 / blur_size), persistent=False)

    def output_side(self, side: int) -> int:
        """Side length after the filters; `SpecError` if the side is too small for them."""
        size = self.sizes[-1]
        return self.windows[size].output_shape((side, side))[0]

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) -> (B, C * N, H', W')."""
        planes = x.flatten(0, 1).unsqueeze(1)  # (B*C, 1, H, W): every channel becomes a separate image
        maps: dict[str, Tensor] = {}
        if any(name != "box_blur" for name in self.filters):
            gradients = convolve(planes, self.sobel, self.windows[3])
            right, down = gradients[:, :1], gradients[:, 1:]
            maps["sobel_x"], maps["sobel_y"] = right, down
            if "sobel_magnitude" in self.filters:
                # The smallest positive value keeps the gradient of the root finite where the image is constant.
                squares = right.square() + down.square()
                maps["sobel_magnitude"] = squares.clamp_min(torch.finfo(squares.dtype).tiny).sqrt()
        if "box_blur" in self.filters:  # a mean of rows, then of columns: 2f products a pixel instead of f * f
            window = self.windows[self.box_row.shape[3]]
            rows = F.conv2d(window.padded(planes), self.box_row, stride=(1, window.stride))
            maps["box_blur"] = F.conv2d(rows, self.box_row.mT, stride=(window.stride, 1))
        out = torch.cat([maps[name] for name in self.filters], 1)  # (B*C, N, H', W')
        return out.view(x.shape[0], -1, *out.shape[2:])


class Filters(Net):
    """A fixed filter bank followed by a trainable linear layer. For images.

    Args:
        filters: names of the filters; Sobel kernels are 3x3.
        blur_size: side of the box blur.
        padding: how the image is padded.
        num_padding: pixels on each side; None: "same" padding at stride 1.
        stride: of the filters.
    """

    accepts = (ImageSpec,)

    def __init__(
        self,
        spec: ImageSpec,
        *,
        filters: Sequence[FilterName] = ("sobel_x", "sobel_y", "sobel_magnitude", "box_blur"),
        blur_size: int = 10,
        padding: PaddingName = "zeros",
        num_padding: int | None = None,
        stride: int = 1,
        init: InitName = "default",
    ) -> None:
        super().__init__()
        self.bank = FilterBank(filters, blur_size=blur_size, padding=padding, num_padding=num_padding, stride=stride)
        h, w = self.bank.output_side(spec.height), self.bank.output_side(spec.width)
        self.linear = nn.Linear(spec.channels * len(self.bank.filters) * h * w, spec.target.num_outputs)
        layers.initialise(self.linear, init)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) -> (B, K) logits or values."""
        return self.linear(self.bank(x).flatten(1))
