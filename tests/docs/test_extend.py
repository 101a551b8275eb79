"""The guide to a package of your own is true: its commands compose, and (slow) run as they stand, in their order."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import command_lines
import doc_folder
import fresh_environment
import own_package
import pytest

from dlzoo.commands import new
from dlzoo.config import plugins, source

PAGE = (doc_folder.ROOT / "docs" / "guides" / "extend.md").read_text(encoding="utf-8")
COMMANDS = [line for line, _ in doc_folder.commands(PAGE)]
FEW = ["trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.limit_val_batches=2"]


def test_its_commands_compose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for cached in (source.find, source.module):
        cached.cache_clear()
    for line in COMMANDS:
        words = shlex.split(line)
        command_lines.check(line)
        if words[:2] == ["dlzoo", "new"]:
            new.create([f"kind={words[2]}", f"name={words[3]}", *words[4:]])
        elif line == "pip install -e mylab":
            doc_folder.write_titled(PAGE, tmp_path)
            own_package.install(tmp_path / "mylab" / "src", "mylab")
            monkeypatch.syspath_prepend(str(tmp_path / "mylab" / "src"))
        elif words[0] == "cd":
            monkeypatch.chdir(words[1])
    assert plugins.packages() == ("mylab",)
    for name in [name for name in sys.modules if name.split(".")[0] == "mylab"]:
        monkeypatch.delitem(sys.modules, name)


def test_its_entry_point_is_that_of_the_template() -> None:
    (block,) = (block.text for block in doc_folder.blocks(PAGE) if block.language == "toml")
    assert block in new.filled("project/pyproject.toml", {"package": "mylab", "version": "0"})


@pytest.mark.slow
def test_its_commands_run(tmp_path: Path) -> None:
    environment = fresh_environment.create(tmp_path)
    here = tmp_path / "work"
    here.mkdir()
    (here / "outside").mkdir()
    doc_folder.fill(here / "outside")
    (here / "outside" / "digit.png").rename(here / "digit.png")
    for line in COMMANDS:
        program, *words = shlex.split(line)
        if program == "cd":
            here = here / words[0]
        elif program == "pip":
            doc_folder.write_titled(PAGE, here)
            environment.install_editable(here / "mylab", "mylab")
        elif program == "dlzoo":
            few = FEW if words[0] == "train" else []
            done = environment.call(*words, *few, at=here)
            assert done.returncode == 0, f"{line}\n{done.stderr}"
            assert "Traceback" not in done.stderr
        else:
            command = [str(environment.scripts / "python"), "-m", "pytest"] if program == "pytest" else [program]
            done = fresh_environment.output([*command, *words], here)
            assert done.returncode == 0, f"{line}\n{done.stdout}"
