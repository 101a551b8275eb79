"""`dlzoo.commands.sample` for sound."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlzoo.inference.sound import Options

if TYPE_CHECKING:
    from dlzoo.tasks.base import Task


def samples(task: Task) -> bool:
    """Whether this module can sample from the task."""
    return task.as_sound_model() is not None


def sample(task: Task, options: Options) -> dict[str, bytes]:
    """samples.png and a WAV file of each recording: a pure function of the weights and the options."""
    from dlzoo.api.sounds import sounds_of

    model = task.as_sound_model()
    assert model is not None
    return sounds_of(model, options).files()
