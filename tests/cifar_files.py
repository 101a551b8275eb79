"""Files in the format of CIFAR-10, generated."""

from __future__ import annotations

import io
import pickle
import struct
from typing import Any

import numpy as np


class Python2(pickle._Pickler):
    """Pickles as Python 2 did, and so as CIFAR is published: text and bytes alike as bytes."""

    dispatch = dict(pickle._Pickler.dispatch)

    def _bytes(self, obj: Any) -> None:
        content = obj.encode("latin1") if isinstance(obj, str) else obj
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(obj)

    dispatch[bytes] = dispatch[str] = _bytes


def batch(number: int, num_images: int = 10) -> bytes:
    """A file of CIFAR-10 with so many images; the same for the same number."""
    rng = np.random.default_rng(number)
    content = {
        "batch_label": f"batch {number}",
        "labels": [int(k) for k in rng.integers(0, 10, num_images)],
        "data": rng.integers(0, 256, (num_images, 3072), np.uint8),
        "filenames": ["a.png"] * num_images,
    }
    buffer = io.BytesIO()
    Python2(buffer, protocol=2).dump(content)
    return buffer.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
