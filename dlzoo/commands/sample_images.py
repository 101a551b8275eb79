"""`dlzoo.commands.sample` for images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlzoo.api.images import Images
from dlzoo.inference.images import Options, generate

if TYPE_CHECKING:
    from dlzoo.tasks.base import Task


def samples(task: Task) -> bool:
    """Whether this module can sample from the task's net."""
    return task.as_generator() is not None


def sample(task: Task, options: Options) -> dict[str, bytes]:
    """grid.png and one PNG for each image: a pure function of the weights and the options."""
    generator = task.as_generator()
    assert generator is not None
    return Images(generate(generator, options)).files()
