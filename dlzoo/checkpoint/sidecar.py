"""Sidecar files: arrays too large for a checkpoint, stored next to it as NumPy ``.npz``.

A task puts them under the key `SIDECAR_ARRAYS` of what Lightning saves, and gets them from there when a run is resumed.
A checkpoint without its arrays can still be evaluated.

The checkpoint stores its file's name, which is unique: the file is written first, and deleted once no checkpoint
refers to it. So a kill between the two writes leaves the old pair intact.
"""

from __future__ import annotations

import glob
import pickle
import secrets
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dlzoo.errors import short
from dlzoo.tasks.base import SIDECAR_ARRAYS
from dlzoo.utils import archives as durable
from dlzoo.utils import torch_files
from dlzoo.utils.archives import Damaged, previous_path
from dlzoo.utils.files import is_file_name

NAME = "arrays_beside_in"


def write(ckpt: Path, arrays: dict[str, np.ndarray] | None) -> dict[str, str]:
    """Write the arrays of a checkpoint that is about to be written; returns its reference to them."""
    if arrays is None:
        return {}
    path = ckpt.with_name(f"{ckpt.stem}.replay-{secrets.token_hex(4)}.npz")
    durable.write(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]
    return {NAME: path.name}


def place(ckpt: Path, content: Mapping[str, object]) -> Path:
    """The path of a checkpoint's arrays, if it has any; older versions use a fixed name.

    >>> str(place(Path("run/last.ckpt"), {NAME: "last.replay-00c0ffee.npz"}))
    'run/last.replay-00c0ffee.npz'

    Raises:
        Damaged: it refers to something other than a file next to it.
    """
    if NAME not in content:
        return ckpt.with_name(f"{ckpt.stem}.replay.npz")
    name = content[NAME]
    if not is_file_name(name) or not name.endswith(".npz"):
        raise Damaged(ckpt, f"damaged: its arrays are said to be in {short(name)}, which is not the name of a file")
    return ckpt.with_name(name)


def check(ckpt: Path, content: Mapping[str, object]) -> None:
    """Raise `Damaged` if the arrays exist but are corrupted."""
    path = place(ckpt, content)
    if not path.is_file():
        return
    try:
        durable.check(path)
    except Damaged as damage:
        raise Damaged(ckpt, f"unusable: {path.name} is {damage.reason}") from None


def read(ckpt: Path, content: Mapping[str, object], *, is_checked: bool = False) -> dict[str, dict[str, np.ndarray]]:
    """``{SIDECAR_ARRAYS: arrays}``, or an empty dict if there are none.

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
            return {SIDECAR_ARRAYS: dict(stored)}
    except (
        OSError,
        ValueError,
        EOFError,
        MemoryError,
        *durable.HEADER_FAILURES,
    ) as error:  # a header may claim any size
        raise Damaged(ckpt, f"unusable: {path.name} is damaged: {error}") from None


def remove_unused(ckpt: Path) -> None:
    """Delete this checkpoint's array files that neither it nor the previous one refers to."""
    arrays = [*ckpt.parent.glob(f"{glob.escape(ckpt.stem)}.replay*.npz")]
    if not arrays:
        return
    used = set()
    for path in filter(Path.is_file, (ckpt, previous_path(ckpt))):
        if durable.is_suspicious(path):
            return
        try:
            content = torch_files.load(path, mmap=True)
        except (pickle.UnpicklingError, ValueError):
            return  # damaged: keep everything until it is overwritten
        if not isinstance(content, dict):
            return  # not a checkpoint: the same
        try:
            used.add(place(ckpt, content))
        except Damaged:
            return
    for path in arrays:
        if path not in used:
            path.unlink(missing_ok=True)
