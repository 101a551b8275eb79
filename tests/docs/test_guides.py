"""The guides are true: each command composes, and (slow) runs as it stands on small data."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import command_lines
import doc_folder
import pytest

from dlzoo.errors import UserError

DOCS = doc_folder.ROOT / "docs"
EXTEND, PYTHON = DOCS / "guides" / "extend.md", DOCS / "guides" / "python.md"
PAGES = [DOCS / name for name in ("install.md", "first-run.md")] + sorted(
    {*(DOCS / "guides").glob("*.md")} - {EXTEND, PYTHON}
)
"""Those with commands that need nothing installed: test_extend.py and test_python_guide.py test the others."""
FEW = ["trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.limit_val_batches=2"]
"""Added to runs: that they learn is shown elsewhere."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of torch hub with weights of ResNet-18 which are not ImageNet's."""
    torch, models = importlib.import_module("torch"), importlib.import_module("torchvision.models")
    home = tmp_path_factory.mktemp("hub")
    (home / "hub" / "checkpoints").mkdir(parents=True)
    url = models.ResNet18_Weights.DEFAULT.url
    torch.save(models.resnet18(weights=None).state_dict(), home / "hub" / "checkpoints" / Path(url).name)
    return home


def write_all_titled(folder: Path) -> None:
    """Write the files that the guides give titles to; one may use another's package."""
    for page in PAGES:
        doc_folder.write_titled(page.read_text(encoding="utf-8"), folder)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_guide_composes(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page.read_text(encoding="utf-8")
    write_all_titled(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.split(".")[0] == "mypkg"]:
        monkeypatch.delitem(sys.modules, name)
    found = doc_folder.commands(text)
    assert found
    for line, _ in found:
        command_lines.check(line)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_guide_runs(page: Path, tmp_path: Path, weights: Path) -> None:
    text = page.read_text(encoding="utf-8")
    doc_folder.fill(tmp_path)
    write_all_titled(tmp_path)
    for line, can_run in doc_folder.commands(text):
        if can_run:
            run(tmp_path, line, weights)


def run(folder: Path, line: str, weights: Path) -> None:
    """A command as it stands, but for a few batches only."""
    program, *words = shlex.split(line, comments=True)
    assert program == "dlzoo", line
    is_run = words[0] == "train" and "--help" not in words and not any(word.startswith("sweep=") for word in words)
    few = [] if not is_run else FEW[1:] if any(word.startswith("ckpt=") for word in words) else FEW
    if any(word.startswith("scheduler.warmup=") for word in words):
        few = [*few, "trainer.max_epochs=2"]  # which is longer than the warm-up
    given = {word.partition("=")[0] for word in words}
    done = subprocess.run(
        [sys.executable, "-m", "dlzoo", *words, *(word for word in few if word.partition("=")[0] not in given)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(doc_folder.ROOT), "OMP_NUM_THREADS": "1", "TORCH_HOME": str(weights)},
    )
    assert done.returncode == 0, f"{line}\n{done.stderr}"
    assert "Traceback" not in done.stderr


def test_the_errors_shown_are_the_errors_given() -> None:
    text = (DOCS / "first-run.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\$ dlzoo train (.*)\nerror: (.*)$", text, re.MULTILINE)
    assert len(shown) == 3
    for words, error in shown:
        with pytest.raises(UserError) as raised:
            command_lines.check(f"dlzoo train {words}")
        assert str(raised.value) == error
