"""A run that is killed and started again is the run that was never stopped, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from killing import FAMILIES, FORKS, differences, finish, left_by, start, when, words_of

from dlzoo.checkpoint.format import StoredCheckpoint
from dlzoo.errors import UserError
from dlzoo.training import interruption
from dlzoo.training.interruption import Interrupted, Interruption
from dlzoo.training.resume import resolve_resume

every_family = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[dict[str, Any], float]]:
    """What the undisturbed run of a family leaves, and its seconds; made once."""
    made: dict[str, tuple[dict[str, Any], float]] = {}

    def of(family: str) -> tuple[dict[str, Any], float]:
        if family not in made:
            folder, started = tmp_path_factory.mktemp(family), time.monotonic()
            assert finish(folder, words_of(family)) == 0, (folder / "log.txt").read_text()
            made[family] = left_by(folder), time.monotonic() - started
        return made[family]

    return of


@every_family
def test_a_run_killed_within_an_epoch_and_continued_is_the_same_run(family: str, whole: Any, tmp_path: Path) -> None:
    process = start(tmp_path, words_of(family))
    when(tmp_path / "run" / "checkpoints" / "last.ckpt", process)  # the first is written within the first epoch
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "run" / "results.json").exists()
    assert finish(tmp_path, [*words_of(family), "resume=auto"]) == 0, (tmp_path / "log.txt").read_text()
    assert "resuming" in (tmp_path / "log.txt").read_text()
    assert differences(whole(family)[0], left_by(tmp_path)) == []


@pytest.mark.parametrize(
    ("signum", "code"),
    [
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_the_step_saves_and_says_so(signum: int, code: int, tmp_path: Path) -> None:
    words = [*words_of("classifier"), "trainer.max_epochs=40"]  # it must not be over before the signal comes
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    process = start(cut, words)
    when(cut / "run" / "checkpoints" / "last.ckpt", process)
    os.kill(process.pid, signum)
    process.join(60)
    said = (cut / "log.txt").read_text()
    assert process.exitcode == code, said
    assert "resume=auto resumes from there" in said
    assert "Traceback" not in said
    results = json.loads((cut / "run" / "results.json").read_text())
    assert results["status"] == "interrupted"
    assert results["checkpoints"]["last"]
    stored = torch.load(cut / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert stored["global_step"] == results["steps"]
    assert finish(cut, [*words, "resume=auto"]) == 0
    assert finish(whole, words) == 0
    assert differences(left_by(whole), left_by(cut)) == []


def handle_twice() -> None:
    interruption = Interruption(Path("last.ckpt"))
    for _ in range(2):
        interruption.handle(signal.SIGINT, None)


def test_a_second_ctrl_c_leaves_at_once() -> None:
    process = FORKS.Process(target=handle_twice)
    process.start()
    process.join(60)
    assert process.exitcode == 130


def test_a_closed_terminal_is_ignored_where_nohup_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        assert signal.SIGHUP in interruption.handled_signals()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert signal.SIGHUP not in interruption.handled_signals()
    finally:
        signal.signal(signal.SIGHUP, before)
    monkeypatch.setattr(interruption, "HANGUP", None)  # as on Windows
    assert interruption.handled_signals() == [signal.SIGINT, signal.SIGTERM]


def test_a_signal_in_the_test_ends_it_before_the_next_batch() -> None:
    interruption = Interruption(Path("last.ckpt"))
    interruption.on_test_batch_start()
    interruption.handle(signal.SIGTERM, None)
    with pytest.raises(Interrupted, match="SIGTERM") as stopped:
        interruption.on_test_batch_start()
    assert stopped.value.signum == signal.SIGTERM


def test_resume_auto_begins_where_nothing_is_to_be_continued_and_ends_where_all_is_done(tmp_path: Path) -> None:
    words = [*words_of("stateful"), "resume=auto"]
    assert finish(tmp_path, words) == 0
    assert "resuming" not in (tmp_path / "log.txt").read_text()
    before = (tmp_path / "run" / "results.json").stat().st_mtime_ns
    assert finish(tmp_path, words) == 0
    assert "is finished" in (tmp_path / "log.txt").read_text()
    assert (tmp_path / "run" / "results.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ckpt=last"], "no run with these overrides has a checkpoint"),
        (["resume=yes"], "resume=yes must be auto"),
        (["ckpt.a=1"], r"ckpt\.a: there is no such option"),
        (["resume.a=1"], r"resume\.a: there is no such option"),
        (["ckpt=."], r"ckpt=\.: no such file"),
    ],
)
def test_mistakes(words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        resolve_resume(["data=wine", *words])


def test_the_newest_run_of_the_same_words_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cards = {}

    def stored(path: Path) -> StoredCheckpoint:
        return StoredCheckpoint(path, {"dlzoo": {"config": "", "overrides": cards[str(path)]}})

    monkeypatch.setattr("dlzoo.checkpoint.format.read_whole", stored)
    for i, words in enumerate([["data=wine", "++seed=1"], ["data=wine", "++seed=1", "ckpt=x"], ["data=iris"]]):
        run = tmp_path / "outputs" / "2026-01-01" / f"10-00-0{i}-mlp-wine"
        for folder in (".hydra", "checkpoints"):
            (run / folder).mkdir(parents=True)
        (run / ".hydra" / "overrides.yaml").write_text(json.dumps(words))
        (run / "checkpoints" / "last.ckpt").touch()
        cards[str(Path("outputs") / "2026-01-01" / run.name / "checkpoints" / "last.ckpt")] = words
    found = resolve_resume(["seed=1", "data=wine", "resume=auto"]).argv  # in another order, and written otherwise
    assert any("10-00-01-mlp-wine" in word for word in found)
    (tmp_path / "outputs" / "2026-01-01" / "10-00-01-mlp-wine" / "results.json").write_text('{"status": "finished"}')
    assert any("10-00-00-mlp-wine" in word for word in resolve_resume(["seed=1", "data=wine", "resume=auto"]).argv)
    assert any("10-00-01-mlp-wine" in word for word in resolve_resume(["seed=1", "data=wine", "ckpt=last"]).argv)
    assert resolve_resume(["seed=2", "data=wine", "resume=auto"]).argv == ["seed=2", "data=wine", "resume=auto"]


@pytest.mark.parametrize("what", ["last.ckpt", "checkpoints"])
def test_a_run_folder_does_not_lead_to_another(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the run of the user's own that a stranger's link leads to would be resumed, and overwritten."""

    def stored(path: Path) -> StoredCheckpoint:
        return StoredCheckpoint(path, {"dlzoo": {"config": "", "overrides": ["data=wine"]}})

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dlzoo.checkpoint.format.read_whole", stored)
    mine, theirs = tmp_path / "mine" / "checkpoints", tmp_path / "theirs" / "checkpoints"
    mine.mkdir(parents=True)
    (mine / "last.ckpt").touch()
    if what == "checkpoints":
        theirs.parent.mkdir()
        theirs.symlink_to(mine)
    else:
        theirs.mkdir(parents=True)
        (theirs / "last.ckpt").symlink_to(mine / "last.ckpt")
    with pytest.raises(UserError, match=r"links outside its run folder, to .*/mine/checkpoints/last\.ckpt"):
        resolve_resume([f"ckpt={theirs / 'last.ckpt'}"])
    (tmp_path / "moved").symlink_to(mine.parent)
    for path in (tmp_path / "moved" / "checkpoints" / "last.ckpt", Path("latest.ckpt")):
        if not path.is_absolute():
            path.symlink_to(mine / "last.ckpt")
        assert any(f"{mine.parent}" in word for word in resolve_resume([f"ckpt={path}"]).argv)
