"""Reads and writes tensors by name as safetensors, a format without code: a header of shapes, then the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from dlzoo.utils.files import open_regular


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, which together are no larger than the file.

    Raises:
        UserError: it is a pipe, a device or a part of the system.
        ValueError: it is damaged, is no such file, or cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        with open_regular(path) as file:
            return load(file.read())
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None
    except (SafetensorError, KeyError, TypeError, RuntimeError, MemoryError) as error:  # KeyError: of an unknown dtype
        raise ValueError(f"{error}") from None


def to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """The content of a file; tensors that share memory are written each.

    Raises:
        ValueError: a tensor of a kind that the format does not have, such as complex numbers.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save

    try:
        return save({name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}, {"format": "pt"})
    except (SafetensorError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"{error}") from None
