"""Figures come from commits: a checkout of its own, and a refusal of uncommitted changes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dlzoo.errors import UserError
from scripts import checkout


def git(folder: Path, *arguments: str) -> str:
    options = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    return subprocess.run(["git", *options, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "code.py").write_text("1")
    (tmp_path / ".gitignore").write_text("outputs\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return tmp_path


def test_the_checkout_follows_the_commit(repository: Path) -> None:
    folder = checkout.clean_checkout(repository)
    assert (folder / "code.py").read_text() == "1"
    (repository / "code.py").write_text("2")
    git(repository, "commit", "--quiet", "-am", "second")
    assert (folder / "code.py").read_text() == "1", "a run that goes on keeps its files"
    assert checkout.clean_checkout(repository) == folder
    assert (folder / "code.py").read_text() == "2"
    assert git(folder, "rev-parse", "HEAD") == git(repository, "rev-parse", "HEAD")


def test_what_the_scripts_write_may_change(repository: Path) -> None:
    (repository / "RESULTS.md").write_text("x")
    (repository / "results").mkdir()
    (repository / "results" / "a.json").write_text("{}")
    checkout.refuse_changes(repository)


@pytest.mark.parametrize("name", ["code.py", "new.py"])
def test_uncommitted_files_are_refused(name: str, repository: Path) -> None:
    (repository / name).write_text("changed")
    with pytest.raises(UserError, match=rf"uncommitted changes in {name}.*--dirty"):
        checkout.clean_checkout(repository)


def test_outside_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(UserError, match=r"git status.*--dirty"):
        checkout.clean_checkout(tmp_path)
