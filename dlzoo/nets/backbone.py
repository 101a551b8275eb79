"""Common base of torchvision and timm nets: input preprocessing, a pretrained body and a new head.

Published weights come with a preprocessing, `Backbone.pretrained_preprocessing`: data that read image files follow it
(resize, centre crop), and their spec records it. A `Backbone` takes images of any size with one or three channels,
standardises them as its weights expect, resizes them with the spec's interpolation if their size differs, and feeds
them to the library's net (the *body*), which computes the features that the *head* classifies.
All of this is part of the spec and the module, so checkpoints, predictions and exports behave the same.

The body's *stages* are its blocks, input first. `freeze` freezes the lowest ones, including the running
statistics of BatchNorm; dlzoo/tasks/finetuning.py decides when. Weights are loaded by `load_pretrained`, which
training calls once: rebuilding the net from a checkpoint needs no other file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlzoo.errors import SpecError, UserError, between
from dlzoo.layers import basic as layers
from dlzoo.layers.activation_checkpointing import recompute
from dlzoo.layers.pretrained import Weights, assign, read_weights
from dlzoo.nets.base import BackboneNet
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.resize import Preprocessing, Resize

StemName = Literal["auto", "imagenet", "small"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MAX_SMALL_IMAGE = 64
"""Longest side in pixels up to which net.stem=auto uses the stem for small images."""


@dataclass
class Body:
    """A library's net without its last layer."""

    module: nn.Module
    """(B, 3, H, W) -> (B, F) features; in training a tuple of these and the outputs of ``auxiliary``, in its order."""
    num_features: int
    last_layer: str
    """Name of the removed layer in the library's weight files: ``fc``, ``classifier.6``."""
    size: int
    """Side length in pixels for images without the preprocessing of published weights."""
    auxiliary: Mapping[str, str] = field(default_factory=dict)
    """Names of outputs in training only, with the child that each comes from."""
    least: int = 1
    """Smallest side length in pixels that the net can process."""


class Backbone(BackboneNet):
    """A body and a head. Subclasses take the body from a library.

    Args:
        weights: ``none``, ``imagenet`` (downloaded by the library), or a file: safetensors, a state dict, a dlzoo
            checkpoint. Without weights, inputs are standardised with the data's statistics, if any.
        strict: reject weights that do not match exactly, except for the head; false loads those that match.
        head: units of each hidden layer (ReLU) between the features and the output.
        dropout: dropout rate of the features and of each hidden layer.
        stem: the first layers. ``imagenet`` keeps the library's, which downsample by 4 early on; ``small``
            keeps the resolution, for images of about 32x32; ``auto`` is small for images up to 64 pixels without
            published weights, if the net has such a stem.
        size: side length in pixels that images are resized to; None: that of the published weights with the ImageNet
            stem, their original size with the small one.
        channels_last: use the channels-last memory format, which is faster for most convolutions.
        checkpointing: gradient checkpointing: recompute each stage in the backward pass to save memory.
    """

    accepts = (ImageSpec,)
    standardizes_inputs = True

    name: str = ""
    """The library's name of the net."""
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        spec: ImageSpec,
        *,
        weights: str = "none",
        strict: bool = True,
        head: Sequence[int] = (),
        dropout: float = 0.0,
        stem: StemName = "auto",
        size: int | None = None,
        channels_last: bool = True,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if spec.channels not in (1, 3):
            raise SpecError(f"this net takes grayscale or colour images, but the data gives {spec.describe()}")
        if any(units < 1 for units in head):
            raise UserError(
                f"net.head={list(head)} must give the units of each hidden layer, at least 1; [] means no hidden layer"
            )
        between(1, 4096, "net", size=size)
        self.spec = spec
        self.weights = weights
        self.strict = strict
        small = max(spec.height, spec.width) <= MAX_SMALL_IMAGE and weights != "imagenet"
        self.stem = stem if stem != "auto" else "small" if small and self.has_small_stem else "imagenet"
        if self.stem == "small" and not self.has_small_stem:
            raise UserError("net.stem=small: this net has only its library's stem; use net.stem=imagenet")
        body = self.build_body(self.stem == "small", spec.target.num_outputs)
        self.body = body.module
        self.last_layer, self.auxiliary = body.last_layer, [*body.auxiliary.values()]
        self.training_outputs = tuple(body.auxiliary)
        self.head = _head(body.num_features, head, spec.target.num_outputs, dropout)
        small_size = (max(spec.height, body.least), max(spec.width, body.least))
        published = self.published_preprocessing_of(self.name) if weights != "none" else None
        library_size = (body.size, body.size) if published is None or spec.resize is None else published.size
        default_size = small_size if self.stem == "small" else library_size
        self.size = default_size if size is None else (size, size)
        if min(self.size) < body.least:
            raise UserError(f"net.size={size}: this net needs at least {body.least} pixels; omit net.size")
        mean, std = spec.mean or (0.0,), spec.std or (1.0,)
        if weights != "none":
            mean, std = (published.mean, published.std) if published else (IMAGENET_MEAN, IMAGENET_STD)
        for key, values in (("mean", mean), ("std", std)):
            self.register_buffer(key, torch.tensor(values).expand(3).clone().view(3, 1, 1))
        self.interpolation = "bilinear" if spec.resize is None else spec.resize.interpolation
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.body.to(memory_format=self.memory_format)
        self.stages = stages_of(self.body, without=self.auxiliary)
        self.num_frozen = 0
        if checkpointing:
            for module in (module for stage in self.stages for module in stage):
                recompute(module)

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        return {"strict": (self.weights != "none", "net.weights")}

    @property
    def has_small_stem(self) -> bool:
        """Whether the net has an alternative stem for small images."""
        return False

    def build_body(self, small: bool, num_outputs: int) -> Body:
        """The library's net with random weights; its auxiliary heads have ``num_outputs`` outputs."""
        raise NotImplementedError

    def published(self) -> Weights:
        """The weights that the library publishes, downloaded if necessary."""
        raise NotImplementedError

    @classmethod
    def pretrained_preprocessing(cls, options: Mapping[str, object]) -> Preprocessing | None:
        weights, size, name = (options.get(key) for key in ("weights", "size", "name"))
        if not isinstance(weights, str) or weights == "none" or options.get("stem") == "small":
            return None
        stored = None if weights == "imagenet" else read_weights(weights).preprocessing
        if stored is not None:
            return replace(stored, resize=stored.resize or Resize())
        published = cls.published_preprocessing_of(name if isinstance(name, str) else "")
        return published.at((size, size)) if published is not None and isinstance(size, int) else published

    @classmethod
    def published_preprocessing_of(cls, name: str = "") -> Preprocessing | None:
        """The preprocessing of the weights that the library publishes for a net; None if it publishes none."""
        return None

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        """x: (B, C, H, W) in [0, 1], or their features (B, F) -> (B, K); in training a dict of these, by an empty name,
        and of the auxiliary outputs, if any."""
        if x.ndim == 2:
            return self.head(x)
        out = self.body(self.preprocess(x))
        if not isinstance(out, tuple):
            return self.head(out)
        return {"": self.head(out[0]), **dict(zip(self.training_outputs, out[1:], strict=True))}

    def features(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) in [0, 1] -> (B, F), the input of the head."""
        out = self.body(self.preprocess(x))
        return out[0] if isinstance(out, tuple) else out

    def preprocess(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) in [0, 1] -> (B, 3, H', W') as the body expects it."""
        mean, std = self.mean.to(x.dtype), self.std.to(x.dtype)
        x = (x - mean) / std  # broadcasts grayscale to three channels
        if x.shape[-2:] != self.size:
            x = F.interpolate(x, self.size, mode=self.interpolation, antialias=True)
            if self.interpolation == "bicubic":  # overshoots at edges, where 8-bit pixels are clipped
                x = torch.minimum(torch.maximum(x, -mean / std), (1 - mean) / std)
        return x.contiguous(memory_format=self.memory_format)

    def freeze(self, num_stages: int) -> None:
        """Freeze the lowest stages, in evaluation mode, and make the others trainable."""
        self.num_frozen = num_stages
        self.body.requires_grad_(num_stages < len(self.stages))  # auxiliary heads are useless on a frozen body
        for i, stage in enumerate(self.stages):
            for module in stage:
                module.requires_grad_(i >= num_stages)
        self.train(self.training)

    def train(self, mode: bool = True) -> Backbone:
        super().train(mode)
        if self.num_frozen == len(self.stages):
            self.body.eval()  # including the auxiliary heads
        for stage in self.stages[: self.num_frozen]:
            for module in stage:
                module.eval()
        return self

    def load_pretrained(self) -> list[str]:
        """Load the weights that ``weights`` names; returns one line for each thing that did not match.

        The last layer is kept if its classes match the data's, by name, or by count if the names are unknown and the
        file is not a dlzoo checkpoint. Inputs are then standardised as these weights expect.

        Raises:
            UserError: no such file, no connection, or with ``strict`` tensors that are missing, left over or of
                another shape.
        """
        if self.weights == "none":
            return []
        weights = self.published() if self.weights == "imagenet" else read_weights(self.weights)
        weights = weights.renamed({self.last_layer: _last_linear(self.head)}, body="body", known=self.state_dict())
        names = self.spec.target.names if self.spec.target.classes else ()
        keep_head = (
            weights.classes == names if weights.classes else weights.num_outputs(_last_linear(self.head)) == len(names)
        )
        exclude = () if keep_head else ("head.", *(f"body.{name}." for name in self.auxiliary))
        return assign(self, weights, exclude=exclude, strict=self.strict)


def _head(num_features: int, hidden: Sequence[int], num_outputs: int, dropout: float) -> nn.Sequential:
    modules: list[nn.Module] = [layers.dropout(dropout)]
    for before, units in zip([num_features, *hidden], hidden, strict=False):
        modules += [nn.Linear(before, units), nn.ReLU(), layers.dropout(dropout)]
    return layers.sequential(*modules, nn.Linear([num_features, *hidden][-1], num_outputs))


def _last_linear(head: nn.Sequential) -> str:
    return f"head.{len(head) - 1}"


def stages_of(body: nn.Module, without: Sequence[str] = ()) -> list[list[nn.Module]]:
    """The blocks of a net, input first; a norm belongs to the convolution before it.

    Children are listed in definition order, which in both libraries is the order of execution; plain `Sequential`s and
    `ModuleList`s are descended into.
    """
    stages: list[list[nn.Module]] = []

    def visit(module: nn.Module, skip: Sequence[str] = ()) -> None:
        for name, child in module.named_children():
            parameters = list(child.parameters())
            if name in skip or not parameters:
                continue
            if type(child) in (nn.Sequential, nn.ModuleList):
                visit(child)
            elif stages and all(p.ndim < 2 for p in parameters):
                stages[-1].append(child)
            else:
                stages.append([child])

    visit(body, without)
    return stages
