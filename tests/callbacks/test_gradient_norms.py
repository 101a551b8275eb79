"""The gradient norms that a run leaves are those before clipping, one for each step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dlzoo.callbacks.gradient_norms import GradientNorms
from dlzoo.config import compose as config
from dlzoo.tasks.base import Task
from dlzoo.training import run


def test_each_step_leaves_its_norm_before_clipping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    published: list[list[float]] = []

    def by_hand(self: Task, *args: object) -> None:
        squares = [p.grad.square().sum() for p in self.parameters() if p.grad is not None]
        seen.append(torch.stack(squares).sum().sqrt().item())

    on_train_end = GradientNorms.on_train_end

    def spy(self: GradientNorms, *args: object) -> None:
        on_train_end(self, *args)  # type: ignore[arg-type]
        published.append(list(self.norms))

    monkeypatch.setattr(Task, "on_after_backward", by_hand)
    monkeypatch.setattr(GradientNorms, "on_train_end", spy)
    words = ["data=counting", "model=counting_rnn", "callbacks=gradient_norms", "trainer=cpu", "trainer.max_epochs=2"]
    run.run(config.compose([*words, "trainer.gradient_clip_val=0.5"]), tmp_path, [])
    assert len(seen) == 2 * 18
    assert max(seen) > 1
    assert published[0] == pytest.approx(seen, rel=1e-5)
    assert (tmp_path / "gradient_norms.png").stat().st_size > 5_000
    (folder,) = {path.parent for path in tmp_path.rglob("events.out.tfevents.*")}
    events = EventAccumulator(str(folder)).Reload().Scalars("gradient_norm")
    assert [event.value for event in events] == pytest.approx(seen, rel=1e-5)
    assert [event.step for event in events] == list(range(36))
