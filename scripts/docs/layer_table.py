"""What a net computes, layer by layer, with the shapes: one forward pass on example inputs, observed by hooks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dlzoo.layers.recurrent import Recurrent
from dlzoo.nets.base import AdversarialPair, Net
from dlzoo.specs.base import Spec
from dlzoo.specs.batch import first_tensor

MAX_ROWS = 24
"""Rows that a drawing still shows; deeper nets are shown by their blocks."""
MAX_PLAIN_ROWS = 40
"""The same for nets that are a plain sequence of layers, which have no blocks."""
CONTAINERS = ("Sequential", "ModuleList", "ModuleDict")
WHOLE = (Recurrent, nn.MultiheadAttention)
"""Modules shown as one row though they have parts."""


class Layer(NamedTuple):
    """A row of the table."""

    path: str
    """Dotted name within the net."""
    kind: str
    """The name of its class."""
    about: str
    """Its sizes, in short; may be empty."""
    shape: tuple[int, ...]
    """Of its output, without the batch."""
    num_parameters: int


def observe(net: Net, spec: Spec) -> tuple[tuple[int, ...], list[Layer]]:
    """The shape of the inputs, and the layers in the order of the computation; repeated calls of a layer count once."""
    every: dict[str, Layer] = {}
    paths = [(name, part) for name, part in net.named_modules() if name]
    hooks = [part.register_forward_hook(_Recorder(name, every)) for name, part in paths]
    inputs = spec.example(2)[0]
    try:
        with torch.no_grad():
            start = _run(net.eval(), inputs)
    finally:
        for hook in hooks:
            hook.remove()
    layers = [layer for path, layer in every.items() if _is_row(net, path, net.get_submodule(path))]
    if not layers:
        num = sum(p.numel() for p in net.parameters())
        layers = [Layer("net", type(net).__name__, "", tuple(first_tensor(net(inputs)).shape[1:]), num)]
    shapes = {path: layer.shape for path, layer in every.items()}
    return start, shortened(net, layers, shapes)


class _Recorder:
    def __init__(self, path: str, found: dict[str, Layer]) -> None:
        self.path, self.found = path, found

    def __call__(self, part: nn.Module, inputs: object, output: object) -> None:
        if self.path not in self.found and (tensor := _first(output)) is not None:
            num = sum(p.numel() for p in part.parameters())
            kind = _kind(part)
            self.found[self.path] = Layer(self.path, kind, about(part), tuple(tensor.shape[1:]), num)


def _kind(part: nn.Module) -> str:
    return type(part.layers if isinstance(part, Recurrent) else part).__name__


def _first(value: object) -> Tensor | None:
    """The first tensor of an output; that of a packed sequence or a state comes last."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, tuple | list):
        return next((tensor for item in value if (tensor := _first(item)) is not None), None)
    return None


def _is_row(net: nn.Module, name: str, part: nn.Module) -> bool:
    parents = name.split(".")[:-1]
    inside = any(isinstance(net.get_submodule(".".join(parents[: i + 1])), WHOLE) for i in range(len(parents)))
    return not inside and (isinstance(part, WHOLE) or not [*part.children()]) and not isinstance(part, nn.Identity)


def _run(net: Net, inputs: Tensor | dict[str, Tensor]) -> tuple[int, ...]:
    """Everything that the net computes in a training step, without a loss; the shape of what it starts from."""
    if isinstance(net, AdversarialPair):
        z = torch.randn(2, net.latent_dim)
        condition = torch.zeros(2, net.num_conditions) if net.num_conditions else None
        net.discriminate(net.generate(z, condition), condition)
        return (net.latent_dim,)
    net(inputs)
    return tuple(first_tensor(inputs).shape[1:])


def about(part: nn.Module) -> str:
    """The sizes of a layer, in short.

    >>> about(nn.Conv2d(1, 6, 5)), about(nn.Linear(84, 10)), about(nn.MaxPool2d(2)), about(nn.Dropout(0.3))
    ('5×5, 1 → 6', '84 → 10', '2×2', '0.3')
    """
    if isinstance(part, nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d):
        stride = f", stride {part.stride[0]}" if part.stride[0] > 1 else ""
        groups = f", {part.groups} groups" if part.groups > 1 else ""
        return f"{'×'.join(map(str, part.kernel_size))}, {part.in_channels} → {part.out_channels}{stride}{groups}"
    if isinstance(part, nn.Linear):
        return f"{part.in_features} → {part.out_features}"
    if isinstance(part, nn.MaxPool2d | nn.AvgPool2d):
        size = part.kernel_size
        return "×".join(map(str, size)) if isinstance(size, tuple) else f"{size}×{size}"
    if isinstance(part, nn.Dropout | nn.Dropout2d):
        return str(part.p)
    if isinstance(part, Recurrent):
        directions = ", both directions" if part.bidirectional else ""
        layers = f", {part.num_layers} layers" if part.num_layers > 1 else ""
        return f"{part.num_units} units{layers}{directions}"
    if isinstance(part, nn.Embedding):
        return f"{part.num_embeddings} × {part.embedding_dim}"
    return ""


class Group(NamedTuple):
    """Successive layers of one part of the net."""

    path: str
    layers: Sequence[Layer]

    def parts(self) -> list[Group]:
        """The groups of the next level at which they differ; itself for a single layer."""
        depth = self.path.count(".") + 2 if self.path else 1
        found = [self]
        while len(self.layers) > 1 and len(found) == 1:
            keyed = itertools.groupby(self.layers, key=lambda layer: ".".join(layer.path.split(".")[:depth]))
            found = [Group(path, [*layers]) for path, layers in keyed]
            depth += 1
        return found


def shortened(net: nn.Module, layers: Sequence[Layer], shapes: Mapping[str, tuple[int, ...]]) -> list[Layer]:
    """Deep nets by their blocks: parts are opened, the outer ones first, as long as not too many rows result; of the
    blocks of a kind all or none.

    Args:
        shapes: of the outputs of blocks, by their paths.
    """
    groups = Group("", layers).parts()
    closed: set[str] = set()
    while opened := [g for g in groups if len(g.layers) > 1 and _kind_of(net, g) not in closed]:
        kind = _kind_of(net, min(opened, key=lambda group: (group.path.count("."), -len(group.layers))))
        parts = {group.path: group.parts() if _kind_of(net, group) == kind else [group] for group in groups}
        if sum(map(len, parts.values())) > (MAX_ROWS if kind[:1].isupper() else MAX_PLAIN_ROWS):
            closed.add(kind)
        else:
            groups = [part for group in groups for part in parts[group.path]]
    return [*_merged([_as_row(net, group, shapes) for group in groups])]


def _kind_of(net: nn.Module, group: Group) -> str:
    """The class of a block; the path of what only holds others."""
    kind = type(net.get_submodule(group.path)).__name__
    return group.path if kind in CONTAINERS or group.path.count(".") == 0 else kind


def _as_row(net: nn.Module, group: Group, shapes: Mapping[str, tuple[int, ...]]) -> Layer:
    if len(group.layers) == 1:
        return group.layers[0]
    name = _kind_of(net, group).split(".")[-1]
    num = sum(layer.num_parameters for layer in group.layers)
    return Layer(group.path, name, f"{len(group.layers)} layers", shapes.get(group.path, group.layers[-1].shape), num)


def _merged(layers: Sequence[Layer]) -> Iterator[Layer]:
    """Equal neighbours as one row."""
    for _, group in itertools.groupby(layers, key=lambda layer: (layer.kind, layer.about, layer.shape)):
        parts = [*group]
        repeats = f"× {len(parts)}" if len(parts) > 1 else ""
        num = sum(part.num_parameters for part in parts)
        about = " ".join(filter(None, [parts[0].about, repeats]))
        yield parts[0]._replace(about=about, num_parameters=num)
