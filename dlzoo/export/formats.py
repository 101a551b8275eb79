"""Export formats: how each is written, read back and run.

Reading uses only the file, with the library that its users will have: onnxruntime, `torch.export.load`, or, for
weights, dlzoo itself, which rebuilds the net from the metadata stored with them.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.export import ExportedProgram

from dlzoo.checkpoint import format as checkpoint_format
from dlzoo.checkpoint import load as checkpoint
from dlzoo.config.allowlist import user_packages
from dlzoo.export.views import view_of
from dlzoo.tasks.base import Task
from dlzoo.tasks.views import Tensors, View
from dlzoo.utils.checkpoint_files import Manifest

Run = Callable[..., Tensors]
Metadata = dict[str, Any]


class _Flat(nn.Module):
    """Inputs as positional arguments: `torch.export` takes dynamic sizes in that order."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self.view = view

    def forward(self, *inputs: Tensor) -> Tensors:
        return self.view(*inputs)


class Format(NamedTuple):
    """How to write a view, and how to read a callable and the metadata back from the file alone."""

    write: Callable[[View, Tensors, Metadata, Path], None]
    read: Callable[[Path, View], tuple[Run, Metadata]]


def write_onnx(view: View, inputs: Tensors, metadata: Metadata, path: Path) -> None:
    """A file for onnxruntime; each entry of the metadata is JSON in the model's ``metadata_props``."""
    names = {"input_names": [port.name for port in view.inputs], "output_names": [port.name for port in view.outputs]}
    graph = exported(view, inputs)
    with quiet():
        program = torch.onnx.export(graph, dynamo=True, verbose=False, **names)  # type: ignore[arg-type]
    assert program is not None
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # stack traces: larger than a small net, and full of this machine's paths
    program.model.metadata_props.update({key: json.dumps(value) for key, value in metadata.items()})
    program.save(str(path))


def read_onnx(path: Path, view: View) -> tuple[Run, Metadata]:
    import onnxruntime as ort

    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]

    def run(*inputs: Tensor) -> Tensors:
        given = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        return tuple(torch.from_numpy(array) for array in session.run(None, given))

    props = session.get_modelmeta().custom_metadata_map
    return run, {key: json.loads(text) for key, text in props.items() if not key.startswith("onnx")}


def write_torch_export(view: View, inputs: Tensors, metadata: Metadata, path: Path) -> None:
    """A file for `torch.export.load`; the metadata are its extra file metadata.json."""
    program = exported(view, inputs)
    with quiet():
        torch.export.save(program, path, extra_files={"metadata.json": json.dumps(metadata)})


def read_torch_export(path: Path, view: View) -> tuple[Run, Metadata]:
    extra = {"metadata.json": ""}
    run = torch.export.load(path, extra_files=extra).module()
    return run, json.loads(extra["metadata.json"])


def write_state_dict(view: View, inputs: Tensors, metadata: Metadata, path: Path) -> None:
    """The net's weights by name for ``load_state_dict``; the metadata go to a separate JSON file."""
    torch.save(view.trained.net.state_dict(), path)
    metadata_path(path).write_text(json.dumps(metadata, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_state_dict(path: Path, view: View) -> tuple[Run, Metadata]:
    metadata = json.loads(metadata_path(path).read_text(encoding="utf-8"))
    return rebuilt(metadata, torch.load(path, weights_only=True), view), metadata


def write_safetensors(view: View, inputs: Tensors, metadata: Metadata, path: Path) -> None:
    """The net's weights by name; each entry of the metadata is JSON in the file's header."""
    from safetensors.torch import save

    weights = {name: tensor.contiguous().clone() for name, tensor in view.trained.net.state_dict().items()}
    path.write_bytes(save(weights, {key: json.dumps(value) for key, value in metadata.items()}))


def read_safetensors(path: Path, view: View) -> tuple[Run, Metadata]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = {key: json.loads(text) for key, text in file.metadata().items()}
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    return rebuilt(metadata, weights, view), metadata


FORMATS: dict[str, Format] = {
    "onnx": Format(write_onnx, read_onnx),
    "torch_export": Format(write_torch_export, read_torch_export),
    "state_dict": Format(write_state_dict, read_state_dict),
    "safetensors": Format(write_safetensors, read_safetensors),
}
WEIGHTS_ONLY = ("state_dict", "safetensors")
"""Formats without the computation: the manifest that rebuilds the net is in the metadata, as ``card``."""


def exported(view: View, inputs: Tensors) -> ExportedProgram:
    """The view as an `ExportedProgram` whose named sizes stay free."""
    least = {name: port.least for port in view.inputs for name in port.shape if isinstance(name, str)} | {"batch": 1}
    dims = {name: torch.export.Dim(name, min=size) for name, size in least.items()}
    shapes = tuple(
        {axis: dims[size] for axis, size in enumerate(port.shape) if isinstance(size, str)} for port in view.inputs
    )
    torch.compiler.reset()  # earlier exports in this process would add constraints to this one
    with torch.no_grad(), quiet():
        program = torch.export.export(_Flat(view), inputs, dynamic_shapes=(shapes,), strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    return program


def metadata_path(path: Path) -> Path:
    """The metadata file of a format that cannot store metadata: net.pt.json."""
    return path.with_name(f"{path.name}.json")


def manifest_of(task: Task, cfg: DictConfig) -> Manifest:
    """The manifest that `rebuilt` needs: net, task and spec, but nothing about the run and its machine."""
    parts = {key: cfg[key] for key in ("names", "net", "task")}
    plain: Any = OmegaConf.to_container(OmegaConf.create(parts), resolve=True)
    return checkpoint_format.make_manifest(plain, [], task.spec)


def rebuilt(metadata: Metadata, weights: dict[str, Tensor], view: View) -> Run:
    """A callable of the net that the manifest describes, with these weights."""
    packages = user_packages(type(view.trained).__module__, type(view.trained.net).__module__)
    task, _ = checkpoint.build({"dlzoo": metadata["card"]}, packages)
    task.net.load_state_dict(weights)
    return view_of(task.eval(), view.part).expected


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporters' logs and warnings."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
