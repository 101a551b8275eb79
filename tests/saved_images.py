"""Images in files as ``save_to_disk`` of the library `datasets` writes them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from photo_folders import CLASSES
from PIL import Image

pa = pytest.importorskip("pyarrow")
ipc = pytest.importorskip("pyarrow.ipc")

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FEATURES: Mapping[str, Any] = {
    "image": {"_type": "Image"},
    "label": {"_type": "ClassLabel", "names": CLASSES},
    "source": {"_type": "Value"},
}


def png(k: int, i: int) -> bytes:
    """As `photo_folders.make_folder` paints them."""
    stream = io.BytesIO()
    Image.new("RGB", (12, 8), (80 * k, 10 * i, 0)).save(stream, "png")
    return stream.getvalue()


def cell(content: bytes | None = None, path: str | None = None) -> dict[str, object]:
    return {"bytes": content, "path": path}


def save(
    folder: Path,
    images: Sequence[object],
    labels: Sequence[int | None],
    features: Mapping[str, Any] = FEATURES,
    options: Any = None,
    image: Any = IMAGE,
) -> Path:
    """One split, in two files, the first of two batches.

    Args:
        options: of Arrow's writer.
        image: the type of the images.
    """
    folder.mkdir(parents=True)
    columns = [pa.array(images, image), pa.array(labels, pa.int64()), pa.array(["camera"] * len(images))]
    batch = pa.RecordBatch.from_arrays(columns, names=["image", "label", "source"])
    third = -(-len(images) // 3)
    names = ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"]
    for name, starts in zip(names, ([0, third], [2 * third]), strict=True):
        with ipc.new_stream(folder / name, batch.schema, options=options) as stream:
            for start in starts:
                # sliced batches would share their buffers in memory, but are written as they are
                stream.write_batch(batch.slice(start, third))
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    return folder


def save_painted(folder: Path, num: int = 10, **options: Any) -> Path:
    """Class k holds ``num`` images, as in `photo_folders.make_folder`; the classes alternate."""
    pairs = [(k, i) for i in range(num) for k in range(len(CLASSES))]
    return save(folder, [cell(png(k, i)) for k, i in pairs], [k for k, _ in pairs], **options)


def save_splits(folder: Path, **nums: int) -> Path:
    """A data set of several splits."""
    for name, num in nums.items():
        save_painted(folder / name, num)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": [*nums]}))
    return folder
