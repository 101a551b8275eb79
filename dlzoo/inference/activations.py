"""Inside an image classifier: first-layer kernels, feature maps and Grad-CAM.

Collected by hooks on a forward pass, in execution order, so it works for any net: one that resizes its input,
is frozen, or comes from a library.

R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", 2017. kornia
has no implementation, and other packages need the target layer of each net.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dlzoo.errors import UserError, nearest
from dlzoo.inference.receptive_field import Place, Places, put_in_place
from dlzoo.tasks.base import Task

CHUNK = 8
"""Images processed at once: the maps of a large net take 100 MB per image."""


class Layer(NamedTuple):
    """A layer that was executed."""

    name: str
    kind: str
    output: Tensor
    """Its feature maps, (B, C, H, W) or (B, H, W, C)."""
    channels_last: bool
    places: tuple[Place, Place]
    """Positions of the maps' cells in the image, vertical and horizontal."""

    @property
    def maps(self) -> Tensor:
        """(B, C, H, W)"""
        return self.channels_first(self.output)

    def channels_first(self, like_output: Tensor) -> Tensor:
        return like_output.permute(0, 3, 1, 2) if self.channels_last else like_output

    def describe(self) -> str:
        channels, height, width = self.maps.shape[1:]
        return f"{self.name}  {self.kind}  {channels} of {height}x{width}"


@dataclass
class Trace:
    """A forward pass of images x: (B, C, H, W) through a net."""

    x: Tensor
    layers: list[Layer] = field(default_factory=list)
    """Layers with maps larger than 1x1, in execution order; map sizes never increase."""
    first: str = ""
    """The first layer with weights, ``name  kind``."""
    kernels: Tensor | None = None
    """Its weights as images (O, C, H, W), if they can be shown as such."""

    def __post_init__(self) -> None:
        self.places = Places(self.x.shape[2:])

    def note(self, name: str, module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        """Forward hook of each module of the net."""
        weight = getattr(module, "weight", None)
        if not self.first and isinstance(weight, Tensor) and weight.ndim > 1:
            self.first = f"{name}  {type(module).__name__}"
            self.kernels = as_kernels(weight.detach(), self.x)
        if not isinstance(output, Tensor) or output.ndim != 4 or len(output) != len(self.x):
            return
        if isinstance(inputs[0], Tensor) and inputs[0].ndim == 4:
            self.places.note(module, inputs[0], output)
        channels_last = self.is_channels_last(output)
        sides = output.shape[1:3] if channels_last else output.shape[2:]
        layer = Layer(name, type(module).__name__, output, channels_last, self.places.of(*sides))
        if self.is_feature_map(layer.maps):
            if self.layers and output is self.layers[-1].output:  # modified in place, or returned by the parent module
                self.layers.pop()
            self.layers.append(layer)

    def is_channels_last(self, output: Tensor) -> bool:
        """Whether (B, H, W, C) fits the aspect ratio of the images better than (B, C, H, W)."""
        _, a, b, c = output.shape
        return distortion(a, b, self.x) < distortion(b, c, self.x)

    def is_feature_map(self, maps: Tensor) -> bool:
        """Whether maps (B, C, H, W) are feature maps, not a single point, a resized image, or attention weights."""
        channels, height, width = maps.shape[1:]
        if max(height, width) == 1 or (not self.first and channels == self.x.shape[1]):
            return False
        before = self.layers[-1].maps.shape[2:] if self.layers else (height, width)
        return height <= before[0] and width <= before[1] and distortion(height, width, self.x) < 3


def distortion(height: int, width: int, x: Tensor) -> float:
    """Ratio of the aspect ratios of this size and the images x: (B, C, H, W), at least 1."""
    ratio = height / width * x.shape[3] / x.shape[2]
    return max(ratio, 1 / ratio)


def as_kernels(weight: Tensor, x: Tensor) -> Tensor | None:
    """The weights of a convolution, or of a linear layer on whole images like x: (B, C, H, W)."""
    if weight.ndim == 4:
        return weight
    return weight.view(-1, *x.shape[1:]) if weight.ndim == 2 and weight.shape[1] == x[0].numel() else None


@contextmanager
def tracing(net: nn.Module, x: Tensor) -> Iterator[Trace]:
    """Record the forward pass of ``net`` within the block."""
    trace = Trace(x)
    hooks = [module.register_forward_hook(partial(trace.note, name)) for name, module in net.named_modules() if name]
    try:
        yield trace
    finally:
        for hook in hooks:
            hook.remove()


def look(task: Task, x: Tensor) -> Trace:
    """The trace of a forward pass of x: (B, C, H, W) in [0, 1]."""
    with torch.no_grad(), tracing(task.net, x) as trace:
        task(x)
    return trace


def at_depths(layers: Sequence[Layer], num: int) -> list[Layer]:
    """At most ``num`` layers, first to last: preferably those before a change of map size, else evenly spaced."""
    sizes = [layer.maps.shape[2:] for layer in layers]
    ends = [i for i in range(len(layers)) if i + 1 == len(layers) or sizes[i] != sizes[i + 1]]
    chosen = [ends[i] for i in evenly(len(ends), num)]
    others = (i for i in evenly(len(layers), num) if i not in chosen)
    return [layers[i] for i in sorted([*chosen, *itertools.islice(others, num - len(chosen))])]


def evenly(count: int, num: int) -> list[int]:
    """At most ``num`` evenly spaced indices of 0 … count - 1, including the last.

    >>> evenly(9, 3), evenly(2, 3), evenly(9, 1)
    ([0, 4, 8], [0, 1], [8])
    """
    if count <= num:
        return [*range(count)]
    return sorted(count - 1 - round(i * (count - 1) / max(num - 1, 1)) for i in range(num))


class Heat(NamedTuple):
    """Grad-CAM heatmaps, and their layer."""

    maps: Tensor
    """(B, K, H, W) at the images' resolution, non-negative."""
    layer: Layer


def grad_cam(task: Task, x: Tensor, classes: Tensor, name: str | None = None) -> Heat:
    """x: (B, C, H, W) in [0, 1], classes: (B, K) indices -> a heatmap of each class for each image.

    Args:
        name: name of the layer; None: the last one with maps that the scores depend on.

    Raises:
        UserError: no layer has maps, or none has that name.
    """
    parts = [_heat(task, *part, name) for part in zip(x.split(CHUNK), classes.split(CHUNK), strict=True)]
    return Heat(torch.cat([part.maps for part in parts]), parts[0].layer)


def _heat(task: Task, x: Tensor, classes: Tensor, name: str | None) -> Heat:
    x = x.detach().clone().requires_grad_()  # so that maps have gradients even if all weights are frozen
    with torch.enable_grad(), tracing(task.net, x) as trace:
        scores = class_scores(task(x))
        layers = [layer for layer in trace.layers if layer.output.requires_grad]
        layer = find(layers, name) if name else last_used(layers, scores)
        selected = scores.gather(1, classes)
        heat = torch.stack([weighted(layer, selected[:, k]) for k in range(classes.shape[1])], 1)
    return Heat(put_in_place(heat, layer.places, x.shape[2:]), layer)


def weighted(layer: Layer, scores: Tensor) -> Tensor:
    """scores: (B,) that depend on the layer's maps -> (B, H, W): ReLU of the sum over c of w_c * map_c.

    The weight w_c is the mean over all positions of the gradient of the score with respect to map c.
    """
    (gradients,) = torch.autograd.grad(scores.sum(), layer.output, retain_graph=True, materialize_grads=True)
    weights = layer.channels_first(gradients).mean((2, 3), keepdim=True)
    return (weights * layer.maps).sum(1).relu().detach()


def class_scores(output: Tensor) -> Tensor:
    """(B, K) logits; a single logit z of a binary classifier becomes (-z, z)."""
    return torch.cat([-output, output], 1) if output.shape[1] == 1 else output


def last_used(layers: Sequence[Layer], scores: Tensor) -> Layer:
    for layer in reversed(layers):
        (gradients,) = torch.autograd.grad(scores.sum(), layer.output, retain_graph=True, allow_unused=True)
        if gradients is not None:
            return layer
    raise UserError("no layer of this net has maps that its classes depend on")


def find(layers: Sequence[Layer], name: str) -> Layer:
    for layer in reversed(layers):  # a layer may run more than once
        if layer.name == name:
            return layer
    raise UserError(f"layer={name}: no such layer with maps; {nearest(name, (each.name for each in layers))}")
