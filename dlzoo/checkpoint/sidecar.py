"""Arrays too large for a checkpoint that is passed on: they stand beside it, as NumPy's plain ``.npz``.

A task puts them under the key `BESIDE` of what Lightning saves, and finds them there when a run is continued. A
checkpoint without its arrays can still be evaluated and played with.

The checkpoint names its file, and each file has a name of its own: it is written first, and goes when no checkpoint
names it any more. So a kill between the two leaves the old pair.
"""

from __future__ import annotations

import glob
import pickle
import secrets
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dlzoo.tasks.base import BESIDE
from dlzoo.utils import archives as durable
from dlzoo.utils.archives import Damaged, previous_of

NAME = "arrays_beside_in"


def write(ckpt: Path, arrays: dict[str, np.ndarray] | None) -> dict[str, str]:
    """Write the arrays of a checkpoint that is about to be written; what it must hold to find them."""
    if arrays is None:
        return {}
    path = ckpt.with_name(f"{ckpt.stem}.replay-{secrets.token_hex(4)}.npz")
    durable.write(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]
    return {NAME: path.name}


def place(ckpt: Path, content: dict[str, Any]) -> Path:
    """Where the arrays of a checkpoint are, if it has any; those of older versions have a name that says less.

    >>> str(place(Path("run/last.ckpt"), {NAME: "last.replay-00c0ffee.npz"}))
    'run/last.replay-00c0ffee.npz'
    """
    return ckpt.with_name(Path(str(content.get(NAME, f"{ckpt.stem}.replay.npz"))).name)


def check(ckpt: Path, content: dict[str, Any]) -> None:
    """Raise `Damaged` where the arrays are there, but are not what was written."""
    path = place(ckpt, content)
    if not path.is_file():
        return
    try:
        durable.check(path)
    except Damaged as damage:
        raise Damaged(ckpt, f"of no use: {path.name} is {damage.reason}") from None


def read(ckpt: Path, content: dict[str, Any], *, is_checked: bool = False) -> dict[str, Any]:
    """``{BESIDE: arrays}``, or nothing where there are none.

    Args:
        is_checked: whether `check` has been called.
    """
    path = place(ckpt, content)
    if not path.is_file():
        return {}
    if not is_checked:
        check(ckpt, content)
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {BESIDE: dict(stored)}
    except (OSError, ValueError, EOFError, MemoryError) as error:  # a header may claim any size
        raise Damaged(ckpt, f"of no use: {path.name} is damaged: {error}") from None


def remove_unused(ckpt: Path) -> None:
    """Arrays of this checkpoint's name that neither it nor the one before it names."""
    arrays = [*ckpt.parent.glob(f"{glob.escape(ckpt.stem)}.replay*.npz")]
    if not arrays:
        return
    used = set()
    for path in filter(Path.is_file, (ckpt, previous_of(ckpt))):
        if durable.is_suspicious(path):
            return
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)  # reads no tensor
        except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError, KeyError):
            return  # damaged: not before another takes its place
        used.add(place(ckpt, content))
    for path in arrays:
        if path not in used:
            path.unlink(missing_ok=True)
