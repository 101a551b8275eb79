"""A user's own package: all parts of a run may be theirs, and every command works with what they trained.

The user names the package once, with ``trust=`` or by an installed entry point; else it is refused, and said how.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import own_package
import pytest
from PIL import Image
from small_runs import Outcome, Terminal

from dlzoo.commands import evaluate, predict
from dlzoo.training import results

NAME = "own_lab"
TRUST = f"trust={NAME}"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the package, which is on the path of this process; its names are registered once."""
    folder = tmp_path_factory.mktemp("lab")
    own_package.write(folder, NAME)
    Image.new("L", (6, 6), 128).save(folder / "a.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder


def test_all_parts_of_a_run_may_be_the_users(
    lab: Path, train: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    words, run = own_package.words(NAME)["classifier"], tmp_path / "run"
    done = train(*words, f"hydra.run.dir={run}", TRUST)
    assert done.code == 0, done.err
    assert (run / "note.txt").is_file()
    ckpt = f"ckpt={run / 'checkpoints' / 'best.ckpt'}"
    terminal = Terminal(monkeypatch, capsys)
    assert f"add {TRUST}" in terminal.mistake(evaluate.main, ckpt)
    assert terminal(evaluate.main, ckpt, TRUST).code == 0
    assert "low" in terminal(predict.main, ckpt, TRUST, f"input={lab / 'a.png'}").out
    interrupted(run)
    again = train(*words, f"hydra.run.dir={run}", "resume=auto", TRUST)
    assert again.code == 0, again.err
    assert "resuming" in again.out


def interrupted(run: Path) -> None:
    """As if a run had not come to its end."""
    results.write(run, results.read(run) | {"status": "interrupted"})


def call(lab: Path, *words: str, plugin: bool = False) -> subprocess.CompletedProcess[str]:
    """``python -m dlzoo <words>`` in the folder of the package."""
    path = os.pathsep.join([str(lab), *([str(lab / "installed")] if plugin else []), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "dlzoo", *words]
    return subprocess.run(
        command, cwd=lab, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def trained(lab: Path) -> Path:
    """Runs of the three nets, and a grid of two."""
    for kind, words in own_package.words(NAME).items():
        done = call(lab, "train", *words, f"hydra.run.dir={kind}", TRUST)
        assert done.returncode == 0, done.stderr
    done = call(lab, "train", "-m", *own_package.words(NAME)["classifier"], "hydra.sweep.dir=grid", "seed=0,1", TRUST)
    assert done.returncode == 0, done.stderr
    own_package.install(lab / "installed", NAME)
    return lab


CLASSIFIER, CODER, PAIR = (f"ckpt={kind}/checkpoints/best.ckpt" for kind in ("classifier", "coder", "pair"))
LOADING = {
    "evaluate": ["evaluate", CLASSIFIER],
    "predict": ["predict", CLASSIFIER, "input=a.png"],
    "inspect": ["inspect", CLASSIFIER, "input=a.png", "output=looks"],
    "export": ["export", CLASSIFIER, "format=safetensors", "output=net.safetensors"],
    "ONNX": ["export", CLASSIFIER, "output=net.onnx"],
    "reconstruct": ["predict", CODER, "input=a.png"],
    "encode": ["encode", CODER, "output=codes.npz"],
    "sample": ["sample", PAIR],
    "continue": ["train", "ckpt=classifier/checkpoints/last.ckpt", "trainer.max_epochs=2", "hydra.run.dir=longer"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LOADING)
def test_a_command_that_loads_a_checkpoint(name: str, trained: Path) -> None:
    words = LOADING[name]
    refused = call(trained, *words)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert f"add {TRUST}" in refused.stderr
    done = call(trained, *words, TRUST)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    installed = call(trained, *(word.replace("longer", "plugged") for word in words), plugin=True)
    assert installed.returncode == 0, installed.stderr


@pytest.mark.slow
@pytest.mark.parametrize("words", [["report", "classifier"], ["compare", "classifier", "longer"], ["compare", "grid"],
                                   ["best", "grid"]])  # fmt: skip
def test_a_command_that_reads_run_folders(words: list[str], trained: Path) -> None:
    if "longer" in words and not (trained / "longer").is_dir():
        words = ["compare", "classifier", "coder"]
    done = call(trained, *words)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_checkpoint_cannot_bring_the_trust_along(trained: Path) -> None:
    """Nor can the run's folder: the words of its run hold trust=, and are not followed."""
    overrides = (trained / "classifier" / ".hydra" / "overrides.yaml").read_text()
    assert TRUST in overrides
    interrupted(trained / "classifier")
    for words in (["ckpt=classifier/checkpoints/last.ckpt"], ["ckpt=last", "hydra.run.dir=classifier"]):
        done = call(trained, "train", *words)
        assert done.returncode == 2, done.stdout
    assert "trust" not in json.dumps(results.read(trained / "classifier").get("overrides", []))
