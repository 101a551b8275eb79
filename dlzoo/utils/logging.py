"""Keep to the messages that a user can act on."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlzoo.utils import archives as durable

if TYPE_CHECKING:
    pass


def quiet() -> None:
    """Keep to what a user can act on: Lightning's advice about workers and loggers does not concern our loaders."""
    import logging

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    advice = (
        "does not have many workers",
        "sync_dist=True",
        "exists and is not empty",
        "LeafSpec",
        "logging interval",
        "in eval mode",
        "returned `None`",  # a player at random has nothing to optimize
        "which is not available but strict",  # a plateau schedule in an epoch without validation: see tasks/base.py
        "lr_scheduler.step\\(\\)` before",  # a schedule may begin while a replay buffer is still being filled
    )
    for text in advice:
        warnings.filterwarnings("ignore", f".*{text}.*")
    threading.excepthook = _hear_of_thread


def _hear_of_thread(failed: Any) -> None:
    """TensorBoard's writer fails in a thread, and then once more in ours, which says that a disk is full."""
    if durable.refusal(failed.exc_value, Path()) is None:
        threading.__excepthook__(failed)
