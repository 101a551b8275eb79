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

from dlzoo.callbacks.last_checkpoint import LastCheckpoint
from dlzoo.config import compose as config
from dlzoo.config import overrides
from dlzoo.training.run import run as run_training

COMMON = (
    "model=mlp data=iris net.hidden=[6] net.dropout=0.2 data.batch_size=16 data.val_fraction=0.25 optimizer.lr=0.1 "
    "trainer=cpu deterministic=true logger=none trainer.max_epochs=5 callbacks.last_checkpoint.every_n_steps=3"
)
PLATEAU = "scheduler=plateau scheduler.patience=0 scheduler.factor=0.5 optimizer.lr=4"
"""With a rate that is too high, so that the plateau comes."""
SCHEDULERS = {
    "none": "",
    "warm-up": "scheduler.warmup=1.5",
    "step": "scheduler=step scheduler.every=1 scheduler.gamma=0.5",
    "exponential": "scheduler=exponential scheduler.gamma=0.5",
    "cosine": "scheduler=cosine scheduler.warmup=0.5",
    "onecycle": "scheduler=onecycle",
    "plateau": PLATEAU,
    "plateau, warm-up": f"{PLATEAU} scheduler.warmup=1.5",
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
    run_training(config.compose(words), folder / "run", list(words))
    return left_by(folder)


def continued(folder: Path, words: Sequence[str], ckpt: str = "last") -> dict[str, Any]:
    """The run in ``<folder>/run``, continued."""
    path = folder / "run" / "checkpoints" / f"{ckpt}.ckpt"
    cfg = config.compose([*words, overrides.quoted("ckpt", path)])
    run_training(cfg, folder / "run", list(words))
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


class Undisturbed:
    """One run, what it leaves, and copies of its folder from while it trained."""

    def __init__(self, folder: Path, words: Sequence[str]) -> None:
        self.folder, self.words = folder, words
        with pytest.MonkeyPatch.context() as patch:
            copies = Copies(folder / "copies", patch)
            self.left = run(folder / "whole", words)
        self.copies = copies.taken
        shutil.move(folder / "whole", folder / "done")

    def broken_by_kill(self, moment: int, *, move: bool = False) -> list[str]:
        """What differs if a run is killed at this moment and continued, perhaps in a folder of another name."""
        name, copy = self.copies[moment % len(self.copies)]
        place = self.folder / ("moved" if move else "whole")
        shutil.copytree(copy, place)
        found = differences(self.left, continued(place, self.words))
        shutil.rmtree(place)
        return [f"{name}: {where}" for where in found[:3]]

    def broken_by_more_epochs(self, first: int = 3) -> list[str]:
        """What differs if a run of fewer epochs is continued to as many."""
        run(self.folder / "short", [*self.words, f"trainer.max_epochs={first}"])
        return differences(self.left, continued(self.folder / "short", self.words))[:3]
