"""`dlzoo.commands.predict` for a checkpoint that predicts boxes: the images with the predicted boxes drawn."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlzoo.commands.reconstruct import free_name
from dlzoo.utils import files as paths

if TYPE_CHECKING:
    from dlzoo.inference.inputs import Batches
    from dlzoo.specs.base import Target
    from dlzoo.tasks.base import Task


class BoxPictures:
    """Draws predicted boxes while batches pass, as the net sees the images, and writes them at the end.

    Args:
        folder: for the images.
        target: that the net predicts.
    """

    def __init__(self, folder: str, target: Target) -> None:
        self.folder = folder
        self.target = target
        self.files: dict[str, bytes] = {}
        self.used: set[str] = set()

    def drawn(self, task: Task, batches: Batches) -> Iterator[tuple[list[Any], Any]]:
        """The names of each batch, and what is predicted."""
        from dlzoo.inference.predict import predict
        from dlzoo.specs.batch import part_of
        from dlzoo.visualization import image_grid as tiles
        from dlzoo.visualization.boxes import PREDICTED, with_boxes

        name = self.target.box_names[0]
        for names, x in batches:
            result = predict(task, x)
            for one, image in zip(names, with_boxes(x, part_of(result, name), PREDICTED), strict=True):
                stem = "image" if one == "-" else Path(str(one)).stem
                self.files[free_name(stem, self.used)] = tiles.png(image.permute(1, 2, 0).numpy())
            yield names, result

    def write(self) -> None:
        if self.files:
            path = paths.write_folder(self.folder, "pictures", self.files, default=Path(self.folder))
            print(f"pictures   {path}", file=sys.stderr)  # stdout holds the table or the JSON
