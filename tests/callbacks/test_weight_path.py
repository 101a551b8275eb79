"""The path of two weights is that of gradient descent, over the loss that the task has there."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dlzoo.callbacks import weight_path
from dlzoo.config import compose as config
from dlzoo.data.sequences.counting import Counting
from dlzoo.errors import NonFinite, UserError
from dlzoo.training import run
from dlzoo.visualization.regions import Plane

WORDS = [
    "data=counting", "model=counting_rnn", "net.start=[-2,1]", "callbacks=[checkpoint,weight_path]", "trainer=cpu",
    "data.length=5", "data.num_samples=40", "data.batch_size=36", "callbacks.weight_path.resolution=6", "logger=none",
]  # fmt: skip
"""Every epoch is one batch: 36 rows of training, 4 of validation."""


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the figures are drawn from."""
    seen: list[dict[str, Any]] = []
    draw = weight_path.weight_path

    def spy(plane: Plane, losses: Tensor, path: Tensor, **options: Any) -> Any:
        seen.append({"plane": plane, "losses": losses, "path": path, **options})
        return draw(plane, losses, path, **options)

    monkeypatch.setattr(weight_path, "weight_path", spy)
    return seen


def by_hand(start: list[float], rows: Tensor, steps: int, rate: float = 1e-3) -> np.ndarray:
    """The path of plain gradient descent on all rows (N, T, 1), in the order W, U."""
    u, w = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in start)
    path = [[w.item(), u.item()]]
    for _ in range(steps):
        loss = mean_loss(w, u, rows)
        for p, gradient in zip((u, w), torch.autograd.grad(loss, (u, w)), strict=True):
            p.data -= rate * gradient
        path.append([w.item(), u.item()])
    return np.array(path)


def mean_loss(w: Tensor, u: Tensor, rows: Tensor) -> Tensor:
    state = torch.zeros(len(rows), dtype=torch.float64)
    for t in range(rows.shape[1]):
        state = w * state + u * rows[:, t, 0]
    return (state - rows.sum((1, 2))).square().mean()


def rows_of_training() -> Tensor:
    data = Counting(length=5, num_samples=40, batch_size=36)
    data.prepare_data()
    data.setup()
    return torch.cat([batch[0] for batch in data.train_dataloader()]).double()


def test_the_path_is_that_of_gradient_descent_over_its_loss(tmp_path: Path, drawn: list[dict[str, Any]]) -> None:
    run.run(config.compose([*WORDS, "trainer.max_epochs=4"]), tmp_path, [])
    (figure,) = drawn
    rows = rows_of_training()
    assert figure["path"].numpy() == pytest.approx(by_hand([-2.0, 1.0], rows, 4), rel=1e-4)
    assert figure["names"] == ["recurrent", "input"]
    plane, losses = figure["plane"], figure["losses"]
    for i, k in ((0, 5), (3, 1)):
        expected = mean_loss(plane.across[k].double(), plane.up[i].double(), rows)
        assert losses[i, k].item() == pytest.approx(expected.item(), rel=1e-4)
    assert (tmp_path / "weight_path.png").stat().st_size > 5_000


def test_a_resumed_run_draws_the_whole_path(tmp_path: Path, drawn: list[dict[str, Any]]) -> None:
    run.run(config.compose([*WORDS, "trainer.max_epochs=4"]), tmp_path / "whole", [])
    first = run.run(config.compose([*WORDS, "trainer.max_epochs=2"]), tmp_path / "part", [])
    words = [*WORDS, "trainer.max_epochs=4", f"ckpt={first['checkpoints']['last']}"]
    run.run(config.compose(words), tmp_path / "rest", words)
    whole, part, rest = (figure["path"] for figure in drawn)
    assert len(part) == 3
    assert torch.equal(whole, rest)


def test_an_explosion_does_not_hide_the_path_before() -> None:
    steps = torch.linspace(0, 1, 40)[:, None].expand(40, 2)
    far = torch.tensor([[1e12, 1e9]])
    near = weight_path.typical(torch.cat([torch.tensor([[9.0, -9.0]]), steps, far]))
    assert near.tolist() == [True] * 41 + [False]


def test_weights_that_no_plane_can_hold_are_not_drawn(tmp_path: Path, drawn: list[dict[str, Any]]) -> None:
    words = [*WORDS, "net.start=[3e38,0]", "trainer.max_epochs=1", "on_nan=skip", "callbacks=weight_path"]
    with contextlib.suppress(UserError, NonFinite):  # the run ends, with or without a picture, but for no other reason
        run.run(config.compose(words), tmp_path, words)
    assert all(figure["path"].abs().max() < 1e30 for figure in drawn)


def test_a_net_of_more_weights_is_refused(tmp_path: Path) -> None:
    words = ["model=mlp", "data=iris", "callbacks=weight_path", "trainer=cpu", "trainer.max_epochs=1", "logger=none"]
    with pytest.raises(UserError, match=r"callbacks.weight_path draws two weights .* but MLP has \d+; remove it"):
        run.run(config.compose(words), tmp_path, words)


@pytest.mark.parametrize("start", ["[1]", "[1,2,3]", "[nan,0]"])
def test_starts_that_are_none(start: str, tmp_path: Path) -> None:
    words = [*WORDS[:2], f"net.start={start}", "trainer=cpu"]
    with pytest.raises(UserError, match=r"net.start"):
        run.run(config.compose(words), tmp_path, words)
