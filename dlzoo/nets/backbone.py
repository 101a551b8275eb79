"""What the nets of a library have in common here: pictures that fit themselves, a body that others trained, a new head.

A `Backbone` takes pictures of any size with one channel or three, standardises them as its weights want it, brings
them to its size, and lets the library's net (the *body*) make features of them, from which the *head* tells the
classes. All of that is in the module, so a checkpoint, a prediction and an export do the same.

The body's *stages* are its blocks from the input upwards. `freeze` holds the lowest of them as they are, running
statistics of BatchNorm included; dlzoo/tasks/finetuning.py says when. Weights come in through `load_pretrained`, which
train.py calls once: whoever rebuilds the net from a checkpoint needs no other file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlzoo.errors import SpecError, UserError
from dlzoo.layers import basic as layers
from dlzoo.layers.activation_checkpointing import recompute
from dlzoo.layers.pretrained import Weights, assign, read_weights
from dlzoo.nets.base import BackboneNet
from dlzoo.specs.inputs import ImageSpec

StemName = Literal["auto", "imagenet", "small"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LARGEST_SMALL_PICTURE = 64
"""Pixels of the longer side up to which net.stem=auto takes the stem for small pictures."""


@dataclass
class Body:
    """A library's net without its last layer."""

    module: nn.Module
    """(B, 3, H, W) -> (B, F) features; in training also the outputs of auxiliary heads, as a tuple."""
    num_features: int
    last_layer: str
    """What the removed layer is called in the library's files: ``fc``, ``classifier.6``."""
    size: int
    """Pixels of a side that its published weights were trained with."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    auxiliary: list[str] = field(default_factory=list)
    """The names of children that only training uses."""
    least: int = 1
    """Pixels of a side that the maps survive."""


class Backbone(BackboneNet):
    """A body and a head. Subclasses get the body from a library.

    Args:
        weights: ``none``, ``imagenet`` (downloaded by the library), or a file: safetensors, a state dict, a checkpoint
            of ours. Without weights the inputs are standardised as the data were, if at all.
        strict: refuse weights that do not fit exactly, the head aside; false loads those that do.
        head: units of hidden layers between the features and the output, with ReLU.
        dropout: share of the features, and of each hidden layer, that is dropped in training.
        stem: the first layers. ``imagenet`` are the library's, which soon make a picture four times smaller; ``small``
            keeps its size, for pictures of 32x32 or so; ``auto`` is small for pictures up to 64 pixels without
            published weights, where the net has such a stem.
        size: pixels of a side that pictures are brought to; None: the published size with the ImageNet stem, their own
            with the small one.
        channels_last: keep maps with channels last in memory, which most convolutions prefer.
        checkpointing: in training compute each stage twice instead of keeping its maps: less memory, more time.
    """

    accepts = (ImageSpec,)
    standardizes_inputs = True

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
            raise SpecError(f"this net takes grey pictures or colour, but the data gives {spec.describe()}")
        if any(units < 1 for units in head):
            raise UserError(f"net.head={list(head)} must hold the units of each hidden layer, at least 1; [] is none")
        if size is not None and size < 1:
            raise UserError(f"net.size={size} must be at least 1 pixel")
        self.spec = spec
        self.weights = weights
        self.strict = strict
        small = max(spec.height, spec.width) <= LARGEST_SMALL_PICTURE and weights != "imagenet"
        self.stem = stem if stem != "auto" else "small" if small and self.has_small_stem else "imagenet"
        if self.stem == "small" and not self.has_small_stem:
            raise UserError("net.stem=small: this net has only the stem of its library; take net.stem=imagenet")
        body = self.make_body(self.stem == "small", spec.target.num_outputs)
        self.body = body.module
        self.last_layer, self.auxiliary = body.last_layer, body.auxiliary
        self.published_size = body.size
        self.head = _head(body.num_features, head, spec.target.num_outputs, dropout)
        small_size = (max(spec.height, body.least), max(spec.width, body.least))
        own_size = small_size if self.stem == "small" else (body.size, body.size)
        self.size = own_size if size is None else (size, size)
        if min(self.size) < body.least:
            raise UserError(f"net.size={size}: this net needs at least {body.least} pixels; leave net.size out")
        self._standardize_as(body if weights != "none" else None)
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
        """Whether there is another stem for small pictures."""
        return False

    def make_body(self, small: bool, num_outputs: int) -> Body:
        """The library's net with fresh weights; its auxiliary heads have ``num_outputs``."""
        raise NotImplementedError

    def published(self) -> Weights:
        """The weights that the library publishes, downloaded if need be."""
        raise NotImplementedError

    def _standardize_as(self, body: Body | None) -> None:
        mean, std = (body.mean, body.std) if body else (self.spec.mean or (0.0,), self.spec.std or (1.0,))
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).expand(3).clone().view(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """x: (B, C, H, W) in [0, 1], or their features (B, F) -> (B, K); in training perhaps auxiliary outputs too."""
        if x.ndim == 2:
            return self.head(x)
        out = self.body(self.fit(x))
        return (self.head(out[0]), *out[1:]) if isinstance(out, tuple) else self.head(out)

    def features(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) in [0, 1] -> (B, F), what the head gets to see."""
        out = self.body(self.fit(x))
        return out[0] if isinstance(out, tuple) else out

    def fit(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) in [0, 1] -> (B, 3, H', W') as the body wants it."""
        x = (x - self.mean.to(x.dtype)) / self.std.to(x.dtype)  # grey becomes three channels here
        if x.shape[-2:] != self.size:
            x = F.interpolate(x, self.size, mode="bilinear", antialias=True)
        return x.contiguous(memory_format=self.memory_format)

    def freeze(self, num_stages: int) -> None:
        """Hold the lowest stages as they are, in evaluation mode, and let the others learn."""
        self.num_frozen = num_stages
        self.body.requires_grad_(num_stages < len(self.stages))  # the auxiliary heads have nothing to learn alone
        for i, stage in enumerate(self.stages):
            for module in stage:
                module.requires_grad_(i >= num_stages)
        self.train(self.training)

    def train(self, mode: bool = True) -> Backbone:
        super().train(mode)
        if self.num_frozen == len(self.stages):
            self.body.eval()  # the auxiliary heads have nothing to learn either
        for stage in self.stages[: self.num_frozen]:
            for module in stage:
                module.eval()
        return self

    def load_pretrained(self) -> list[str]:
        """Fill in what ``weights`` names; a report of what did not fit, a line each.

        The last layer is kept where its classes are the data's, by name, or by number where names are unknown and the
        file is not one of ours. Its inputs are then standardised as these weights want it.

        Raises:
            UserError: no such file, no connection, or with ``strict`` tensors that are missing, left over or of
                another shape.
        """
        if self.weights == "none":
            return []
        found = self.published() if self.weights == "imagenet" else read_weights(self.weights)
        found = found.renamed({self.last_layer: _last_linear(self.head)}, body="body", known=self.state_dict())
        names = self.spec.target.names if self.spec.target.classes else ()
        keep_head = (
            found.classes == names if found.classes else found.num_outputs(_last_linear(self.head)) == len(names)
        )
        apart = () if keep_head else ("head.", *(f"body.{name}." for name in self.auxiliary))
        return assign(self, found, apart=apart, strict=self.strict)


def _head(num_features: int, hidden: Sequence[int], num_outputs: int, dropout: float) -> nn.Sequential:
    modules: list[nn.Module] = [layers.dropout(dropout)]
    for before, units in zip([num_features, *hidden], hidden, strict=False):
        modules += [nn.Linear(before, units), nn.ReLU(), layers.dropout(dropout)]
    return layers.sequential(*modules, nn.Linear([num_features, *hidden][-1], num_outputs))


def _last_linear(head: nn.Sequential) -> str:
    return f"head.{len(head) - 1}"


def stages_of(body: nn.Module, without: Sequence[str] = ()) -> list[list[nn.Module]]:
    """The blocks of a net, from the input upwards; a norm belongs to the convolution before it.

    Children stand in the order of their definition, which in both libraries is that of their use; plain sequences and
    lists are opened.
    """
    stages: list[list[nn.Module]] = []

    def visit(module: nn.Module, left_out: Sequence[str] = ()) -> None:
        for name, child in module.named_children():
            parameters = list(child.parameters())
            if name in left_out or not parameters:
                continue
            if type(child) in (nn.Sequential, nn.ModuleList):
                visit(child)
            elif stages and all(p.ndim < 2 for p in parameters):
                stages[-1].append(child)
            else:
                stages.append([child])

    visit(body, without)
    return stages
