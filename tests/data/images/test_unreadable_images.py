"""Files that are no images are refused by name, or left out and counted."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from photo_folders import CLASSES, RED, ids, paint, ways

from dlzoo.data.images.folder import ImageFolder
from dlzoo.errors import UserError


def spoil(photos: Path) -> list[str]:
    """Three files that are no images any more: text, empty, cut off. None in the test split: see the test."""
    whole = paint(photos / CLASSES[0] / "whole.jpg", RED, size=(64, 64)).read_bytes()
    (photos / CLASSES[0] / "whole.jpg").unlink()
    bad = {"text.png": b"no image", "empty.jpg": b"", "cut.jpg": whole[: len(whole) * 2 // 3]}
    for name, content in bad.items():
        (photos / CLASSES[0] / name).write_bytes(content)
    return list(bad)


def complaint(data: ImageFolder) -> str:
    """What a run over all images ends with. (A caught exception would keep the loaders and so their workers.)"""
    try:
        for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
            list(loader)
    except UserError as error:
        return str(error)
    return ""


@ways
def test_unreadable_files_are_refused(photos: Path, way: dict[str, Any]) -> None:
    names = spoil(photos)

    message = complaint(ImageFolder(path=photos, size=8, batch_size=3, **way))
    assert re.fullmatch(r"[^\n]* cannot be read as an image .*data\.on_error=skip", message)
    assert any(name in message for name in names)


@ways
def test_unreadable_files_are_left_out_and_counted(photos: Path, way: dict[str, Any]) -> None:
    names = spoil(photos)
    data = ImageFolder(path=photos, size=8, batch_size=8, on_error="skip", **way)
    with pytest.warns(UserWarning, match=r"cannot be read .* skipped so far"):
        batches = [*data.train_dataloader(), *data.val_dataloader(), *data.test_dataloader()]
    assert all([k for k, _ in ids(x)] == y.tolist() for x, y, _ in batches)
    seen = [one for x, _, _ in batches for one in ids(x)]
    assert sorted(seen) == [(k, i) for k in range(3) for i in range(10)]
    assert len(data.skipped) == 3
    assert all(any(name in problem for problem in data.skipped) for name in names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is said once
        list(data.train_dataloader())


@ways
def test_nothing_left_is_an_error_also_when_skipping(photos: Path, way: dict[str, Any]) -> None:
    for path in photos.rglob("*.png"):
        path.write_bytes(b"no image")
    assert "none of these" in complaint(ImageFolder(path=photos, size=8, on_error="skip", **way))
