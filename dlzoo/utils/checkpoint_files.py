"""Reads checkpoint files: intact, plain data, and written by dlzoo."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict, TypeGuard

from torch.serialization import MAP_LOCATION

from dlzoo.errors import UserError, first_line
from dlzoo.utils import archives as durable
from dlzoo.utils import model_folders, safetensors_files, torch_files, untrusted
from dlzoo.utils.archives import Damaged, previous_path

FORMAT = 1


class Manifest(TypedDict):
    """What a checkpoint stores under ``dlzoo``, in addition to what Lightning stores."""

    format: int
    config: str
    """The resolved config as YAML."""
    overrides: list[str]
    spec: object
    """The spec as plain data, see `dlzoo.specs.plain`."""
    rows: object
    """The fingerprint of the training and validation rows as plain data, or None."""


def read(path: str | Path, map_location: MAP_LOCATION = "cpu") -> dict[str, object]:
    """The content of a dlzoo checkpoint, or of the folder of a published model, which holds no more than its manifest
    and its weights.

    Raises:
        UserError: there is no such file, or it is not a checkpoint, was written by another program or version, or
            contains more than plain data; `Damaged` if it is truncated or corrupted.
    """
    path = Path(path).expanduser()
    if model_folders.is_published(path):
        return _checked(_read_folder(path), path)
    if not path.is_file():
        if previous_path(path).is_file():
            raise Damaged(path, "missing")
        raise UserError(f"ckpt={path}: no such file; a run writes its checkpoints to <run folder>/checkpoints/")
    durable.check(path)
    try:
        content = torch_files.load(path, map_location)
    except pickle.UnpicklingError as error:
        raise UserError(f"ckpt={path} contains more than plain data and is not loaded: {first_line(error)}") from None
    except ValueError as error:
        raise Damaged(path, f"damaged or not a checkpoint: {first_line(error)}") from None
    return _checked(content, path)


def _read_folder(folder: Path) -> object:
    """What the files of a published model hold, in the layout of a checkpoint."""
    missing = [name for name in model_folders.FILES if not (folder / name).is_file()]
    if missing:
        raise UserError(f"ckpt={folder} is no published model: it has no file {missing[0]}")
    manifest = untrusted.read_json(folder / model_folders.MANIFEST)
    if not isinstance(manifest, dict):
        raise UserError(f"ckpt={folder} was not written by dlzoo: its {model_folders.MANIFEST} is not a mapping")
    config = untrusted.read_text(folder / model_folders.CONFIG)
    try:
        weights = safetensors_files.read(folder / model_folders.WEIGHTS)
    except UserError:
        raise
    except ValueError as error:
        raise Damaged(folder, f"damaged: {model_folders.WEIGHTS} cannot be read: {first_line(error)}") from None
    return {"state_dict": weights, "dlzoo": {**manifest, "config": config}}


def _checked(content: object, path: Path) -> dict[str, object]:
    """The content, if it is that of a checkpoint of this version."""
    untrusted.check_nested(content, f"ckpt={path}")
    manifest = content.get("dlzoo") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(manifest, dict) or "state_dict" not in content:
        raise UserError(f"ckpt={path} was not written by dlzoo: it has no config and spec")
    if not is_manifest(manifest):
        raise UserError(f"ckpt={path} is damaged: its config is not text, or its overrides are not a list of texts")
    untrusted.check_yaml(manifest["config"], f"ckpt={path}: its config")
    weights = content["state_dict"]
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
        raise UserError(f"ckpt={path} is damaged: its state_dict is not a mapping of names to tensors")
    if manifest.get("format") != FORMAT:
        raise UserError(
            f"ckpt={path} has format {manifest.get('format')}, but this version of dlzoo reads format {FORMAT}; "
            "train it again, or use the version of dlzoo that wrote it"
        )
    return content


def is_manifest(value: object) -> TypeGuard[Manifest]:
    """Whether a config and overrides are stored; spec and rows are checked when they are used."""
    if not isinstance(value, dict) or not isinstance(value.get("config"), str):
        return False
    overrides = value.get("overrides")
    return isinstance(overrides, list) and all(isinstance(text, str) for text in overrides)


def manifest_in(content: Mapping[str, object]) -> Manifest:
    """The manifest of a checkpoint that `read` has read."""
    manifest = content["dlzoo"]
    assert is_manifest(manifest)
    return manifest
