"""Images that a model has made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dlzoo.utils import files as paths

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    from torch import Tensor


class Images:
    """Images (N, C, H, W) in [0, 1]. In a notebook they show themselves as a grid.

    Args:
        tensor: the pixels.
    """

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __len__(self) -> int:
        return len(self.tensor)

    def __getitem__(self, index: int | slice) -> Images:
        return Images(self.tensor[index] if isinstance(index, slice) else self.tensor[index][None])

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        array = self.tensor.cpu().numpy()
        return array if dtype is None else array.astype(dtype)

    @property
    def grid(self) -> PIL.Image.Image:
        """All of them in one picture."""
        from PIL import Image

        from dlzoo.visualization import image_grid

        return Image.fromarray(image_grid.tile(self.tensor, image_grid.columns_of(len(self))))

    def files(self) -> dict[str, bytes]:
        """``grid.png`` and one PNG for each image, by name."""
        from dlzoo.visualization import image_grid as tiles

        digits = max(5, len(str(len(self))))
        grid = tiles.png(tiles.tile(self.tensor, tiles.columns_of(len(self))))
        return {"grid.png": grid} | {
            f"{i:0{digits}d}.png": tiles.png(tiles.pixels(image)) for i, image in enumerate(self.tensor)
        }

    def save(self, folder: str | Path) -> Path:
        """Write `files` to a folder, which is created.

        Raises:
            UserError: it cannot be created or written.
        """
        return paths.write_folder(str(folder), "folder", self.files(), default=Path(folder))

    def __repr__(self) -> str:
        num, channels, height, width = self.tensor.shape
        return f"<{num} images, {channels}x{height}x{width}>"

    def _repr_png_(self) -> bytes:
        return self.files()["grid.png"]
