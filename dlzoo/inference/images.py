"""Sample images from a generative task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlzoo.config.introspection import check_number
from dlzoo.errors import UserError, nearest

if TYPE_CHECKING:
    from torch import Tensor

    from dlzoo.tasks.interfaces import Generating


BATCH_SIZE = 256


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the sample command for images."""

    n: int = 64
    class_name: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.n <= 100_000:
            raise UserError(f"n={self.n} must lie between 1 and 100,000: it is the number of images to generate")
        check_number("seed", self.seed)


def generate(task: Generating, options: Options) -> Tensor:
    """(n, C, H, W) in [0, 1]."""
    import torch

    latents, labels = task.draw(options.n, options.seed), labels_of(task, options)
    with torch.inference_mode():
        parts = zip(latents.split(BATCH_SIZE), labels.split(BATCH_SIZE), strict=True)
        images = torch.cat([task.decode(z, y) for z, y in parts])
    if not images.isfinite().all():
        raise UserError("the images are not finite: the training of this checkpoint diverged")
    return images


def labels_of(task: Generating, options: Options) -> Tensor:
    """The class of each image, (n,); ignored by unconditional nets."""
    import torch

    names = task.spec.target.names
    every = torch.arange(options.n) % max(len(names), 1)
    if options.class_name is None:
        return every
    if not task.is_conditional:
        raise UserError(f"class={options.class_name}: this model is not class-conditional; cvae and cgan are")
    if options.class_name not in names:
        raise UserError(f"class={options.class_name} is unknown; {nearest(options.class_name, names)}")
    return torch.full((options.n,), names.index(options.class_name))
