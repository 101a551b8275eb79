"""How a small command ends."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dlzoo.commands import cli
from dlzoo.errors import RunFailed, UserError
from dlzoo.training.interruption import Interrupted


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("ckpt=x: no such file"), 2, "error: ckpt=x: no such file"),
        (RunFailed("the loss is nan", "rows 1, 2"), 1, "error: the loss is nan\nrows 1, 2"),
        (Interrupted(signal.SIGTERM), 143, "stopped by SIGTERM"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_an_end_is_a_sentence_and_a_code(
    error: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def body(argv: Sequence[str]) -> None:
        raise error

    monkeypatch.setattr(sys, "argv", ["command"])
    with pytest.raises(SystemExit) as left:
        cli.execute(body, "")
    assert left.value.code == code
    assert capsys.readouterr().err.strip() == said


def test_a_mistake_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def body(argv: Sequence[str]) -> None:
        raise KeyError("ours")

    monkeypatch.setattr(sys, "argv", ["command"])
    with pytest.raises(KeyError):
        cli.execute(body, "")


@pytest.mark.parametrize("error", [TypeError("a"), AssertionError(), RuntimeError("shapes"), IndexError(3)])
def test_a_checkpoint_whose_parts_contradict_one_another(error: Exception, monkeypatch: Any, capsys: Any) -> None:
    def body(_: Any) -> None:
        raise error

    monkeypatch.setattr("sys.argv", ["command", "ckpt=a.ckpt"])
    with pytest.raises(SystemExit) as left:
        cli.execute(body, None)
    said = capsys.readouterr().err
    assert (left.value.code, said.count("\n")) == (2, 1)
    assert said.startswith(
        f"error: ckpt=a.ckpt: its net, its spec and these inputs are inconsistent ({type(error).__name__}"
    )
    monkeypatch.setattr("sys.argv", ["command"])  # then it is a bug
    with pytest.raises(type(error)):
        cli.execute(body, None)


@pytest.mark.parametrize("words", [[], ["ckpt=a.ckpt"]])
@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_memory_that_is_not_there(error: Exception, words: list[str], monkeypatch: Any, capsys: Any) -> None:
    def body(_: Any) -> None:
        raise error

    monkeypatch.setattr("sys.argv", ["command", *words])
    with pytest.raises(SystemExit) as left:
        cli.execute(body, None)
    assert left.value.code == 1
    assert "error: out of memory" in capsys.readouterr().err


def test_options_by_position() -> None:
    named = cli.with_names(["run/best.ckpt", "photo.png", "top_k=3", "-"], ["ckpt", "input"])
    assert named == ["ckpt=run/best.ckpt", "input=photo.png", "top_k=3", "-"]
    assert cli.with_names(["input=a b", "best.ckpt"], ["ckpt", "input"]) == ["input=a b", "ckpt=best.ckpt"]
    assert cli.with_names(["--help"], ["ckpt"]) == ["--help"]
    assert cli.with_names(["best.ckpt"], []) == ["best.ckpt"]


def test_one_word_may_be_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dlzoo.commands.inputs import _source

    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    assert _source("awful") is None
    assert _source("folder") == Path("folder")
    with pytest.raises(UserError, match="there is no such file or folder"):
        _source("awful.txt")
