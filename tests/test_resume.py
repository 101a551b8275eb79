"""A run that is killed and started again is the run that was never stopped, bit for bit."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest
from killing import FAMILIES, differences, finish, left_by, start, when, words_of

every_family = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> object:
    """What the undisturbed run of a family leaves, and its seconds; made once."""
    made: dict[str, tuple[dict, float]] = {}

    def of(family: str) -> tuple[dict, float]:
        if family not in made:
            folder, started = tmp_path_factory.mktemp(family), time.monotonic()
            assert finish(folder, words_of(family)) == 0, (folder / "log.txt").read_text()
            made[family] = left_by(folder), time.monotonic() - started
        return made[family]

    return of


@every_family
def test_a_run_killed_within_an_epoch_and_continued_is_the_same_run(family: str, whole, tmp_path: Path) -> None:
    process = start(tmp_path, words_of(family))
    when(tmp_path / "run" / "checkpoints" / "last.ckpt", process)  # the first is written within the first epoch
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "run" / "results.json").exists()
    assert finish(tmp_path, [*words_of(family), "resume=auto"]) == 0, (tmp_path / "log.txt").read_text()
    assert "continues" in (tmp_path / "log.txt").read_text()
    assert differences(whole(family)[0], left_by(tmp_path)) == []


@pytest.mark.reliability
@every_family
def test_runs_killed_at_random_moments_are_the_same_run(family: str, whole, tmp_path: Path) -> None:
    expected, seconds = whole(family)
    draw = random.Random(family)
    for _ in range(17):
        process = start(tmp_path, [*words_of(family), "resume=auto"])
        process.join(draw.uniform(0, seconds))
        process.kill()
        process.join()
        if process.exitcode == 0:
            break
    assert finish(tmp_path, [*words_of(family), "resume=auto"]) == 0, (tmp_path / "log.txt").read_text()
    assert differences(expected, left_by(tmp_path)) == []
