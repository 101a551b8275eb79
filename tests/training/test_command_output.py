"""What the command ``train`` prints when it is asked about itself, or when nobody reads on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from dlzoo.training import launch

ROOT = Path(__file__).parents[2]


def test_the_version_is_that_of_dlzoo(train: Callable[..., Any]) -> None:
    outcome = train("--version")
    assert (outcome.code, outcome.out) == (0, f"dlzoo {metadata.version('dlzoo')}\n")


@pytest.mark.parametrize("words", [["--help"], ["trainer=cpu", "trainer.max_epochs=1", "callbacks=[progress]"]])
def test_a_reader_that_stops_reading_is_no_error(words: list[str], tmp_path: Path) -> None:
    words = [*words, f"hydra.run.dir={tmp_path / 'run'}"] if len(words) > 1 else words
    command = [sys.executable, str(ROOT / "train.py"), *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (1, "")


def test_a_shell_is_told_what_completes_a_word() -> None:
    line = "python train.py model=le"
    env = os.environ | {"COMP_LINE": line, "COMP_POINT": str(len(line))}
    command = [sys.executable, str(ROOT / "train.py"), "-sc", "query=bash"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["model=lenet"]


def test_completion_without_a_shell_is_explained(train: Callable[..., Any]) -> None:
    outcome = train("--shell-completion")
    assert outcome.code == 2
    assert "-sc install=bash" in outcome.err


class Stopped(Exception):
    signum = 15


@pytest.mark.parametrize("error", [Stopped(), BrokenPipeError()], ids=["signal", "closed pipe"])
def test_what_stops_a_run_is_not_announced_as_its_error(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra says "Error executing job" of every exception that reaches it."""

    def stop(*_: object) -> None:
        raise error

    monkeypatch.setattr(launch, "job", stop)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    job = launch._Job(None)
    job(OmegaConf.create({}))
    assert job.error is error
