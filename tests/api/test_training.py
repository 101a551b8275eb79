"""`dlzoo.train` is the command's run, and leaves the caller's process as it was."""

from __future__ import annotations

import logging
import os
import random
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from small_runs import Train

import dlzoo
from dlzoo.api.overrides import overrides_of
from dlzoo.api.training import trusted
from dlzoo.config.allowlist import packages_in

WORDS = ("model=mlp", "data=digits", "net.hidden=[8]", "trainer=cpu", "trainer.max_epochs=1", "logger=none")


def state_of_process() -> dict[str, object]:
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "torch": torch.get_rng_state().tolist(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "argv": [*sys.argv],
        "main": sys.modules["__main__"],
        "filters": [*warnings.filters],
        "hook": threading.excepthook,
        "seed": os.environ.get("PL_GLOBAL_SEED"),
        "folder": os.getcwd(),
        "level": logging.getLogger("lightning.pytorch").level,
        "hydra": repr(HydraConfig.instance().cfg),
        "style": {**matplotlib.rcParams},
        "initialized": GlobalHydra.instance().is_initialized(),
    }


def test_the_same_run_as_that_of_the_command(here: Path, train: Train) -> None:
    run = dlzoo.train(*WORDS, deterministic=True, output_dir="by_function", callbacks="checkpoint")
    assert train(*WORDS, "deterministic=true", "callbacks=checkpoint").code == 0
    (other,) = (here / "outputs").glob("*/*")
    ours, theirs = (torch.load(folder / "checkpoints" / "best.ckpt") for folder in (run.path, other))
    assert all(torch.equal(ours["state_dict"][name], theirs["state_dict"][name]) for name in theirs["state_dict"])
    assert run.metrics == dlzoo.Run(other).metrics
    assert (run.path / ".hydra" / "config.yaml").is_file()


def test_the_process_is_as_before(here: Path) -> None:
    before = state_of_process()
    dlzoo.train(*WORDS, "callbacks=none", deterministic=True, quiet=True)
    assert state_of_process() == before


def test_the_process_is_as_before_after_a_mistake(here: Path) -> None:
    before = state_of_process()
    with pytest.raises(dlzoo.UserError, match="did you mean 'lr'"):
        dlzoo.train(*WORDS, optimizer={"lrr": 0.1})
    assert state_of_process() == before
    assert not (here / "outputs").exists()


@pytest.mark.parametrize(
    ("words", "options", "said"),
    [
        (["model=mpl"], {}, "did you mean 'mlp'"),
        (["mlp"], {}, '"key=value"'),
        (["-m"], {}, '"key=value"'),
        (["model=mlp"], {"data": "wnie"}, "did you mean 'wine'"),
        (["model=mlp"], {"net": object()}, "give a number, a text, a list or a dict"),
        (["model=lenet", "data=wine"], {}, "models for"),
        (["model=mlp", "data=csv"], {"data.path": "nowhere.csv", "data.target": "y"}, "nowhere.csv"),
        (["ckpt=nowhere.ckpt"], {}, "nowhere.ckpt"),
        (["model=mlp,lenet"], {}, "model=mlp,lenet has several values, .*dlzoo.search"),
        (["sweep=tpe"], {}, "in Python use dlzoo.search"),
    ],
)
def test_mistakes_are_errors_with_a_sentence(
    words: list[str], options: dict[str, object], said: str, here: Path
) -> None:
    with pytest.raises(dlzoo.UserError, match=said):
        dlzoo.train(*words, **options)


def test_a_failed_run_is_an_error(here: Path) -> None:
    with pytest.raises(dlzoo.RunFailed, match="not finite"):
        dlzoo.train(*WORDS, "callbacks=none", "optimizer=sgd", "optimizer.lr=1e38")


def test_a_folder_that_cannot_be_made_is_a_mistake(here: Path) -> None:
    (here / "file").write_text("")
    with pytest.raises(dlzoo.UserError, match="output_dir"):
        dlzoo.train(*WORDS, output_dir="file")


def test_a_finished_run_is_not_run_again(here: Path) -> None:
    again = {"resume": "auto", "hydra.run.dir": "mine", "callbacks": "checkpoint"}
    first = dlzoo.train(*WORDS, **again)
    written = (first.path / "results.json").stat().st_mtime_ns
    assert (dlzoo.train(*WORDS, **again).path / "results.json").stat().st_mtime_ns == written


def test_a_run_continues(here: Path) -> None:
    first = dlzoo.train(*WORDS, "callbacks=[checkpoint,history]")
    more = dlzoo.train(ckpt=first.path / "checkpoints" / "last.ckpt", trainer={"max_epochs": 2})
    assert more.path == first.path
    assert [*more.history.index] == [1, 2]


@pytest.mark.slow
def test_two_processes(here: Path) -> None:
    """The second one is started as the command, not as the script that calls the function; the next run is free."""
    words = [*WORDS, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "callbacks=checkpoint"]
    script = here / "script.py"
    script.write_text(
        f"print('begun')\nimport dlzoo\n"
        f"for more in ([], ['trainer=cpu', 'trainer.devices=1'], []):\n"
        f"    print(dlzoo.train(*{words!r}, *more).metrics['test/accuracy'] > 0.05)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, cwd=here)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("2 x cpu, 32-true") == 2
    assert [line for line in done.stdout.splitlines() if line in ("begun", "True")] == ["begun", "True", "True", "True"]


def test_keyword_arguments_are_overrides() -> None:
    options = {
        "net": {"hidden": (300, 100), "dropout": np.float64(0.5)},
        "data": {"path": Path("a b") / "c.csv", "inputs": {}, "columns": ["x y", None]},
        "experiment": None,
        "task": {},
        "seed": np.int64(3),
        "test": False,
    }
    assert overrides_of([], options) == [
        "net.hidden=[300,100]", "net.dropout=0.5", 'data.path="a b/c.csv"', "data.inputs={}",
        'data.columns=["x y",null]', "experiment=null", "seed=3", "test=false",
    ]  # fmt: skip


@pytest.mark.parametrize("trust", [["a", "b.c"], ("a", "b.c")])
def test_a_run_keeps_the_packages_that_were_trusted(trust: object) -> None:
    argv = ["--config-dir", "conf", *overrides_of(["trust=never", "model=mlp"], {"trust": trust})]
    assert packages_in(trusted(argv)) == ("a", "b.c")
    assert trusted(["model=mlp"]) is None


def test_importing_the_package_is_quick() -> None:
    code = "import dlzoo, sys; print({'torch', 'lightning', 'hydra', 'pandas'} & {*sys.modules}, 'train' in dir(dlzoo))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set() True"


def test_every_public_name_is_there() -> None:
    assert {*dlzoo.PUBLIC} | {"__version__"} == {*dlzoo.__all__}
    assert all(getattr(dlzoo, name).__doc__ for name in dlzoo.PUBLIC)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = dlzoo.trian
