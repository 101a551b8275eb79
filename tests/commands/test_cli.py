"""How a small command ends."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
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
