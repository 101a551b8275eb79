"""Several processes learn what one process learns, tell the same figures, and leave one folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from killing import finish, left_by
from rank_runs import QUICK, finish_ranks


def log(folder: Path) -> str:
    return (folder / "log.txt").read_text()


def assert_close(one: dict, other: dict, place: str) -> None:
    for name, a in one.items():
        b = other[name]
        if isinstance(a, torch.Tensor):
            assert torch.allclose(a, b, rtol=0, atol=1e-6), f"{place}.{name}: {(a - b).abs().max()}"
        else:
            assert float(a) == pytest.approx(float(b), abs=2e-6), f"{place}.{name}"


def assert_same_run(one: Path, several: Path) -> None:
    """Weights to 1e-6, and each figure of each epoch and of the test."""
    a, b = left_by(one), left_by(several)
    for name in ("best", "last"):
        assert_close(a["weights"][name], b["weights"][name], name)
    assert_close(a["metrics"], b["metrics"], "metrics")
    assert len(a["rows"]) == len(b["rows"])
    for row, other in zip(a["rows"], b["rows"], strict=True):
        assert_close(row, other, f"epoch {row['epoch']}")
    assert a["progress"] == b["progress"]


CASES = {
    "adam": "optimizer=adam data.batch_size=64",
    "odd": "optimizer=momentum data.batch_size=37 trainer.gradient_clip_val=0.5 trainer.accumulate_grad_batches=3",
    "weighted": "optimizer=sgd data.batch_size=50 task.class_weights=balanced task.l2=0.001 scheduler=onecycle",
    "three": "optimizer=adam data.batch_size=37",
}


@pytest.mark.parametrize("case", CASES)
def test_several_processes_learn_what_one_learns(case: str, tmp_path: Path) -> None:
    words = [*QUICK, *CASES[case].split()]
    assert finish(tmp_path / "one", words) == 0, log(tmp_path / "one")
    world = 3 if case == "three" else 2
    assert finish_ranks(tmp_path / "several", words, world) == [0] * world, log(tmp_path / "several")
    assert_same_run(tmp_path / "one", tmp_path / "several")
