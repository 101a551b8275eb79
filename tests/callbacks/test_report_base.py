"""What `Report` promises its subclasses: which tasks, which ranks, and when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from tiny_runs import make
from torch.utils.data import DataLoader, TensorDataset

from dlzoo.callbacks.base import Report, Step
from dlzoo.tasks.base import Task

WRITES = ("write_start", "write_epoch", "write_fit", "write")


class Noted(Report):
    """Notes what is called, in its order."""

    def __init__(self, *, applies: bool = True) -> None:
        self.applies = applies
        self.calls: list[str] = []
        self.steps: list[Step] = []

    def applies_to(self, task: Task) -> bool:
        assert isinstance(task, Task)
        return self.applies

    def collect(self, trainer: pl.Trainer, task: Task, step: Step) -> None:
        self.calls.append("collect")
        self.steps.append(step)

    def write_epoch(self, trainer: pl.Trainer, task: Task) -> None:
        """Only reports that have one of their own are asked to write."""

    def __getattribute__(self, name: str) -> Any:
        others = ("begin_test", "collect_validation", "measure", "gather")
        if name in WRITES or name in others:
            return lambda trainer, task, *step: self.calls.append(name)
        return super().__getattribute__(name)


class Reader(Noted):
    needs_data = True


def calls(folder: Path, report: Noted, *, fit: bool = True, **options: Any) -> list[str]:
    trainer, task, data = make(folder, report, epochs=1, **options)
    if fit:
        trainer.fit(task, data)
    trainer.test(task, data, verbose=False)
    return report.calls


def test_the_order_of_the_calls(tmp_path: Path) -> None:
    report = Noted()
    found = calls(tmp_path, report)
    num = found.count("collect")
    assert num > 0
    assert found == [
        "write_start", "collect_validation", "write_epoch", "write_fit", "begin_test", *["collect"] * num,
        "measure", "gather", "write",
    ]  # fmt: skip
    assert [step.batch_idx for step in report.steps] == [*range(num)]
    assert set(report.steps[0].outputs) == {"output", "target", "loss"}
    assert torch.equal(report.steps[0].outputs["target"], report.steps[0].batch[1])


def test_the_sanity_check_is_no_validation(tmp_path: Path) -> None:
    assert calls(tmp_path, Noted(), num_sanity_val_steps=2).count("collect_validation") == 1


def test_nothing_is_called_for_a_task_that_it_does_not_apply_to(tmp_path: Path) -> None:
    assert calls(tmp_path, Noted(applies=False)) == []


def test_other_ranks_collect_but_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = calls(tmp_path, Noted())
    monkeypatch.setattr(pl.Trainer, "is_global_zero", False)
    assert calls(tmp_path, Noted()) == [name for name in first if name not in WRITES]


def test_a_report_that_reads_rows_needs_a_data_module(tmp_path: Path) -> None:
    assert "write" in calls(tmp_path, Reader(), fit=False)
    report = Reader()
    trainer, task, data = make(tmp_path, report)
    data.setup("test")
    x, y = data.arrays("test").x.float(), data.arrays("test").y
    trainer.test(task, DataLoader(TensorDataset(x, y), 16), verbose=False)
    assert report.calls == []
