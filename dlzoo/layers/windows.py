"""Windows that slide over signals and images: where they stand, what lies outside, and what is computed in each.

As everywhere in deep learning, "convolution" does not flip the kernel (Goodfellow, Bengio, Courville, "Deep Learning",
2016, section 9.1).

>>> import torch
>>> x, kernel = torch.tensor([[[1.0, 1, 2, 2, 3, 3, 2, 2, 1, 1]]]), torch.tensor([[0.5, 1, 0.5]])
>>> convolve(x, kernel, Window((3,), padding="none")).tolist()
[[[2.5, 3.5, 4.5, 5.5, 5.5, 4.5, 3.5, 2.5]]]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from dlzoo.errors import SpecError, UserError, at_least, pick

PaddingName = Literal["zeros", "replicate", "reflect", "none"]
PoolName = Literal["max", "avg", "min"]

_PAD_MODES = {"zeros": "constant", "replicate": "replicate", "reflect": "reflect", "none": ""}


@dataclass(frozen=True)
class Window:
    """A window of some size, and how it moves.

    Args:
        size: (W,) for signals, (H, W) for images.
        stride: positions between two windows, in each direction.
        padding: what lies outside: zeros, the value at the border, what it mirrors, or nothing.
        num_padding: p, positions added on each side; None: "same" padding at stride 1, 2p = f - 1 (for an even f
            one more behind).
    """

    size: tuple[int, ...]
    stride: int = 1
    padding: PaddingName = "zeros"
    num_padding: int | None = None

    def __post_init__(self) -> None:
        pick(self.padding, _PAD_MODES, "net.padding")
        at_least(1, "net", stride=self.stride)
        if self.num_padding is not None:
            at_least(0, "net", num_padding=self.num_padding)
        if self.padding == "none" and self.num_padding:
            raise UserError(
                f"net.num_padding={self.num_padding} needs net.padding=zeros, replicate or reflect, not none"
            )

    def margins(self, size: int) -> tuple[int, int]:
        """Positions added before and behind, for a side of the window of this size."""
        if self.padding == "none":
            return 0, 0
        return ((size - 1) // 2, size // 2) if self.num_padding is None else (self.num_padding, self.num_padding)

    def output_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Each side of w becomes floor((w + 2p - f) / s) + 1.

        Raises:
            SpecError: the window is larger than what it should slide over.
        """
        return tuple(self._output_side(side, size) for side, size in zip(shape, self.size, strict=True))

    def _output_side(self, side: int, size: int) -> int:
        before, behind = self.margins(size)
        if side + before + behind < size:
            shown = "x".join(map(str, self.size))
            raise SpecError(f"a window of {shown} exceeds {side} values; change net.padding or its size")
        if self.padding == "reflect" and behind >= side:
            raise SpecError(
                f"{side} values cannot be reflected by {behind}; choose net.padding=replicate or zeros, or a "
                f"smaller window or net.num_padding"
            )
        return (side + before + behind - size) // self.stride + 1

    def padded(self, x: Tensor) -> Tensor:
        """(B, C, *shape) with what lies outside."""
        margins = [margin for size in reversed(self.size) for margin in self.margins(size)]
        return F.pad(x, margins, mode=_PAD_MODES[self.padding]) if any(margins) else x


def convolve(x: Tensor, kernel: Tensor, window: Window) -> Tensor:
    """Each channel through each kernel, channel by channel.

    Args:
        x: (B, C, W) or (B, C, H, W).
        kernel: (N, W') or (N, H', W').

    Returns:
        (B, C * N, …)
    """
    planes = window.padded(x.flatten(0, 1).unsqueeze(1))
    over = F.conv1d if kernel.ndim == 2 else F.conv2d
    maps = over(planes, kernel.unsqueeze(1), stride=window.stride)
    return maps.reshape(x.shape[0], -1, *maps.shape[2:])


def pool(x: Tensor, operation: PoolName, window: Window) -> Tensor:
    """(B, C, …) -> (B, C, …): the largest, the mean or the smallest value in each window.

    What padding adds counts as a value.

    >>> import torch
    >>> pool(torch.tensor([[[1.0, 5.0, 2.0, 3.0]]]), "min", Window((2,), stride=2, padding="none")).tolist()
    [[[1.0, 2.0]]]
    """
    x = window.padded(x)
    for dim, size in enumerate(window.size, start=2):
        x = x.unfold(dim, size, window.stride)
    windows = x.flatten(2 + len(window.size))
    if operation == "avg":
        return windows.mean(-1)
    return windows.amax(-1) if operation == "max" else windows.amin(-1)
