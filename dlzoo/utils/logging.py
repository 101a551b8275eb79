"""Silences messages that a user cannot act on."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import Any

from dlzoo.utils import archives as durable


def quiet() -> None:
    """Silence Lightning's advice about data-loading workers and loggers, which does not apply to dlzoo's loaders."""
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
        "returned `None`",  # a random agent has nothing to optimize
        "which is not available but strict",  # a plateau schedule in an epoch without validation
        "lr_scheduler.step\\(\\)` before",  # a schedule may start while a replay buffer is still being filled
    )
    for text in advice:
        warnings.filterwarnings("ignore", f".*{text}.*")
    threading.excepthook = _thread_excepthook


def _thread_excepthook(failed: Any) -> None:
    """Ignore write failures of TensorBoard's writer thread: the main thread fails too, and reports the full disk."""
    if durable.write_failure(failed.exc_value, Path()) is None:
        threading.__excepthook__(failed)
