"""The README is true: its commands run as they stand, its tables name all that exists, its figures are the measured."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import doc_folder
import pytest

from dlzoo.config import groups

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(mark: str) -> str:
    """The fenced block that follows ``<!-- mark -->``."""
    found = re.search(rf"<!-- {re.escape(mark)} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    assert found, mark
    return found.group(1)


def guide(name: str, start: str) -> str:
    """The command of a guide that begins so."""
    text = (ROOT / "docs" / "guides" / f"{name}.md").read_text(encoding="utf-8")
    return next(line for line, _ in doc_folder.commands(text) if line.startswith(start))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkout's entry points and what the commands speak of: a digit, a table, some pictures."""
    folder = tmp_path_factory.mktemp("readme")
    doc_folder.fill(folder)
    return folder


def run(folder: Path, line: str, *more: str) -> str:
    """The command as it stands, with more words; what it says."""
    program, *words = shlex.split(line, comments=True)
    return python(folder, *(["-m", "dlzoo"] if program == "dlzoo" else []), *words, *more)


def python(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, f"{words}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr, f"{words}\n{done.stderr}"
    return done.stdout


def test_the_commands_run_in_order(folder: Path) -> None:
    lines = block("commands").strip().splitlines()
    assert len(lines) == 5
    for line in lines:
        # two batches an epoch: that it learns is shown elsewhere
        more = ["trainer.limit_train_batches=2", "trainer.max_epochs=2"] if line.startswith("dlzoo train") else []
        run(folder, line, *more)
    assert (folder / "outputs" / "lenet" / "results.json").is_file()


def test_the_lines_of_python_run(folder: Path) -> None:
    told = python(folder, "-c", block("api").replace("max_epochs=5", "max_epochs=1")).splitlines()
    assert any(re.fullmatch(r"0\.\d+", line) for line in told)
    assert len([line for line in told if line.endswith(("%", "0")) or "digit.png" in line]) >= 1


def test_your_series_and_your_texts_train_forecast_and_predict(folder: Path) -> None:
    run(folder, guide("own-data", "dlzoo train model=lstm"))
    figures = json.loads((folder / "outputs" / "sales" / "results.json").read_text())["metrics"]
    assert figures["test/mase"] < 1  # a weekly wave on a line
    assert {"baseline/rmse_naive", "baseline/rmse_seasonal_naive"} <= set(figures)
    run(folder, guide("own-data", "dlzoo train model=text_cnn"))
    assert json.loads((folder / "outputs" / "reviews" / "results.json").read_text())["metrics"]["test/accuracy"] == 1
    told = run(folder, guide("own-data", "dlzoo forecast")).splitlines()
    assert len([line for line in told if line.startswith("2024-07-")]) == 14
    assert (folder / "forecast.png").stat().st_size > 5000
    predict = guide("own-data", 'dlzoo predict ckpt=outputs/reviews/checkpoints/best.ckpt input="')
    assert re.search(r"food was awful +bad +9\d", run(folder, predict))


def test_the_command_that_fine_tunes_on_your_pictures(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it stands; the weights lie where torchvision would have put them, though they are not ImageNet's."""
    torch, models = importlib.import_module("torch"), importlib.import_module("torchvision.models")
    home = tmp_path / "hub" / "checkpoints"
    home.mkdir(parents=True)
    enum = models.ResNet18_Weights.DEFAULT
    torch.save(models.resnet18(weights=None).state_dict(), home / Path(enum.url).name)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    line = guide("transfer", "dlzoo train model=resnet18 net.weights=imagenet transfer=finetune")
    told = run(folder, line, "trainer.limit_train_batches=2", "trainer.limit_test_batches=1")
    assert "120 tensors loaded; the last layer is new" in told


def test_the_net_of_the_guide_is_two_files(tmp_path: Path) -> None:
    doc_folder.write_titled((ROOT / "docs" / "guides" / "own-net.md").read_text(encoding="utf-8"), tmp_path)
    told = run(tmp_path, guide("own-net", "dlzoo train --config-dir conf model=two_layer"), "trainer.max_epochs=30")
    reached = re.search(r"two_layer +([\d.]+)%", told)  # in the table of methods
    assert reached
    assert float(reached.group(1)) > 85


@pytest.mark.parametrize("group", ["model", "data"])
def test_the_tables_name_all_models_and_data(group: str) -> None:
    missing = [name for name in groups.names()[group] if f"`{name}`" not in README]
    assert not missing


def test_the_figures_are_those_of_the_results() -> None:
    shown = re.findall(r"^\| `(\w+)` \| ([\w/]+) \| (.+) \| (.+) \|$", README, re.MULTILINE)
    assert len(shown) == 10
    measured = (ROOT / "RESULTS.md").read_text(encoding="utf-8")
    for experiment, metric, reached, rival in shown:
        start = rf"^\| `{experiment}` \| [^|]* \| {metric} \| {re.escape(reached)} \| "
        assert re.search(rf"{start}.* \| {re.escape(rival)} \| ", measured, re.MULTILINE), experiment


def test_what_the_readme_links_to_exists() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert len(links) > 20
    assert not [link for link in links if not (ROOT / link.partition("#")[0]).exists()]


def test_the_errors_shown_are_the_errors_given() -> None:
    text = re.search(r"```text\n(.*?)```", README, re.DOTALL)
    assert text
    lines = text.group(1).strip().splitlines()
    for command, error in zip(lines[::2], lines[1::2], strict=True):
        words = command.removeprefix("$ python ").split()
        done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert done.stderr.strip() == error
