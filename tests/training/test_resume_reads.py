"""A run that is continued reads its checkpoint once, however many of its parts look into it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import Outcome

from dlzoo.training import results
from dlzoo.utils import archives

WORDS = ["data=digits", "net.hidden=[4]", "data.batch_size=200", "trainer=cpu", "callbacks=checkpoint", "logger=none"]
AGENT = [
    "model=dqn",
    "data=cartpole",
    "data.steps_per_epoch=200",
    "data.val_episodes=1",
    "data.test_episodes=1",
    "trainer=cpu",
]
AGENT += ["callbacks=checkpoint", "logger=none", "task.learn_after=50"]
AUTO = [word for word in WORDS if "batch_size" not in word] + ["data.batch_size=auto"]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was loaded and compared with its digest."""
    seen: Counter[str] = Counter()
    load, check = torch.load, archives.check

    def counted_load(file: Any, *args: Any, **options: Any) -> Any:
        seen[f"load {Path(file).name}"] += not options.get("mmap")  # which reads no tensor
        return load(file, *args, **options)

    def counted_check(path: Path) -> None:
        seen[f"check {path.suffix if path.suffix == '.npz' else path.name}"] += 1
        check(path)

    monkeypatch.setattr(torch, "load", counted_load)
    monkeypatch.setattr(archives, "check", counted_check)
    return seen


@pytest.mark.parametrize("words", [WORDS, AGENT, AUTO], ids=["classifier", "agent", "batch size that was found"])
@pytest.mark.parametrize("how", ["ckpt=run/checkpoints/last.ckpt", "resume=auto"])
def test_the_checkpoint_is_read_once(
    words: list[str], how: str, reads: Counter[str], train: Callable[..., Outcome], monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    begun = train(*words, "trainer.max_epochs=1", "hydra.run.dir=run")
    assert begun.code == 0, begun.err
    given = ["hydra.run.dir=run"] if how == "resume=auto" else []
    if how == "resume=auto":  # a run that is finished has nothing to continue
        found = results.read(tmp_path / "run") | {"status": "interrupted"}
        results.write(tmp_path / "run", found)
        words = [*words, "trainer.max_epochs=1"]
    reads.clear()
    done = train(how, *given, *(words if given else ["trainer.max_epochs=2"]))
    assert done.code == 0, done.err
    assert reads["load last.ckpt"] == reads["check last.ckpt"] == 1, reads
    assert reads["check .npz"] <= 2, reads  # the arrays beside last.ckpt, and those beside best.ckpt
