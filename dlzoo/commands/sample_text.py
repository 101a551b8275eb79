"""Text from a language model: what `dlzoo.commands.sample` does with a checkpoint of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlzoo.inference.text import Options, generate

if TYPE_CHECKING:
    from dlzoo.tasks.base import Task


def samples(task: Task) -> bool:
    """Whether this module can sample from the task's model."""
    from dlzoo.tasks.language import Language

    return isinstance(task, Language)


def sample(task: Task, options: Options) -> bytes:
    """The prompt and what follows it, in UTF-8."""
    from dlzoo.specs.inputs import TextSpec

    assert isinstance(task.spec, TextSpec)
    return (generate(task.net, task.spec, options) + "\n").encode()
