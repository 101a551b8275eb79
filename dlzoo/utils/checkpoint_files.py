"""Checkpoint files: whole, plain data, and of dlzoo."""

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
    """The content of a checkpoint of this house.

    Raises:
        UserError: no such file, not a checkpoint, made by something else or by another version, or holding more than
            plain data; `Damaged`: cut off, or a bit is not what was written.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        if previous_of(path).is_file():
            raise Damaged(path, "missing")
        raise UserError(f"ckpt={path}: there is no such file; runs keep theirs in <run folder>/checkpoints/")
    durable.check(path)
    try:
        content = torch.load(path, map_location=map_location or "cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"ckpt={path} holds more than plain data and is not loaded: {_first(error)}") from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise Damaged(path, f"damaged or not a checkpoint: {_first(error)}") from None
    card = content.get("dlzoo") if isinstance(content, dict) else None
    if not isinstance(card, dict) or "state_dict" not in content:
        raise UserError(f"ckpt={path} was not written by dlzoo: it has no config and spec")
    words = card.get("overrides")
    are_words = isinstance(words, list) and all(isinstance(word, str) for word in words)
    if not isinstance(card.get("config"), str) or not are_words:
        raise UserError(f"ckpt={path} is damaged: its config is no text, or its overrides are no words")
    untrusted.check_yaml(card["config"], f"ckpt={path}: its config")
    weights = content["state_dict"]
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
        raise UserError(f"ckpt={path} is damaged: its state_dict is no mapping of names to tensors")
    if card.get("format") != FORMAT:
        raise UserError(
            f"ckpt={path} has format {card.get('format')}, this version of dlzoo reads {FORMAT}; train it again or "
            "evaluate it with the version that wrote it"
        )
    return content


def _first(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
