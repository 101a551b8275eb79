"""`dlzoo.commands.sample` for text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlzoo.inference.text import Options, generate

if TYPE_CHECKING:
    from dlzoo.tasks.base import Task


def samples(task: Task) -> bool:
    """Whether this module can sample from the task."""
    return task.as_language_model() is not None


def sample(task: Task, options: Options) -> bytes:
    """The prompt and its continuation, in UTF-8."""
    model = task.as_language_model()
    assert model is not None
    return (generate(model.net, model.spec, options) + "\n").encode()
