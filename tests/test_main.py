"""``dlzoo <command>`` serves every command."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import Outcome

from dlzoo import __main__ as cli
from dlzoo.config import compose

ROOT = Path(__file__).parents[1]


def called(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> Outcome:
    monkeypatch.setattr(sys, "argv", ["dlzoo", *words])
    code: object = 0
    try:
        cli.main()
    except SystemExit as left:
        code = left.code
    printed = capsys.readouterr()
    return Outcome(int(code or 0), printed.out, printed.err)  # type: ignore[call-overload]


def test_help_lists_every_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    done = called(monkeypatch, capsys, "--help")
    assert done.code == 0
    assert {line.split()[0] for line in done.out.splitlines() if line.startswith("    ")} == {*cli.COMMANDS}
    assert called(monkeypatch, capsys).out == done.out


def test_a_typo_has_a_suggestion(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    done = called(monkeypatch, capsys, "evalute", "ckpt=x")
    assert (done.code, done.err) == (2, "error: evalute: there is no such command; did you mean 'evaluate'?\n")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_command_has_a_main(name: str) -> None:
    assert callable(importlib.import_module(cli.COMMANDS[name][0]).main)


def test_help_and_mistakes_of_a_command_wait_for_no_import_of_torch() -> None:
    program = (
        "import importlib, sys; from dlzoo.__main__ import COMMANDS\n"
        "for module, _ in COMMANDS.values(): importlib.import_module(module)\n"
        "print({'torch', 'lightning', 'pandas', 'sklearn', 'matplotlib'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("name", [name for name in cli.COMMANDS if name != "train"])
def test_each_command_has_a_script_that_calls_it(name: str) -> None:
    files = {re.search(r"from (\S+) import main", path.read_text())[1]: path for path in ROOT.glob("scripts/*.py")
             if re.search(r"from (dlzoo\S+) import main", path.read_text())}  # fmt: skip
    assert cli.COMMANDS[name][0] in files


CHECKOUT_ONLY = re.compile(r"python train\.py|scripts/(?!bench|reproduce)\w+\.py")
"""Files that a wheel does not contain, as a text might name them."""


def test_texts_name_commands_that_exist_in_a_wheel() -> None:
    allowed = ("train.py", "launch.py")  # a docstring on both names, and what shells complete in a checkout
    for path in [*(ROOT / "dlzoo").rglob("*.py"), *(ROOT / "configs").rglob("*.yaml")]:
        if path.name not in allowed:
            assert CHECKOUT_ONLY.findall(path.read_text(encoding="utf-8")) == [], path


def test_as_a_module(tmp_path: Path) -> None:
    """`python -m dlzoo train` in another folder, to its end."""
    words = ["data=wine", "trainer=smoke", "callbacks=checkpoint", "logger=none", "hydra.run.dir=run"]
    subprocess.run([sys.executable, "-m", "dlzoo", "train", *words], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "run" / "results.json").is_file()
    ckpt = "ckpt=run/checkpoints/best.ckpt"
    done = subprocess.run(
        [sys.executable, "-m", "dlzoo", "evaluate", ckpt], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert "test/accuracy" in done.stdout


def test_a_closed_reader_ends_help_without_a_traceback() -> None:
    program = "import sys; sys.argv = ['dlzoo', '--help']; from dlzoo.__main__ import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()  # as head does, before anything is written
    assert process.stderr is not None
    assert (process.stderr.read(), process.wait()) == ("", 1)


def test_the_callbacks_of_every_run_start_without_pandas() -> None:
    """It takes a quarter of a second, which only tables are worth."""
    targets = {
        str(callback["_target_"]) for callback in compose.compose(["callbacks=[default,measures]"]).callbacks.values()
    }
    modules = ", ".join(sorted(target.rpartition(".")[0] for target in targets if target.startswith("dlzoo.")))
    code = f"import sys, torch, lightning.pytorch; before = {{*sys.modules}}; import {modules}; "
    code += "print({'pandas', 'sklearn', 'matplotlib'} & ({*sys.modules} - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
