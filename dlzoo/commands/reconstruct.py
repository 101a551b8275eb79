"""What `dlzoo.commands.predict` does with a checkpoint that reconstructs pictures, or cleans them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dlzoo.errors import UserError
from dlzoo.utils import files as paths

if TYPE_CHECKING:
    from dlzoo.commands.inputs import Batches
    from dlzoo.commands.records import Record
    from dlzoo.specs.base import Target
    from dlzoo.tasks.base import Task
    from dlzoo.tasks.interfaces import Encoding

FOLDER = "reconstructions"


def encoder_of(task: Task, folder: str | None, top_k: int | None) -> Encoding | None:
    """The task, if this module has the answer; `UserError` for an option that goes with the other kind."""
    encoder = task.as_encoder()
    if folder is not None and encoder is None:
        raise UserError("pictures: this checkpoint makes no pictures of its inputs")
    if top_k is not None and encoder is not None:
        raise UserError("top_k: this checkpoint makes pictures, not classes")
    return encoder


def target() -> Target:
    """What the records say in place of the data's target."""
    from dlzoo.specs.targets import Values

    return Values(("squared_error",))


def reconstruct(task: Encoding, batches: Batches, folder: str | None) -> list[Record]:
    """Write what the net makes of each picture into a folder, and say how far it is from what was given.

    The error, a mean over squared pixels, is high for pictures unlike those of training: an anomaly score.
    """
    import torch

    from dlzoo.visualization import image_grid as tiles

    if task.is_conditional:
        raise UserError(
            "this model must be told the class of a picture to reconstruct it, which a file does not say; "
            "scripts/encode.py takes labelled data, and scripts/sample.py makes pictures of a class"
        )
    records, files, taken = [], {}, set[str]()
    for names, x in batches:
        with torch.inference_mode():
            made = task.reconstruct(x)
        if not made.isfinite().all():
            raise UserError("the net's output is not finite: its training diverged, or an input is far too large")
        errors = (made - x).square().flatten(1).mean(1)
        for name, picture, error in zip(names, made, errors.tolist(), strict=True):
            file = free_name("picture" if name == "-" else Path(str(name)).stem, taken)
            files[file] = tiles.png(tiles.pixels(picture))
            records.append({"input": name, "values": {"squared_error": error}, "picture": file})
    if not records:
        return []
    path = paths.write_folder(folder or FOLDER, "pictures", files)
    print(f"pictures   {path}", file=sys.stderr)  # beside the table or the JSON on standard output
    return [record | {"picture": str(path / str(record["picture"]))} for record in records]


def free_name(stem: str, taken: set[str]) -> str:
    """``stem.png``, or with a number behind it where pictures of several folders are called alike."""
    name, number = f"{stem}.png", 1
    while name in taken:
        number += 1
        name = f"{stem}_{number}.png"
    taken.add(name)
    return name
