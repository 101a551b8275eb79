"""`dlzoo.commands.predict` for a checkpoint that reconstructs or denoises images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dlzoo.commands import places
from dlzoo.errors import UserError
from dlzoo.utils import files as paths

if TYPE_CHECKING:
    from dlzoo.inference.inputs import Batches
    from dlzoo.inference.records import Record
    from dlzoo.tasks.base import Task
    from dlzoo.tasks.interfaces import Encoding


def encoder_of(task: Task, folder: str | None, top_k: int | None) -> Encoding | None:
    """The task, if it reconstructs images; `UserError` for an option that does not apply."""
    encoder = task.as_image_encoder()
    if folder is not None and encoder is None:
        raise UserError(f"pictures={folder} does not apply: this checkpoint does not output images; omit it")
    if top_k is not None and encoder is not None:
        raise UserError(f"top_k={top_k} does not apply: this checkpoint outputs images, not classes; omit it")
    return encoder


def reconstruct(task: Encoding, batches: Batches, folder: str | None, ckpt: Path | None) -> list[Record]:
    """Write the reconstruction of each image to a folder, and return its distance from the input.

    The error, the mean squared difference of the pixels, is high for images unlike the training data: an anomaly score.

    Args:
        folder: by default ``reconstructions`` in the folder of the checkpoint's run.
    """
    from dlzoo.inference import predict
    from dlzoo.visualization import image_grid as tiles

    if task.is_conditional:
        raise UserError(
            "this model is class-conditional: to reconstruct an image it needs its class, which a file does not give; "
            "dlzoo encode takes labelled data, and dlzoo sample generates images of a class"
        )
    records, files, used = [], {}, set[str]()
    for names, x in batches:
        outputs = predict.reconstruct(task, x)
        errors = (outputs - x).square().flatten(1).mean(1)
        for name, image, error in zip(names, outputs, errors.tolist(), strict=True):
            file = free_name("image" if name == "-" else Path(str(name)).stem, used)
            files[file] = tiles.png(tiles.pixels(image))
            records.append({"input": name, "values": {"squared_error": error}, "picture": file})
    if not records:
        return []
    path = paths.write_folder(
        folder, "pictures", files, default=places.default_path("reconstructions", "pictures", ckpt)
    )
    print(f"pictures   {path}", file=sys.stderr)  # stdout holds the table or the JSON
    return [record | {"picture": str(path / str(record["picture"]))} for record in records]


def free_name(stem: str, used: set[str]) -> str:
    """``stem.png``, with a number appended if images of several folders have the same name."""
    name, number = f"{stem}.png", 1
    while name in used:
        number += 1
        name = f"{stem}_{number}.png"
    used.add(name)
    return name
