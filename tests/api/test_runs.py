"""Listing, tagging, renaming and deleting runs: what is touched, and what is left alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from small_runs import Terminal, bare_run

import dlzoo
from dlzoo.api import runs as listing
from dlzoo.commands import runs
from dlzoo.utils import locks


def make(folder: Path, *, started: int = 0, **results: Any) -> Path:
    """A run folder with a checkpoint that is none."""
    bare_run(folder, {"seed": 0}, results or None)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "best.ckpt").write_bytes(bytes(1000))
    os.utime(folder / ".hydra" / "config.yaml", (started, started))
    return folder


def test_the_newest_run_is_listed_first(tmp_path: Path, terminal: Terminal) -> None:
    metrics = {"val/loss": 1.0, "test/loss": 0.5, "test/accuracy": 0.75}
    make(tmp_path / "a" / "old", started=1000, model="lenet", data="mnist", metrics=metrics, status="finished")
    make(tmp_path / "b" / "deep" / "new", started=3000, status="failed")
    make(tmp_path / "middle", started=2000)
    (tmp_path / "b" / "results.json").write_text("no run")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    frame = dlzoo.runs(tmp_path)
    assert [Path(path).name for path in frame.index] == ["new", "middle", "old"]
    assert frame["status"].tolist() == ["failed", "unfinished", "finished"]
    assert frame["model"].tolist() == ["mlp", "mlp", "lenet"]
    assert frame["metric"].tolist() == ["", "", "test/accuracy"]
    assert frame["value"].tolist()[2] == 0.75
    assert (frame["bytes"] > 1000).all()
    lines = terminal(runs.main, tmp_path).out.splitlines()
    assert "accuracy 75.00%" in lines[3]
    assert lines[4].startswith("3 runs, ")
    assert [entry["status"] for entry in json.loads(terminal(runs.main, tmp_path, "json=true").out)] == [
        *frame["status"]
    ]
    assert terminal(runs.main, tmp_path / "b" / "deep" / "new" / "checkpoints").out == "no runs\n"


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="needs time.tzset")
def test_times_are_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: Terminal) -> None:
    make(tmp_path / "a", started=0)
    with monkeypatch.context() as here:
        here.setenv("TZ", "XYZ-9")
        time.tzset()
        frame, listed = dlzoo.runs(tmp_path), json.loads(terminal(runs.main, tmp_path, "json=true").out)
    time.tzset()
    assert frame["started"].iloc[0].isoformat() == listed[0]["started"] == "1970-01-01T09:00:00"


@pytest.mark.parametrize(("started", "year"), [(1e15, 9999), (-1e15, 1970)])
def test_a_time_of_no_calendar(
    started: float, year: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: Terminal
) -> None:
    """Some file systems store such times, which archives may bring along."""
    make(tmp_path / "a")
    monkeypatch.setattr(os.path, "getmtime", lambda _: started)
    assert dlzoo.runs(tmp_path)["started"].iloc[0].year == year
    assert f"{year}-" in terminal(runs.main, tmp_path).out
    assert json.loads(terminal(runs.main, tmp_path, "json=true").out)[0]["started"].startswith(f"{year}-")


def test_a_damaged_run_is_listed(tmp_path: Path) -> None:
    (make(tmp_path / "a") / "results.json").write_text("{")
    (make(tmp_path / "b") / "tags.json").write_text('["a b"]')
    assert dlzoo.runs(tmp_path)["status"].tolist() == ["unreadable", "unreadable"]


def test_tags(tmp_path: Path, terminal: Terminal) -> None:
    folder = make(tmp_path / "a")
    make(tmp_path / "b")
    assert terminal(runs.main, "tag", folder, "paper", "baseline", "paper").out == "tags   paper, baseline\n"
    assert [*dlzoo.runs(tmp_path, tag="paper").index] == [str(folder)]
    assert dlzoo.Run(folder).tags == ("paper", "baseline")
    assert "did you mean 'paper'" in terminal.mistake(runs.main, "untag", folder, "papre")
    assert dlzoo.Run(folder).untag("paper") == ("baseline",)
    assert "letters, digits" in terminal.mistake(runs.main, "tag", folder, "<b>")
    assert dlzoo.Run(folder).tag("x") == ("baseline", "x")
    with pytest.raises(dlzoo.UserError, match="at most 50 tags"):
        listing.tag(folder, *map(str, range(60)))


def test_tags_are_not_written_through_a_link(tmp_path: Path) -> None:
    folder = make(tmp_path / "a")
    (tmp_path / "other.json").write_text('["x"]')
    (folder / "tags.json").symlink_to(tmp_path / "other.json")
    with pytest.raises(dlzoo.UserError, match="links outside"):
        listing.tag(folder, "y")
    assert (tmp_path / "other.json").read_text() == '["x"]'


def test_renaming(tmp_path: Path, terminal: Terminal) -> None:
    folder, other = make(tmp_path / "a"), make(tmp_path / "b")
    for name in ("b", "a", "../c", "x/y", ".c", "..", "", "a" * 300):
        with pytest.raises(dlzoo.UserError, match="another name"):
            listing.rename(folder, name)
    assert terminal(runs.main, "rename", folder, "c").out == f"renamed   {tmp_path / 'c'}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "c"]
    run = dlzoo.Run(other)
    assert run.rename("d") == tmp_path / "d" == run.path
    assert not (run.path / ".lock").exists()


@pytest.mark.parametrize("what", ["folder", "link"])
@pytest.mark.parametrize("action", ["delete", "rename"])
def test_what_replaces_a_run_after_the_check_is_left_alone(
    action: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user of a shared folder may be quick."""
    folder, other = make(tmp_path / "a" / "run"), make(tmp_path / "b" / "run")
    (other / "thesis.txt").write_text("precious")
    (other / ".lock").touch()
    locked = locks.lock

    def lock_and_replace(*args: Any, **options: Any) -> Any:
        acquired = locked(*args, **options)
        if what == "link":
            folder.rename(tmp_path / "aside")
            folder.symlink_to(other)
        else:
            folder.parent.rename(tmp_path / "aside")
            folder.parent.symlink_to(other.parent)
        return acquired

    monkeypatch.setattr(locks, "lock", lock_and_replace)
    monkeypatch.setattr(locks, "unlock", lambda acquired: acquired.release())
    before = sorted(other.rglob("*"))
    with pytest.raises(dlzoo.UserError, match="replaced by something else"):
        listing.delete(folder) if action == "delete" else listing.rename(folder, "new")
    assert sorted(other.rglob("*")) == before


def test_deleting_asks_and_then_deletes_only_the_run(tmp_path: Path, terminal: Terminal) -> None:
    folder, other = make(tmp_path / "a"), make(tmp_path / "b")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.txt").write_text("kept")
    (folder / "checkpoints" / "link").symlink_to(outside)
    assert "add yes=true" in terminal.mistake(runs.main, "delete", folder)
    assert folder.is_dir()
    assert terminal(runs.main, "delete", folder, "yes=true").code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "outside"]
    assert (outside / "kept.txt").read_text() == "kept"
    dlzoo.Run(other).delete()
    assert not other.exists()


def test_what_is_not_deleted(tmp_path: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    fine, folder = make(tmp_path / "fine"), make(tmp_path / "a")
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "empty").mkdir()

    def refusal(*given: Path) -> str:
        """Of several runs none is deleted if one must not be."""
        message = terminal.mistake(runs.main, "delete", fine, *given, "yes=true")
        assert fine.is_dir()
        assert all(path.exists() for path in given)
        return message

    assert "is a link to" in refusal(tmp_path / "link")
    assert "is not a run folder" in refusal(tmp_path / "empty")
    assert "is not a run folder" in refusal(tmp_path)
    for name in ("thesis.tex", ".git", "src", "nested"):
        (folder / name).mkdir()
        assert f"{name} was not written by a run" in refusal(folder)
        (folder / name).rmdir()
    (folder / "film" / ".git").mkdir(parents=True)
    assert "film was not written by a run" in refusal(folder)
    (folder / "film" / ".git").rmdir()
    monkeypatch.chdir(folder / "checkpoints")
    assert "the current folder" in refusal(folder)
    monkeypatch.chdir(tmp_path)
    assert "the current folder" not in terminal(runs.main, "delete", Path("a")).err
    (tmp_path / "sweep.json").touch()
    assert "trial of the sweep" in refusal(folder)
    assert "trial of the sweep" in terminal.mistake(runs.main, "rename", folder, "b")


HOLDER = """
import sys, filelock
lock = filelock.FileLock(sys.argv[1])
lock.acquire()
print(flush=True)
sys.stdin.read()
"""


def test_a_running_one_is_left_alone(tmp_path: Path, terminal: Terminal) -> None:
    folder = make(tmp_path / "a")
    command = [sys.executable, "-c", HOLDER, str(folder / locks.NAME)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # ends with its input
        assert process.stdout is not None
        process.stdout.readline()
        assert dlzoo.runs(tmp_path)["status"].tolist() == ["running"]
        for words in (["delete", folder, "yes=true"], ["rename", folder, "b"]):
            assert "is running" in terminal.mistake(runs.main, *words)
        process.kill()
    (folder / locks.NAME).touch()  # as a killed process leaves it
    assert dlzoo.runs(tmp_path)["status"].tolist() == ["unfinished"]
    assert terminal(runs.main, "delete", folder, "yes=true").code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tag"], "write dlzoo runs tag RUN TAG"),
        (["tag", "x"], "write dlzoo runs tag RUN TAG"),
        (["untag", "x"], "write dlzoo runs untag RUN TAG"),
        (["rename", "x"], "write dlzoo runs rename RUN NAME"),
        (["rename", "x", "y", "z"], "give one new name"),
        (["delete"], "say which run"),
        (["a", "b"], "give one folder, or one of tag, untag, rename, delete"),
    ],
)
def test_mistakes(words: list[str], said: str, terminal: Terminal) -> None:
    assert said in terminal.mistake(runs.main, *words)


@pytest.mark.slow
def test_a_whole_run_can_be_deleted(tmp_path: Path) -> None:
    """With everything that the default callbacks write."""
    run = dlzoo.train(
        "model=mlp", "data=iris", "trainer=cpu", "trainer.max_epochs=1", "quiet=true", output_dir=tmp_path
    )
    run.report()
    run.tag("x")
    run.delete()
    assert not run.path.exists()
    assert [*run.path.parent.iterdir()] == []
