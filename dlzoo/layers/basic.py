"""Building blocks by name: activations, norms, dropout, initialisers; and input standardisation.

Names follow the literature; each `Literal` lists the values allowed in a config.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlzoo.errors import UserError, pick

ActivationName = Literal[
    "identity",
    "sigmoid",
    "tanh",
    "relu",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "softsign",
    "softplus",
    "exponential",
]
"""Activation function of the hidden layers."""
NormName = Literal["none", "batch", "layer", "unit"]
"""Normalization of the features; unit: to unit Euclidean norm."""
InitName = Literal[
    "default",
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "lecun_uniform",
    "lecun_normal",
    "normal",
]
"""Distribution of the initial weights; default: PyTorch's, uniform."""
M = TypeVar("M", bound=nn.Module)


class Exponential(nn.Module):
    """e^x, for outputs that must be positive."""

    def forward(self, x: Tensor) -> Tensor:
        return x.exp()


_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "identity": nn.Identity,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "softsign": nn.Softsign,
    "softplus": nn.Softplus,
    "exponential": Exponential,
}
ACTIVATION_TYPES = tuple(cls for cls in _ACTIVATIONS.values() if cls is not nn.Identity)
"""The modules that an activity penalty applies to."""


def activation(name: ActivationName) -> nn.Module:
    """A new activation with PyTorch's defaults: leaky ReLU has slope 0.01 (Keras: 0.3), ELU and SELU the papers'."""
    return pick(name, _ACTIVATIONS, "net.activation")()


class UnitNorm(nn.Module):
    """Scale the features of each sample, or the channels at each position of a map, to unit Euclidean norm."""

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=1)


def norm(name: NormName, num_features: int) -> nn.Module:
    """A norm of (B, F): batch (Ioffe & Szegedy 2015), layer (Ba, Kiros & Hinton 2016) or unit norm."""
    table: dict[str, Callable[[], nn.Module]] = {
        "none": nn.Identity,
        "batch": lambda: nn.BatchNorm1d(num_features),
        "layer": lambda: nn.LayerNorm(num_features),
        "unit": UnitNorm,
    }
    return pick(name, table, "net.norm")()


def map_norm(name: NormName, num_channels: int) -> nn.Module:
    """A norm of maps (B, C, H, W). Layer norm is over C, H and W with a gain per channel, so any size works."""
    table: dict[str, Callable[[], nn.Module]] = {
        "none": nn.Identity,
        "batch": lambda: nn.BatchNorm2d(num_channels),
        "layer": lambda: nn.GroupNorm(1, num_channels),
        "unit": UnitNorm,
    }
    return pick(name, table, "net.norm")()


def dropout(rate: float, key: str = "net.dropout") -> nn.Module:
    """Dropout (Srivastava et al. 2014), or an identity for rate 0."""
    if not 0 <= rate < 1:
        raise UserError(f"{key}={rate} must be at least 0 and below 1: it is the fraction of units that are dropped")
    return nn.Dropout(rate) if rate else nn.Identity()


def sequential(*modules: nn.Module) -> nn.Sequential:
    """`nn.Sequential` without identity modules."""
    return nn.Sequential(*(m for m in modules if not isinstance(m, nn.Identity)))


_INITIALISERS: dict[str, Callable[[Tensor], Tensor]] = {
    "glorot_uniform": nn.init.xavier_uniform_,
    "glorot_normal": nn.init.xavier_normal_,
    "he_uniform": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"),
    "he_normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "lecun_uniform": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="linear"),
    "lecun_normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear"),
    "normal": lambda w: nn.init.normal_(w, std=0.05),
}


def halvings(height: int, width: int, smallest: int = 4) -> tuple[int, tuple[int, int]]:
    """How many times maps can be halved until a side is about ``smallest``, and the resulting sides, rounded up.

    >>> [halvings(*sides) for sides in ((28, 28), (32, 32), (64, 64), (8, 8), (12, 20))]
    [(3, (4, 4)), (3, (4, 4)), (4, (4, 4)), (1, (4, 4)), (2, (3, 5))]
    """
    num = max(1, round(math.log2(min(height, width) / smallest)))
    return num, (-(-height // 2**num), -(-width // 2**num))


def pad(x: Tensor, margin: Sequence[int]) -> Tensor:
    """Zero-pad (B, C, H, W) on the right and at the bottom; margin: columns and rows."""
    return F.pad(x, (0, margin[0], 0, margin[1])) if any(margin) else x


def crop(x: Tensor, size: tuple[int, int]) -> Tensor:
    """The top left corner of (B, C, H, W) with this height and width."""
    return x[..., : size[0], : size[1]]


def initialise(module: M, name: InitName) -> M:
    """Re-initialise all linear and convolutional layers, with zero biases; ``default`` keeps PyTorch's initialisation.

    Variances: Glorot & Bengio 2010, 2 / (fan_in + fan_out), for tanh and sigmoid; He et al. 2015, 2 / fan_in, for ReLU
    and its variants; LeCun et al. 1998, 1 / fan_in, for SELU; ``normal``: standard deviation 0.05 whatever the fan.
    """
    if name == "default":
        return module
    draw = pick(name, _INITIALISERS, "net.init")
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            draw(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module


class Standardize(nn.Module):
    """(x - mean) / std, per feature of (B, F), channel of (B, C, H, W) or value of (B, T, D); an identity when both are
    empty."""

    mean: Tensor | None
    std: Tensor | None
    dtype: torch.dtype | None = None
    """What floating-point results are cast to, for a net with weights in half precision."""

    def __init__(self, mean: Sequence[float] = (), std: Sequence[float] = ()) -> None:
        super().__init__()
        if len(mean) != len(std):
            raise ValueError(f"{len(mean)} means, but {len(std)} standard deviations")
        if not all(s > 0 for s in std):
            raise ValueError(f"standard deviations must be positive: {list(std)}")
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float) if mean else None)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float) if std else None)

    def forward(self, x: Tensor) -> Tensor:
        if self.mean is not None and self.std is not None:
            shape = _over(x)
            x = (x - self.mean.view(shape)) / self.std.view(shape)
        return x if self.dtype is None or not x.is_floating_point() else x.to(self.dtype)

    def inverse(self, x: Tensor) -> Tensor:
        """Standardised inputs in the units of the data."""
        if self.mean is None or self.std is None:
            return x
        shape = _over(x)
        return x * self.std.view(shape) + self.mean.view(shape)


def _over(x: Tensor) -> tuple[int, ...]:
    """The shape of statistics that broadcast over x: sequences hold their values last, all others second."""
    return (-1,) if x.ndim == 3 else (-1, *(1 for _ in x.shape[2:]))


class StandardizeNamed(nn.Module):
    """`Standardize` for each of several inputs, of a dict by name."""

    def __init__(self, parts: Mapping[str, Standardize]) -> None:
        super().__init__()
        self.names = tuple(parts)
        self.parts = nn.ModuleList(parts.values())  # by number: an input may be called as a method of ModuleDict is

    def forward(self, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: part(x[name]) for name, part in zip(self.names, self.parts, strict=True)}


def num_parameters(module: nn.Module) -> int:
    """The number of parameters of a module, without buffers."""
    return sum(p.numel() for p in module.parameters())
