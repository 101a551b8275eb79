"""Weights from a file or a library into a net, with a report of what did not fit.

Files: safetensors, a state dict that `torch.save` wrote (plain tensors only), or a checkpoint of ours. Nothing in them
is executed.
"""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from dlzoo.errors import UserError
from dlzoo.utils import archives as durable

SHOWN = 4
"""Names of tensors in a sentence."""


@dataclass(frozen=True)
class Weights:
    """Tensors by name."""

    tensors: Mapping[str, Tensor]
    source: str
    """What messages call them."""
    classes: tuple[str, ...] = ()
    """What the last layer tells apart, where that is known."""

    def num_outputs(self, layer: str) -> int:
        """Of a layer; 0 where it is missing."""
        weight = self.tensors.get(f"{layer}.weight")
        return 0 if weight is None else len(weight)

    def renamed(self, layers: Mapping[str, str], *, body: str, known: Mapping[str, Tensor]) -> Weights:
        """With names as in a net whose ``body`` is a library's: some layers stand elsewhere, the rest in the body.

        Tensors that already have the names of the net keep them.
        """
        if any(name in known for name in self.tensors):
            return self
        prefixes = {f"{old}.": f"{new}." for old, new in layers.items()}

        def new_name(name: str) -> str:
            start = next((old for old in prefixes if name.startswith(old)), None)
            return f"{body}.{name}" if start is None else prefixes[start] + name.removeprefix(start)

        return dataclasses.replace(self, tensors={new_name(name): t for name, t in self.tensors.items()})


def read_weights(file: str) -> Weights:
    """The weights in a file.

    Raises:
        UserError: no such file, damaged, or holding more than plain tensors.
    """
    from dlzoo.utils.files import existing_file

    path = existing_file(file, "net.weights")
    key = f"net.weights={file}"
    if path.suffix == ".safetensors":
        return Weights(_safetensors(path, key), key)
    if durable.is_suspicious(path):
        raise UserError(f"{key} is a compressed archive, which torch.save does not write")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError):
        raise UserError(f"{key} is neither safetensors nor a state dict of plain tensors, or it is damaged") from None
    if isinstance(content, dict) and "dlzoo" in content:
        return _from_checkpoint(path, key)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(t, Tensor) for t in content.values()):
        raise UserError(f"{key} holds no state dict: names and tensors")
    return Weights(content, key)


def _safetensors(path: Path, key: str) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError:
        raise UserError(f"{key} needs the package safetensors: pip install 'dlzoo[vision]'") from None
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{key} is damaged or not safetensors: {error}") from None


def _from_checkpoint(path: Path, key: str) -> Weights:
    """The net of a checkpoint of ours, and the classes that it was trained for."""
    from dlzoo.specs.plain import from_plain
    from dlzoo.utils.checkpoint_files import read

    content = read(path)
    target = from_plain(content["dlzoo"]["spec"]).target
    tensors = {k.removeprefix("net."): t for k, t in content["state_dict"].items() if k.startswith("net.")}
    return Weights(tensors, key, target.names if target.classes else ())


def assign(net: nn.Module, weights: Weights, *, apart: Sequence[str] = (), strict: bool = True) -> list[str]:
    """Copy the weights into the net, those whose name starts with one of ``apart`` excepted; gives a report.

    Buffers that weights of others do not have, such as the standardisation of a `Backbone`, stay as they are.

    Raises:
        UserError: with ``strict``, if a tensor is missing, left over or of another shape.
    """
    own = {name: t for name, t in net.state_dict().items() if not name.startswith(tuple(apart))}
    given = {name: t for name, t in weights.tensors.items() if not name.startswith(tuple(apart))}
    optional = {name for name, _ in net.named_buffers(recurse=False)}
    reshaped = [name for name, t in own.items() if name in given and given[name].shape != t.shape]
    missing = [name for name in own if name not in given and name not in optional]
    unexpected = [name for name in given if name not in own]
    problems = [
        *_told("missing", missing),
        *_told("unexpected", unexpected),
        *_told("reshaped", [f"{n} {list(given[n].shape)} for {list(own[n].shape)}" for n in reshaped]),
    ]
    fitting = {name: t for name, t in given.items() if name in own and name not in reshaped}
    if problems and (strict or not fitting):
        hint = "give the net that they were made for" + ("; net.strict=false loads those that fit" if fitting else "")
        raise UserError(f"{weights.source} does not fit the net: {'; '.join(problems)}; {hint}")
    net.load_state_dict(fitting, strict=False)
    fresh = "" if len(own) == len(net.state_dict()) else "; the last layer is new"
    return [f"{weights.source}: {len(fitting)} tensors loaded{fresh}", *problems]


def _told(what: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return [f"{len(names)} {what} ({', '.join(names[:SHOWN])}{more})"]
