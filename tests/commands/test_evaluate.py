"""Testing a checkpoint again gives the run's figures, and data that do not fit are refused with both sides named."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from small_runs import Terminal, changed, run, table_words, with_target

from dlzoo.checkpoint.load import load_task
from dlzoo.commands import evaluate
from dlzoo.config import compose as config
from dlzoo.config.instantiate import build_data
from dlzoo.errors import UserError
from dlzoo.inference import datasets
from dlzoo.specs.base import Spec
from dlzoo.specs.inputs import Column, ImageSpec, TableSpec
from dlzoo.specs.targets import Classes, Values
from dlzoo.training import metrics_table, results

ROOT = Path(__file__).resolve().parents[2]
RUNS = {
    "digits": ["data=digits", "seed=3", "expect=[{metric: test/accuracy, min: 0.01, source: us}]"],
    "wine": ["data=wine", "data.test_seed=4"],
    "csv": [],
    "ema": ["data=digits", "callbacks=[checkpoint,ema]"],
    "two batches": [
        "data=digits",
        "trainer.precision=bf16-mixed",
        "data.eval_batch_size=30",
        "trainer.limit_test_batches=2",
    ],
}


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a run, which is done when first asked for."""
    folders: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp("run")
            run(folders[name], *(table_words(folders[name]) if name == "csv" else RUNS[name]))
        return folders[name]

    return get


@pytest.fixture(scope="module")
def ckpt_of(folder_of: Callable[[str], Path]) -> Callable[[str], Path]:
    return lambda name: folder_of(name) / "checkpoints" / "best.ckpt"


@pytest.mark.parametrize("name", RUNS)
def test_the_figures_of_the_run(name: str, folder_of: Callable[[str], Path], terminal: Terminal) -> None:
    folder = folder_of(name)
    code, out, _ = terminal(evaluate.main, f"ckpt={folder}/checkpoints/best.ckpt", "json=true")
    stored = results.read(folder)
    outcome = json.loads(out)
    assert code == 0
    assert outcome["metrics"] == {k: v for k, v in stored["metrics"].items() if k.startswith("test/")}
    assert len(outcome["metrics"]) > 2
    assert outcome["expect"] == stored["expect"]
    assert outcome["num_parameters"] == stored["num_parameters"]


def test_the_table_of_the_run(
    folder_of: Callable[[str], Path], terminal: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of("digits")
    metrics_table.show(results.read(folder), folder)
    printed = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith(("metric", "test/"))]
    code, out, err = terminal(evaluate.main, f"ckpt={folder}/checkpoints/best.ckpt")
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()[:-1]] == printed
    assert "met" in out.split()
    assert out.splitlines()[-1].startswith("mlp on the test split of digits; cpu, 32-true, ")


def test_a_limit_is_said(ckpt_of: Callable[[str], Path], terminal: Terminal) -> None:
    ckpt = ckpt_of("two batches")
    assert "digits, limited by trainer.limit_test_batches=2;" in terminal(evaluate.main, f"ckpt={ckpt}").out
    whole = terminal(evaluate.main, f"ckpt={ckpt}", "trainer.limit_test_batches=1.0", "json=true")
    other = terminal(evaluate.main, f"ckpt={ckpt}", "data=digits", "json=true")
    limited = terminal(evaluate.main, f"ckpt={ckpt}", "json=true")
    losses = [json.loads(said.out)["metrics"]["test/loss"] for said in (whole, other, limited)]
    assert losses[0] == pytest.approx(losses[1])
    assert losses[0] != pytest.approx(losses[2])


def test_batch_size(ckpt_of: Callable[[str], Path], terminal: Terminal) -> None:
    ckpt = ckpt_of("digits")
    words = ["batch_size=7", "trainer.limit_test_batches=1", "json=true"]
    accuracy = json.loads(terminal(evaluate.main, f"ckpt={ckpt}", *words).out)["metrics"]["test/accuracy"]
    task, cfg = load_task(ckpt)
    x, y, _ = build_data(cfg.data).arrays("test").take(torch.arange(7))
    assert accuracy == pytest.approx((task(x / 255).argmax(1) == y).float().mean().item())


def test_a_table_may_lie_elsewhere(folder_of: Callable[[str], Path], terminal: Terminal, tmp_path: Path) -> None:
    folder = folder_of("csv")
    moved = (folder / "houses.csv").rename(tmp_path / "moved here.csv")
    try:
        words = [f"ckpt={folder}/checkpoints/best.ckpt", "json=true"]
        assert "there is no such file" in terminal.mistake(evaluate.main, *words)
        code, out, _ = terminal(evaluate.main, *words, f"data.path='{moved}'")
        assert code == 0
        assert json.loads(out)["metrics"]["test/rmse"] == results.read(folder)["metrics"]["test/rmse"]
    finally:
        moved.rename(folder / "houses.csv")


def test_data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that a checkpoint names is not used, for data would be downloaded into it."""
    stored_dir, here = tmp_path / "stored", tmp_path / "here"
    stored = OmegaConf.create(OmegaConf.to_yaml(config.compose(["data=mnist", f"data_dir={stored_dir}"]), resolve=True))
    assert isinstance(stored, type(OmegaConf.create({})))
    stored_dir.mkdir()
    monkeypatch.delenv("DLZOO_DATA_DIR", raising=False)
    assert datasets.composed(stored, None, []).data.data_dir == "data"
    monkeypatch.setenv("DLZOO_DATA_DIR", str(here))
    assert datasets.composed(stored, None, []).data.data_dir == str(here)
    assert datasets.composed(stored, None, ["data.data_dir=/third"]).data.data_dir == "/third"
    assert datasets.composed(stored, "fashion_mnist", []).data.data_dir == str(here)


def test_other_data_take_the_seed_of_the_run() -> None:
    stored = config.compose(["data=digits", "seed=5", "trainer.limit_test_batches=2", "augment=shift"])
    cfg = datasets.composed(stored, "wine", [])
    assert (cfg.data.seed, cfg.data._target_) == (5, "dlzoo.data.tables.published.Wine")
    assert "limit_test_batches" not in cfg.trainer
    own = datasets.composed(stored, None, [])
    assert own.trainer.limit_test_batches == 2
    assert stored.data.augment is not None
    assert "augment" not in own.data


NOT_FITTING = {
    "digits": {
        "data=wine": ("images of 1x8x8", "a table of 13 features"),
        "data=mnist": ("images of 1x8x8", "data=mnist gives images of 1x28x28"),
    },
    "wine": {
        "data=iris": ("a table of 13 features", "a table of 4 features"),
        "data.features=[1,0,2,3,4,5,6,7,8,9,10,11,12]": ("column 1 alcohol (a number, in % vol)", "malic_acid"),
        "data.positive=class_1": ("3 classes: class_0, class_1, class_2", "2 classes: not class_1, class_1"),
    },
}


@pytest.mark.parametrize(("name", "word"), [(name, word) for name, words in NOT_FITTING.items() for word in words])
def test_data_that_do_not_fit(
    name: str, word: str, ckpt_of: Callable[[str], Path], terminal: Terminal, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("DLZOO_DATA_DIR", str(tmp_path))
    message = terminal.mistake(evaluate.main, f"ckpt={ckpt_of(name)}", word)
    assert all(part in message for part in NOT_FITTING[name][word])
    assert not list(tmp_path.iterdir())  # nothing was downloaded


LETTERS = ImageSpec(1, 4, 4, Classes(("a", "b", "c"), (1, 2, 3)), (0.5,), (0.1,))
ROOMS = TableSpec((Column("size", "m2"), Column("town", categories=("x", "y"), fill="x")), Values(("price",), ("$",)))


def column(spec: TableSpec, number: int, **changes: Any) -> TableSpec:
    columns = [*spec.columns]
    columns[number] = dataclasses.replace(columns[number], **changes)
    return dataclasses.replace(spec, columns=tuple(columns))


@pytest.mark.parametrize(
    ("trained", "given", "message"),
    [
        (LETTERS, dataclasses.replace(LETTERS, target=Classes(("b", "a", "c"))), "3 classes: a, b, c, but data=x"),
        (LETTERS, dataclasses.replace(LETTERS, target=Classes(("a", "b"))), "gives 2 classes: a, b"),
        (LETTERS, dataclasses.replace(LETTERS, target=Values(("a", "b", "c"))), "gives 3 values: a, b, c"),
        (LETTERS, dataclasses.replace(LETTERS, channels=3), "images of 3x4x4"),
        (ROOMS, dataclasses.replace(ROOMS, target=Values(("price",), ("€",))), "price in $, but data=x gives"),
        (ROOMS, column(ROOMS, 0, unit="ft2"), "(a number, in m2), but data=x gives size (a number, in ft2)"),
        (ROOMS, column(ROOMS, 1, categories=("y", "x")), "one of x, y, missing values filled with x), but"),
        (ROOMS, column(ROOMS, 1, fill="y"), "filled with y"),
        (ROOMS, column(ROOMS, 0, name="area"), "gives area"),
    ],
)  # fmt: skip
def test_what_does_not_fit(trained: Spec, given: Spec, message: str) -> None:
    with pytest.raises(UserError) as caught:
        datasets.check_fit(trained, given, "data=x")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("trained", "given"),
    [
        (LETTERS, ImageSpec(1, 4, 4, Classes(("a", "b", "c")))),
        (ROOMS, dataclasses.replace(column(ROOMS, 0, unit=""), target=Values(("price",)), mean=(1.0,), std=(1.0,))),
    ],
)
def test_statistics_and_unknown_units_fit(trained: Spec, given: Spec) -> None:
    datasets.check_fit(trained, given, "data=x")
    datasets.check_fit(given, trained, "data=x")


def test_of_many_classes_those_that_differ_are_named() -> None:
    names = tuple(f"n{i}" for i in range(1000))
    with pytest.raises(UserError, match=r"1000 classes: …, n498, n499, n500, .* gives 1000 classes: …, n498, n499, no"):
        datasets.check_fit(
            dataclasses.replace(LETTERS, target=Classes(names)),
            dataclasses.replace(LETTERS, target=Classes((*names[:500], "no", *names[501:]))),
            "data=x",
        )


MISTAKES = {
    "ckpt=nothing.ckpt": "there is no such file",
    "ckpt=": "ckpt is empty",
    "ckpt=.": "has no checkpoint",
    "data=wien": "did you mean 'wine'",
    "dta.path=3": "did you mean 'data",
    "data.batch_sise=3": "did you mean 'batch_size'",
    "data.batch_size=big": "data.batch_size=big must be an integer",
    "data.val_fraction=2": "data.val_fraction=2 must lie between 0 and 1",
    "data.seed=1,2": "give one value",
    "data.seed.x=1": "error",
    "data.seed=${nowhere}": "nowhere",
    "trainer.max_epochs=3": "trainer.max_epochs is not an option of a test",
    "trainer.precision=bf17-mixed": "did you mean 'bf16-mixed'",
    "trainer.accelerator=abacus": "trainer.accelerator=abacus is not supported",
    "batch_size=0": "batch_size=0 is too small",
    "batch_size=x": "must be an integer",
    "json=yes": "json=yes must be true or false",
    "best.ckpt": "write key=value",
    "data=csv": "data.path is missing",
}


@pytest.mark.parametrize(("word", "message"), MISTAKES.items())
def test_mistakes(word: str, message: str, ckpt_of: Callable[[str], Path], terminal: Terminal) -> None:
    words = [word] if word.startswith("ckpt=") else [f"ckpt={ckpt_of('digits')}", word]
    assert message in terminal.mistake(evaluate.main, *words)


def test_no_word_at_all(terminal: Terminal) -> None:
    assert "ckpt is missing" in terminal.mistake(evaluate.main)
    assert "ckpt is given twice" in terminal.mistake(evaluate.main, "ckpt=a", "ckpt=b")
    code, out, err = terminal(evaluate.main, "--help")
    assert (code, err, out.strip()) == (0, "", (evaluate.__doc__ or "").strip())


@pytest.mark.parametrize("node", ["net", "task", "data", "data.augment"])
@pytest.mark.parametrize("target", ["os.system", "torch.nn.Linear", "dlzoo.training.launch.main"])
def test_a_stranger_is_not_built(
    node: str, target: str, ckpt_of: Callable[[str], Path], terminal: Terminal, tmp_path: Path
) -> None:
    ckpt = changed(ckpt_of("digits"), tmp_path / "strange.ckpt", with_target(node, target))
    message = terminal.mistake(evaluate.main, f"ckpt={ckpt}")
    assert f"the checkpoint wants to build {node}._target_={target}" in message


def test_what_is_not_a_number_is_null_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    evaluate.show({"metrics": {"test/r2": math.nan}, "expect": [{"reached": math.inf}]}, as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert said == {"metrics": {"test/r2": None}, "expect": [{"reached": None}]}


def test_the_script_from_anywhere(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = folder_of("wine")
    (tmp_path / "alone.ckpt").write_bytes((folder / "checkpoints/best.ckpt").read_bytes())
    script = [sys.executable, ROOT / "scripts" / "evaluate.py", "ckpt=alone.ckpt", "json=true"]
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    said = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120, env=env)
    assert (said.returncode, said.stderr) == (0, "")
    stored = results.read(folder)["metrics"]
    assert json.loads(said.stdout)["metrics"] == {k: v for k, v in stored.items() if k.startswith("test/")}
    assert [file.name for file in tmp_path.iterdir()] == ["alone.ckpt"]
