"""The README is true: its commands run as they stand, its net is found, its tables name all that exists."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dlzoo.config import compose as config

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(mark: str) -> str:
    """The fenced block that follows ``<!-- mark -->``."""
    found = re.search(rf"<!-- {re.escape(mark)} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    assert found, mark
    return found.group(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkout's entry points and what the commands speak of: a digit, a table, some pictures."""
    from PIL import Image
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("readme")
    for name in ("train.py", "scripts"):
        (folder / name).symlink_to(ROOT / name)
    images = (load_digits().images * 15).astype(np.uint8)
    Image.fromarray(images[0]).resize((40, 40)).save(folder / "digit.png")
    rows = "".join(f"{40 + i},{('north', 'south')[i % 2]},{100 + 3 * i + i % 2}.5\n" for i in range(80))
    (folder / "houses.csv").write_text("size,side,price\n" + rows)
    days = np.datetime64("2024-01-01") + np.arange(200)
    sales = "".join(f"{day},{100 + i + 20 * (i % 7)}\n" for i, day in enumerate(days))
    (folder / "sales.csv").write_text("day,sold\n" + sales)
    words = ("the food was awful", "a very good meal")
    (folder / "reviews.csv").write_text(
        "review,label\n" + "".join(f"{words[i % 2]} {i},{('bad', 'good')[i % 2]}\n" for i in range(80))
    )
    for k in (0, 1):
        (folder / "photos" / f"class{k}").mkdir(parents=True)
        for i in range(30):
            Image.fromarray(images[i * 10 + k]).resize((70, 64)).save(folder / "photos" / f"class{k}" / f"{i}.png")
    return folder


def run(folder: Path, line: str, *more: str) -> str:
    """The command as it stands, with more words; what it says."""
    program, *words = shlex.split(line, comments=True)
    done = subprocess.run(
        [sys.executable, *(["-m", "dlzoo"] if program == "dlzoo" else []), *words, *more],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, f"{line}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr, f"{line}\n{done.stderr}"
    return done.stdout


def test_the_ten_commands_run_in_order(folder: Path) -> None:
    lines = block("commands").strip().splitlines()
    assert len(lines) == 10
    for line in lines:
        more = []
        if line.startswith("python train.py") and "--help" not in line:
            # two batches an epoch: that it learns is shown elsewhere
            more = ["trainer.limit_train_batches=2", *([] if "ckpt=" in line else ["trainer.max_epochs=2"])]
        run(folder, line, *more)
    assert (folder / "outputs" / "lenet" / "results.json").is_file()


def test_your_series_and_your_texts_train_forecast_and_predict(folder: Path) -> None:
    series, texts, forecast, predict = block("sequences").strip().splitlines()
    run(folder, series)
    figures = json.loads((folder / "outputs" / "sales" / "results.json").read_text())["metrics"]
    assert figures["test/mase"] < 1  # a weekly wave on a line
    assert {"baseline/rmse_naive", "baseline/rmse_seasonal_naive"} <= set(figures)
    run(folder, texts)
    assert json.loads((folder / "outputs" / "reviews" / "results.json").read_text())["metrics"]["test/accuracy"] == 1
    told = run(folder, forecast).splitlines()
    assert len([line for line in told if line.startswith("2024-07-")]) == 14
    assert (folder / "forecast.png").stat().st_size > 5000
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
    (line,) = block("finetune").strip().splitlines()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    told = run(folder, line, "trainer.limit_train_batches=2", "trainer.limit_test_batches=1")
    assert "120 tensors loaded; the last layer is new" in told


def test_the_net_of_the_readme_is_two_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import shutil

    for name in ("dlzoo", "configs", "train.py"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    (tmp_path / "dlzoo" / "nets" / "two_layer.py").write_text(block("net.py"))
    (tmp_path / "configs" / "model" / "two_layer.yaml").write_text(block("net.yaml"))
    command = ["train.py", "model=two_layer", "data=wine", "net.num_units=32", "trainer.max_epochs=30"]
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    reached = re.search(r"two_layer +([\d.]+)%", done.stdout)  # in the table of methods
    assert reached
    assert float(reached.group(1)) > 85


@pytest.mark.parametrize("group", ["model", "data"])
def test_the_tables_name_all_models_and_data(group: str) -> None:
    missing = [name for name in config.groups()[group] if f"`{name}`" not in README]
    assert not missing


def test_the_errors_shown_are_the_errors_given() -> None:
    text = re.search(r"```text\n(.*?)```", README, re.DOTALL)
    assert text
    lines = text.group(1).strip().splitlines()
    for command, error in zip(lines[::2], lines[1::2], strict=True):
        words = command.removeprefix("$ python ").split()
        done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert done.stderr.strip() == error
