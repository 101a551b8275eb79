"""How a small command ends."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

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
