"""Which checkpoint is the best, when several are kept."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import run

WINE = ("data=wine", "callbacks=[checkpoint,history]", "optimizer.lr=0.3", "trainer.max_epochs=6")
"""At this rate the last epoch is not the best."""


def weights(path: str | Path) -> Any:
    return torch.load(path, weights_only=True)["state_dict"]


@pytest.mark.parametrize("save_top_k", [2, -1])
def test_the_best_of_several_checkpoints_is_tested(save_top_k: int, tmp_path: Path) -> None:
    one = run(tmp_path / "one", *WINE)
    several = run(tmp_path / "several", *WINE, f"callbacks.checkpoint.save_top_k={save_top_k}")
    rows = [*csv.DictReader((tmp_path / "several" / "metrics.csv").open())]
    losses = [float(row["val/loss"]) for row in rows]
    best = min(range(6), key=losses.__getitem__)
    assert best < 5
    folder = tmp_path / "several" / "checkpoints"
    assert several["checkpoints"]["best"] == str(folder / "best.ckpt")
    assert torch.load(folder / "best.ckpt", weights_only=True)["epoch"] == best
    torch.testing.assert_close(weights(folder / "best.ckpt"), weights(one["checkpoints"]["best"]), rtol=0, atol=0)
    assert several["metrics"]["test/accuracy"] == one["metrics"]["test/accuracy"]
    kept = sorted(range(6), key=losses.__getitem__)[: save_top_k if save_top_k > 0 else None]
    named = {path.name for path in folder.glob("best-*")}
    assert named == {f"best-epoch={i:03d}-step={rows[i]['step']}.ckpt" for i in kept}


def test_the_best_of_several_checkpoints_survives_a_resume(tmp_path: Path) -> None:
    """After the best epoch nothing is better: best.ckpt stays."""
    words = (*WINE, "callbacks.checkpoint.save_top_k=2")
    whole = run(tmp_path / "whole", *words)
    part = run(tmp_path / "part", *(word.replace("epochs=6", "epochs=5") for word in words))
    resumed = run(tmp_path / "part", *words, f"ckpt={part['checkpoints']['last']}")
    assert resumed["metrics"] == whole["metrics"]
    torch.testing.assert_close(weights(resumed["checkpoints"]["best"]), weights(whole["checkpoints"]["best"]))
