"""Load weights from a file or a library into a net, with a report of what did not match.

Files: safetensors, a state dict written by `torch.save` (plain tensors only), or a dlzoo checkpoint, also by the folder
of its run or of a published model. No code in them is executed.
"""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dlzoo.errors import UserError, short
from dlzoo.specs.resize import Preprocessing
from dlzoo.utils import archives as durable
from dlzoo.utils import torch_files

MAX_NAMES = 4
"""Most tensor names in a message."""


@dataclass(frozen=True)
class Weights:
    """Tensors by name."""

    tensors: Mapping[str, Tensor]
    source: str
    """Their name in messages."""
    classes: tuple[str, ...] = ()
    """The classes of the last layer, if known."""
    preprocessing: Preprocessing | None = None
    """Of the images that they were trained with, if the file says."""

    def num_outputs(self, layer: str) -> int:
        """The number of outputs of a layer; 0 if it is missing."""
        weight = self.tensors.get(f"{layer}.weight")
        return 0 if weight is None or weight.ndim == 0 else len(weight)

    def renamed(self, layers: Mapping[str, str], *, body: str, known: Mapping[str, Tensor]) -> Weights:
        """Renamed for a net whose ``body`` is a library's: ``layers`` are moved, the rest belongs to the body.

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
    from dlzoo.utils.model_folders import checkpoint

    path = checkpoint(file, "net.weights")
    key = f"net.weights={file}"
    if path.is_dir():
        return _from_checkpoint(path, key)
    if path.suffix == ".safetensors":
        return Weights(_safetensors(path, key), key)
    if durable.is_suspicious(path):
        raise UserError(f"{key} is an archive that is compressed, or has several directories: torch.save writes none")
    try:
        content = torch_files.load(path)
    except (pickle.UnpicklingError, ValueError):
        raise UserError(f"{key} is neither safetensors nor a state dict of plain tensors, or it is damaged") from None
    if isinstance(content, dict) and "dlzoo" in content:
        return _from_checkpoint(path, key)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    return Weights(_checked(content, key), key)


def _checked(content: Any, key: str) -> dict[str, Tensor]:
    """The tensors by name; `UserError` if there is anything else, or one without its numbers in the file."""
    is_dict = isinstance(content, dict)
    if not is_dict or not all(isinstance(n, str) and isinstance(t, Tensor) for n, t in content.items()):
        raise UserError(f"{key} holds no state dict of names and tensors")
    for name, t in content.items():
        is_dense = t.layout == torch.strided and t.device.type != "meta" and not t.is_quantized
        if not is_dense or t.numel() * t.element_size() > t.untyped_storage().nbytes():
            raise UserError(f"{key}: {short(name)} is not a dense tensor whose numbers are all in the file")
    return content


def _safetensors(path: Path, key: str) -> dict[str, Tensor]:
    from dlzoo.utils import safetensors_files

    try:
        return safetensors_files.read(path)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{key} is damaged or not safetensors: {error}") from None


def _from_checkpoint(path: Path, key: str) -> Weights:
    """The net of a dlzoo checkpoint, and its classes."""
    from dlzoo.specs.plain import spec_from_plain
    from dlzoo.utils.checkpoint_files import manifest_in, read

    content = read(path)
    try:
        spec = spec_from_plain(manifest_in(content).get("spec"))
    except UserError as error:
        raise UserError(f"{key}: {error}") from None
    weights = content["state_dict"]
    assert isinstance(weights, dict)  # checked by `read`
    tensors = {k.removeprefix("net."): t for k, t in weights.items() if k.startswith("net.")}
    images = None if spec.images is None else spec.images.preprocessing
    return Weights(_checked(tensors, key), key, spec.target.names if spec.target.classes else (), images)


def assign(net: nn.Module, weights: Weights, *, exclude: Sequence[str] = (), strict: bool = True) -> list[str]:
    """Copy the weights into the net, except those whose name starts with one of ``exclude``; returns a report.

    Buffers that other libraries' weights lack, such as the standardisation of a `Backbone`, are kept.

    Raises:
        UserError: with ``strict``, if a tensor is missing, left over or of another shape.
    """
    current = {name: t for name, t in net.state_dict().items() if not name.startswith(tuple(exclude))}
    given = {name: t for name, t in weights.tensors.items() if not name.startswith(tuple(exclude))}
    optional = {name for name, _ in net.named_buffers(recurse=False)}
    reshaped = [name for name, t in current.items() if name in given and given[name].shape != t.shape]
    missing = [name for name in current if name not in given and name not in optional]
    unexpected = [name for name in given if name not in current]
    problems = [
        *_describe("missing", missing),
        *_describe("unexpected", unexpected),
        *_describe("reshaped", [f"{n} {list(given[n].shape)} for {list(current[n].shape)}" for n in reshaped]),
    ]
    matching = {name: t for name, t in given.items() if name in current and name not in reshaped}
    if problems and (strict or not matching):
        hint = "use the net that they were trained for" + (
            "; net.strict=false loads those that match" if matching else ""
        )
        raise UserError(f"{weights.source} does not fit the net: {'; '.join(problems)}; {hint}")
    net.load_state_dict(matching, strict=False)
    fresh = "" if len(current) == len(net.state_dict()) else "; the last layer is new"
    return [f"{weights.source}: {len(matching)} tensors loaded{fresh}", *problems]


def _describe(what: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return [f"{len(names)} {what} ({', '.join(names[:MAX_NAMES])}{more})"]
