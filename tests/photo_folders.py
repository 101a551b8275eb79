"""Folders of painted images, each of which can be told from all others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from torch import Tensor

RED, GREY = (255, 0, 0), (90, 90, 90)
CLASSES = ("Blüte weiß", "red rose", "äpfel")
"""Sorted as Python sorts: capitals, small letters, others."""


def paint(path: Path, color: Any, mode: str = "RGB", size: tuple[int, int] = (12, 8), **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path, **options)
    return path


def make_folder(path: Path, num: int = 10, classes: tuple[str, ...] = CLASSES) -> Path:
    """Class k holds ``num`` images; image i is of colour (80 k, 10 i, 0), so each can be told from all others."""
    for k, name in enumerate(classes):
        for i in range(num):
            sub = "deep er" if i % 3 == 0 else ""
            paint(path / name / sub / f"bild {i}.png", (80 * k, 10 * i, 0))
    return path


def ids(x: Tensor) -> list[tuple[int, int]]:
    """Which images these are."""
    return [(int(r) // 80, int(g) // 10) for r, g in x[:, :2, 0, 0]]


ways = pytest.mark.parametrize(
    "way",
    [{"placement": "host"}, {"placement": "workers", "num_workers": 0}, {"placement": "workers", "num_workers": 2}],
    ids=["memory", "inline", "workers"],
)
