"""When the checkpoint to continue from is written: only where a continued run goes on exactly."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from tiny_runs import make

from dlzoo.callbacks.last_checkpoint import LastCheckpoint
from dlzoo.errors import UserError

END = -1


class Noted(LastCheckpoint):
    """Notes (epoch, batch) instead of writing; `END` of the epoch is a batch too."""

    def __init__(self, **options: Any) -> None:
        super().__init__(dirpath="unused", **options)
        self.noted: list[tuple[int, int]] = []
        self.at_end = False

    def save(self, trainer: pl.Trainer) -> None:
        self.noted.append((trainer.current_epoch, END if self.at_end else trainer.fit_loop.batch_idx))

    def on_train_epoch_end(self, *given: Any) -> None:
        self.at_end = True
        super().on_train_epoch_end(*given)
        self.at_end = False


def noted(folder: Path, callback: dict[str, Any], *, task: dict[str, Any] | None = None, **options: Any) -> Any:
    """When it is written in two epochs of the eight batches of 54 rows; 1 epoch if all are alike."""
    saving = Noted(**callback)
    trainer, model, data = make(folder, saving, enable_checkpointing=True, **options)
    data.batch_size = 7
    model.__class__ = type("Changed", (type(model),), task or {})
    trainer.fit(model, datamodule=data)
    by_epoch = [[batch for epoch, batch in saving.noted if epoch == e] for e in range(2)]
    return by_epoch[0] if by_epoch[0] == by_epoch[1] else by_epoch


def test_without_a_number_of_steps_or_minutes_it_is_written_after_each_epoch(tmp_path: Path) -> None:
    assert noted(tmp_path, {}) == [END]


def test_every_step(tmp_path: Path) -> None:
    """Not after the last batch: then the epoch ends."""
    assert noted(tmp_path, {"every_n_steps": 1}) == [0, 1, 2, 3, 4, 5, 6, END]


def test_every_third_step(tmp_path: Path) -> None:
    """Steps 3 and 6, 9, 12 and 15, which are batches 0, 3 and 6 of the second epoch."""
    assert noted(tmp_path, {"every_n_steps": 3}) == [[2, 5, END], [0, 3, 6, END]]


@pytest.mark.parametrize("callback", [{"every_n_steps": 1}, {"every_minutes": 1e-9}])
def test_not_between_batches_whose_gradients_make_one_step(callback: dict[str, Any], tmp_path: Path) -> None:
    """Gradients are in no checkpoint."""
    assert noted(tmp_path, callback, accumulate_grad_batches=3) == [2, 5, END]


def test_not_where_a_task_that_steps_by_itself_accumulates(tmp_path: Path) -> None:
    assert noted(tmp_path, {"every_n_steps": 1}, task={"batches_per_step": 2}) == [1, 3, 5, END]


def test_not_before_a_validation_within_the_epoch(tmp_path: Path) -> None:
    """It comes after batches 3 and 6 of each epoch, and belongs to them."""
    assert noted(tmp_path, {"every_n_steps": 1}, val_check_interval=3) == [0, 1, 3, 4, 6, END]


def test_not_within_an_epoch_of_a_task_that_cannot_go_on_there(tmp_path: Path) -> None:
    assert noted(tmp_path, {"every_n_steps": 1}, task={"resumes_mid_epoch": False}) == [END]


def test_by_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock is a quarter of a minute later: at the start, after each batch."""
    now = iter(range(0, 10**6, 15))
    monkeypatch.setattr("dlzoo.callbacks.last_checkpoint.time.monotonic", lambda: float(next(now)))
    saving = LastCheckpoint(dirpath=str(tmp_path), every_minutes=1)
    trainer, model, data = make(tmp_path, saving, epochs=1, enable_checkpointing=True)
    data.batch_size = 4
    written: list[int] = []
    monkeypatch.setattr(trainer, "save_checkpoint", lambda path: written.append(trainer.fit_loop.batch_idx))
    trainer.fit(model, datamodule=data)
    assert written == [3, 7, 11, 13]  # 13: the epoch's end


def test_minutes_count_from_the_start_of_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not from when the callback was made: data may be downloaded in between."""
    now = 0.0
    monkeypatch.setattr("dlzoo.callbacks.last_checkpoint.time.monotonic", lambda: now)
    saving = LastCheckpoint(dirpath=str(tmp_path), every_minutes=1)
    trainer = SimpleNamespace(global_step=1, world_size=1)
    now = 1000.0
    saving.on_train_start(trainer, None)  # type: ignore[arg-type]
    now = 1059.0
    assert not saving.is_due(trainer)  # type: ignore[arg-type]
    now = 1060.0
    assert saving.is_due(trainer)  # type: ignore[arg-type]


def test_before_the_first_step_nothing_is_due() -> None:
    saving = LastCheckpoint(dirpath="unused", every_n_steps=1)
    assert [saving.is_due(SimpleNamespace(global_step=step)) for step in (0, 1)] == [False, True]  # type: ignore[arg-type]


@pytest.mark.parametrize("world_size", [1, 2])
def test_all_ranks_save_when_the_clock_of_one_says_so(world_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single process asks nobody."""
    asked: list[float] = []

    def latest(waited: torch.Tensor) -> torch.Tensor:
        asked.append(waited.item())
        return torch.ones(())

    monkeypatch.setattr("dlzoo.callbacks.last_checkpoint.gathering.all_reduce_max", latest)
    saving = LastCheckpoint(dirpath="unused", every_minutes=10)
    trainer = SimpleNamespace(
        global_step=1, world_size=world_size, strategy=SimpleNamespace(root_device=torch.device("cpu"))
    )
    assert saving.is_due(trainer) is (world_size == 2)  # type: ignore[arg-type]
    assert asked == [0.0] * (world_size - 1)


def test_without_steps_or_minutes_a_batch_costs_nothing() -> None:
    """Lightning does not call what is None."""
    assert LastCheckpoint(dirpath="unused").on_train_batch_end is None
    assert LastCheckpoint(dirpath="unused", every_minutes=1).on_train_batch_end is not None


@pytest.mark.parametrize("key", ["every_n_steps", "every_minutes"])
@pytest.mark.parametrize("value", [0, -1])
def test_mistakes(key: str, value: int) -> None:
    with pytest.raises(UserError, match=rf"callbacks\.last_checkpoint\.{key}={value} must be greater than 0"):
        LastCheckpoint(dirpath="x", **{key: value})  # type: ignore[arg-type]


def test_the_file_is_named_once_it_is_there(tmp_path: Path) -> None:
    saving = LastCheckpoint(dirpath=str(tmp_path / "checkpoints"))
    trainer, model, data = make(tmp_path, saving, epochs=1, enable_checkpointing=True)
    assert saving.best_model_path == ""
    trainer.fit(model, datamodule=data)
    path = tmp_path / "checkpoints" / "last.ckpt"
    assert saving.best_model_path == str(path)
    assert torch.load(path, weights_only=True)["epoch"] == 0
    for folder, expected in ((tmp_path / "checkpoints", str(path)), (tmp_path, "")):
        other = LastCheckpoint(dirpath=str(folder))
        other.on_load_checkpoint(trainer, model, {})
        assert other.best_model_path == expected
