"""Small runs of nets that make pictures, for the tests beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dlzoo.config import compose as config
from dlzoo.tasks.manual import ManualTask
from dlzoo.training.resume import resolve_resume
from dlzoo.training.run import run as run_training
from dlzoo.utils import checkpoint_files

QUICK = ("trainer=cpu", "trainer.max_epochs=2", "callbacks=[history,checkpoint]", "logger=none")
"""Without pictures, on 8x8 digits."""


def run(folder: Path, *words: str) -> dict[str, Any]:
    """The results of a run with these words behind `QUICK`."""
    return run_training(config.compose([*QUICK, *words]), folder, [*QUICK, *words])


def resume(folder: Path, *words: str) -> dict[str, Any]:
    """Continue a run of `run` from its last checkpoint, as the command line would."""
    argv = resolve_resume([f"ckpt={folder / 'checkpoints' / 'last.ckpt'}", *words]).argv
    argv = [word for word in argv if not word.startswith("hydra.")]
    return run_training(config.compose(argv), folder, argv)


def run_until(task: type[ManualTask], stop: tuple[int, int], folder: Path, *words: str) -> None:
    """A run that is stopped when the task should learn a batch, with a checkpoint of each batch before.

    Args:
        stop: the epoch and the batch.
    """
    learn = task.learn_batch

    def stopped(self: ManualTask, batch: Any, batch_idx: int) -> None:
        if (self.current_epoch, batch_idx) == stop:
            raise RuntimeError("stopped")
        learn(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task, "learn_batch", stopped)
        with pytest.raises(RuntimeError, match="stopped"):
            run(folder, *words, "callbacks.last_checkpoint.every_minutes=1e-9")


def content(folder: Path, name: str = "last") -> dict[str, Any]:
    return checkpoint_files.read(folder / "checkpoints" / f"{name}.ckpt")


def whole_and_parts(folder: Path, *words: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The last checkpoints of three epochs at once, and of one that was continued for two more."""
    run(folder / "whole", *words, "trainer.max_epochs=3")
    run(folder / "parts", *words, "trainer.max_epochs=1")
    resume(folder / "parts", "trainer.max_epochs=3")
    return content(folder / "whole"), content(folder / "parts")


def same(a: Any, b: Any) -> bool:
    """Whether two nests of dicts, lists and tensors are equal, tensors bit by bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b
