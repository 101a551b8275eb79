"""Reads checkpoint files: intact, plain data, and written by dlzoo."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from dlzoo.errors import UserError
from dlzoo.utils import archives as durable
from dlzoo.utils import untrusted
from dlzoo.utils.archives import Damaged, previous_of

FORMAT = 1


def read(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """The content of a dlzoo checkpoint.

    Raises:
        UserError: there is no such file, or it is not a checkpoint, was written by another program or version, or
            contains more than plain data; `Damaged` if it is truncated or corrupted.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        if previous_of(path).is_file():
            raise Damaged(path, "missing")
        raise UserError(f"ckpt={path}: no such file; a run writes its checkpoints to <run folder>/checkpoints/")
    durable.check(path)
    try:
        content = torch.load(path, map_location=map_location or "cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"ckpt={path} contains more than plain data and is not loaded: {_first_line(error)}") from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise Damaged(path, f"damaged or not a checkpoint: {_first_line(error)}") from None
    manifest = content.get("dlzoo") if isinstance(content, dict) else None
    if not isinstance(manifest, dict) or "state_dict" not in content:
        raise UserError(f"ckpt={path} was not written by dlzoo: it has no config and spec")
    overrides = manifest.get("overrides")
    are_texts = isinstance(overrides, list) and all(isinstance(text, str) for text in overrides)
    if not isinstance(manifest.get("config"), str) or not are_texts:
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


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
