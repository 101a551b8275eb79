"""Worker processes that die or fall silent end the run with a sentence, not with a hang."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from small_runs import Train

from dlzoo.data import loaders
from dlzoo.data.images import folder as image_folder


def be_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def be_silent() -> None:
    time.sleep(60)  # longer than the patience of the test; a run that waits for its end ends well, and fails the test


def run_out() -> None:
    raise MemoryError


FAULTS = {
    "killed": (be_killed, "a data loading worker was killed"),
    "silent": (be_silent, "sent nothing for 300 seconds"),
    "out of memory": (run_out, "out of memory on cpu in training with data.batch_size=8"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_worker_in_trouble(name: str, photos: Path, train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    fault, message = FAULTS[name]
    read = image_folder.read_images

    def read_images(*given: Any) -> Any:
        if multiprocessing.parent_process() is not None:
            fault()
        return read(*given)

    monkeypatch.setattr(image_folder, "read_images", read_images)
    monkeypatch.setattr(loaders, "WORKER_TIMEOUT_SECONDS", 2)
    words = ("model=mlp", "data=image_folder", f"data.path={photos}", "data.size=8", "data.batch_size=8", "logger=none")
    done = train(*words, "data.placement=workers", "data.num_workers=2", "trainer.max_epochs=1", "callbacks=none")
    assert done.code == 1, done.err
    assert message in done.err
    assert "data.num_workers" in done.err or name == "out of memory"
    assert "Traceback" not in done.err
