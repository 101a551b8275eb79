"""Runs continued from what a kill would have left at any checkpoint: copies of the run folder, taken while it trains.

A SIGKILL leaves what is on the disk, so a copy of the folder is what a run that is killed at that moment leaves, and
one undisturbed run serves for all moments. What the process itself held, the copy does not have.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from killing import differences, left_by

from dlzoo import config, train
from dlzoo.callbacks.last_checkpoint import LastCheckpoint

COMMON = (
    "model=mlp data=iris net.hidden=[6] net.dropout=0.2 data.batch_size=16 data.val_fraction=0.25 optimizer.lr=0.1 "
    "trainer=cpu deterministic=true logger=none trainer.max_epochs=5 callbacks.last_checkpoint.every_n_steps=3"
)
SCHEDULERS = {
    "none": "",
    "warm-up": "scheduler.warmup=1.5",
    "step": "scheduler=step scheduler.every=1 scheduler.gamma=0.5",
    "exponential": "scheduler=exponential scheduler.gamma=0.5",
    "cosine": "scheduler=cosine scheduler.warmup=0.5",
    "onecycle": "scheduler=onecycle",
    "plateau": "scheduler=plateau scheduler.patience=0 scheduler.factor=0.5 optimizer.lr=4",
    "plateau, warm-up": "scheduler=plateau scheduler.patience=0 scheduler.factor=0.5 scheduler.warmup=1.5 optimizer.lr=4",
}
CALLBACKS = {
    "checkpoint": "callbacks=[history,checkpoint]",
    "early stopping": "callbacks=[history,checkpoint,early_stopping] callbacks.early_stopping.patience=2",
    "EMA": "callbacks=[history,checkpoint,ema] callbacks.ema.decay=0.9",
    "EMA each epoch": "callbacks=[history,checkpoint,ema] callbacks.ema.update_starting_at_epoch=1 "
    "callbacks.ema.update_every_n_steps=1000",
    "both": "callbacks=[history,checkpoint,ema,early_stopping] callbacks.early_stopping.patience=1",
    "gradient norms": "callbacks=[history,checkpoint,gradient_norms]",
}
TRAINING = {
    "Adam": "optimizer=adam",
    "momentum": "optimizer=momentum",
    "accumulation": "trainer.accumulate_grad_batches=2",
    "clipping": "trainer.gradient_clip_val=0.5",
    "bf16": "trainer.precision=bf16-mixed",
    "all": "trainer.accumulate_grad_batches=3 trainer.gradient_clip_val=0.5 trainer.precision=bf16-mixed",
    "LBFGS": "optimizer=lbfgs optimizer.lr=0.1 optimizer.max_iter=3",
}
VALIDATION = {
    "each epoch": "",
    "twice an epoch": "trainer.val_check_interval=0.5",
    "not at the end": "trainer.val_check_interval=0.4",
    "every second epoch": "trainer.check_val_every_n_epoch=2",
}


def words_of(scheduler: str, callbacks: str, training: str, validation: str) -> list[str]:
    parts = CALLBACKS[callbacks], SCHEDULERS[scheduler], TRAINING[training], VALIDATION[validation]
    return " ".join([COMMON, *parts]).split()


def run(folder: Path, words: Sequence[str]) -> dict[str, Any]:
    """A run in ``<folder>/run``, and what it leaves."""
    train.run(config.compose(words), folder / "run", list(words))
    return left_by(folder)


def continued(folder: Path, words: Sequence[str], ckpt: str = "last") -> dict[str, Any]:
    """The run in ``<folder>/run``, continued."""
    path = folder / "run" / "checkpoints" / f"{ckpt}.ckpt"
    cfg = config.compose([*words, config.quoted("ckpt", path)])
    train.run(cfg, folder / "run", list(words))
    return left_by(folder)


class Copies:
    """Copies of a run's folder, as they are after each writing of ``last.ckpt`` and just before it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.taken: list[tuple[str, Path]] = []
        save = LastCheckpoint.save

        def copied(callback: LastCheckpoint, trainer: Any) -> None:
            if callback.path.is_file():
                self.take(trainer, callback.path, "before")
            save(callback, trainer)
            self.take(trainer, callback.path, "after")

        monkeypatch.setattr(LastCheckpoint, "save", copied)

    def take(self, trainer: Any, last: Path, when: str) -> None:
        is_over = trainer.fit_loop.epoch_progress.current.processed == trainer.fit_loop.epoch_progress.current.ready
        place = "at the end of" if is_over else "within"
        name = f"{len(self.taken)}: {when} last.ckpt at step {trainer.global_step}, {place} epoch "
        to = self.folder / f"{len(self.taken)}"
        shutil.copytree(last.parents[1], to / "run")
        self.taken.append((f"{name}{trainer.current_epoch + 1}", to))


def broken_by_kills(
    folder: Path, words: Sequence[str], moments: Sequence[int] | None = None, *, move: bool = False
) -> tuple[int, list[str]]:
    """How many continuations were compared with the undisturbed run, and in which of them something differs.

    Args:
        moments: which of the copies are continued; all of them if None.
        move: each is continued in a folder of another name.
    """
    with pytest.MonkeyPatch.context() as patch:
        copies = Copies(folder / "copies", patch)
        expected = run(folder / "whole", words)
    shutil.move(folder / "whole", folder / "done")
    chosen = copies.taken if moments is None else [copies.taken[i % len(copies.taken)] for i in moments]
    broken = []
    for number, (name, copy) in enumerate(chosen):
        place = folder / (f"moved {number}" if move else "whole")
        shutil.move(copy, place)
        if found := differences(expected, continued(place, words)):
            broken.append(f"{name}: {'; '.join(found[:3])}")
        shutil.rmtree(place)
    return len(chosen), broken


def broken_by_more_epochs(folder: Path, words: Sequence[str]) -> list[str]:
    """Where a run of three epochs that is continued to five differs from one of five."""
    expected = run(folder / "whole", [*words, "trainer.max_epochs=5"])
    run(folder / "short", [*words, "trainer.max_epochs=3"])
    return differences(expected, continued(folder / "short", [*words, "trainer.max_epochs=5"]))
