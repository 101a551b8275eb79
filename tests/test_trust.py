"""A config or a checkpoint from a stranger that names os.system: refused in one line, and nothing is executed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Outcome
from small_runs import Terminal, changed, run, with_target

from dlzoo import config, trust
from dlzoo import train as train_module
from dlzoo.commands import encode, evaluate, predict
from dlzoo.errors import UserError

PLACES = {
    "net": "net: %s",
    "task": "task: %s",
    "data": "data: %s",
    "optimizer": "optimizer: %s",
    "scheduler": "scheduler: %s",
    "trainer": "trainer: %s",
    "callbacks": "callbacks: {mine: %s}",
    "logger": "logger: {mine: %s}",
    "inside data": "data: {augment: %s}",
    "inside a list": "trainer: {strategy: [%s]}",
    "Hydra's callbacks": "hydra: {callbacks: {mine: %s}}",
}
TARGETS = {
    "os.system": {"_target_": "os.system", "command": "touch {}"},
    "arguments by place": {"_target_": "os.system", "_args_": ["touch {}"]},
    "subprocess.Popen": {"_target_": "subprocess.Popen", "args": "touch {}", "shell": True},
    "zipfile.ZipFile": {"_target_": "zipfile.ZipFile", "file": "{}", "mode": "w"},  # not on Hydra's own list
    "builtins.eval": {"_target_": "builtins.eval", "_args_": ["open('{}', 'w')"]},
}
LOGGING = {
    "factory": {"formatters": {"x": {"()": "os.system", "command": "touch {}"}}},
    "handler": {"handlers": {"x": {"class": "subprocess.Popen", "args": "touch {}", "shell": True}}},
}


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file that only a stranger's command writes."""
    return tmp_path / "canary"


def yaml(node: Any, canary: Path) -> str:
    return json.dumps(node).replace("{}", str(canary))


def experiment(folder: Path, text: str) -> list[str]:
    (folder / "experiment").mkdir(exist_ok=True)
    (folder / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}\n")
    return ["--config-dir", str(folder), "experiment=mine", "trainer.max_epochs=1", "logger=none"]


def refused(done: Outcome, canary: Path, said: str) -> None:
    assert (done.code, done.err.count("\n"), canary.exists()) == (2, 1, False), done.err
    assert said in done.err


CASES = [*(("os.system", place) for place in PLACES)]
CASES += [(target, place) for target in TARGETS for place in ("net", "inside data", "Hydra's callbacks")]


@pytest.mark.parametrize(("target", "place"), dict.fromkeys(CASES))
def test_a_file_of_config(target: str, place: str, canary: Path, tmp_path: Path, train: Callable[..., Outcome]) -> None:
    node = yaml(TARGETS[target], canary)
    done = train(*experiment(tmp_path, PLACES[place] % node))
    refused(done, canary, f"_target_={TARGETS[target]['_target_']}")


@pytest.mark.parametrize("name", LOGGING)
@pytest.mark.parametrize("node", ["job_logging", "hydra_logging"])
def test_a_file_of_config_that_logs(
    node: str, name: str, canary: Path, tmp_path: Path, train: Callable[..., Outcome]
) -> None:
    text = yaml({"hydra": {node: {"version": 1, **LOGGING[name]}}}, canary)
    refused(train(*experiment(tmp_path, text)), canary, "only classes of logging.")


def test_these_would_be_called_without_the_checks(
    canary: Path, tmp_path: Path, train: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the tests above would pass for a wrong reason: Hydra refuses os.system itself, but not all that writes."""
    node = yaml(TARGETS["zipfile.ZipFile"], canary)
    monkeypatch.setattr(trust, "check_hydra", lambda node: None)
    train(*experiment(tmp_path, PLACES["Hydra's callbacks"] % node), "seed=-1")
    assert canary.exists()
    canary.unlink()
    monkeypatch.setattr(trust, "check_part", lambda *_: None)
    with pytest.raises(AttributeError):  # when it is built, as it is no callback
        train(*experiment(tmp_path, PLACES["callbacks"] % node))
    assert canary.exists()


def test_words_of_the_command_line(canary: Path, train: Callable[..., Outcome]) -> None:
    done = train("++callbacks.mine._target_=os.system", f"++callbacks.mine.command='touch {canary}'")
    refused(done, canary, "callbacks.mine._target_=os.system is not built: it is no lightning.pytorch.Callback")
    refused(train("net._target_=torch.nn.Linear"), canary, "give the class accepts = (…)")
    refused(train("scheduler._target_=os.system"), canary, "a scheduler is a function of optimizer and plan")
    refused(train("--config-name", "mine"), canary, "add files of yours with --config-dir")


def test_a_part_of_the_users_own_is_as_good_as_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_parts.py").write_text(
        "import torch, lightning.pytorch as pl\nfrom dlzoo.nets.mlp import MLP\n"
        "class Net(MLP): pass\nclass Adam(torch.optim.Adam): pass\nclass Watch(pl.Callback): pass\n"
        "class Mirror(torch.nn.Module): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    words = [
        "net._target_=my_parts.Net",
        "optimizer._target_=my_parts.Adam",
        "++callbacks.mine._target_=my_parts.Watch",
    ]
    config.check(config.compose([*words, "++data.augment._target_=my_parts.Mirror"]))


# ------------------------------------------------------------------------------------------------ checkpoints


@pytest.fixture(scope="module")
def ckpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    run(folder, "data=digits", "trainer.max_epochs=1")
    return folder / "checkpoints" / "best.ckpt"


WORDS = {
    "a callback": ["++callbacks.mine._target_=os.system", "++callbacks.mine.command='touch {}'"],
    "a callback as a dict": ["+callbacks.mine={{_target_: os.system, command: 'touch {}'}}"],
    "a net": ["net._target_=os.system"],
    "Hydra's callback": ["+hydra.callbacks.mine._target_=os.system", "+hydra.callbacks.mine.command='touch {}'"],
    "a place of Hydra's": ["+callbacks@hydra.callbacks=default"],
    "a flag": ["--config-dir=/tmp"],
}


@pytest.mark.parametrize("name", WORDS)
def test_words_that_a_checkpoint_brings(
    name: str, ckpt: Path, canary: Path, tmp_path: Path, train: Callable[..., Outcome]
) -> None:
    def change(content: dict[str, Any]) -> None:
        content["dlzoo"]["overrides"] = ["data=digits", *(word.format(canary) for word in WORDS[name])]

    spoilt = changed(ckpt, tmp_path / "spoilt.ckpt", change)
    refused(train(f"ckpt={spoilt}", "trainer.max_epochs=2"), canary, "brings the word")


@pytest.mark.parametrize("node", ["net", "task", "data", "net.inner"])
@pytest.mark.parametrize("command", [predict, evaluate, encode])
def test_targets_of_a_checkpoint(
    command: Any, node: str, ckpt: Path, canary: Path, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    change = with_target(node, "os.system", command=f"touch {canary}")
    spoilt = changed(ckpt, tmp_path / "spoilt.ckpt", change)
    picture = tmp_path / "a.png"
    picture.write_bytes(b"")
    words = [f"ckpt={spoilt}", *([f"input={picture}"] if command is predict else [])]
    said = Terminal(monkeypatch, capsys).mistake(command.main, *words)
    assert f"the checkpoint wants to build {node}._target_=os.system" in said
    assert not canary.exists()


class Pickled:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        import os

        return os.system, (self.command,)


@pytest.mark.parametrize("as_zip", [True, False])
def test_a_pickle_that_calls(as_zip: bool, ckpt: Path, canary: Path, tmp_path: Path, train: Any) -> None:
    content = torch.load(ckpt, weights_only=True) | {"extra": Pickled(f"touch {canary}")}
    torch.save(content, tmp_path / "spoilt.ckpt", _use_new_zipfile_serialization=as_zip)
    refused(train(f"ckpt={tmp_path / 'spoilt.ckpt'}"), canary, "spoilt.ckpt")
    torch.load(tmp_path / "spoilt.ckpt", weights_only=False)
    assert canary.exists()  # so it would have called


@pytest.mark.parametrize(
    ("key", "value"),
    [("config", 7), ("config", None), ("overrides", None), ("overrides", [1]), ("overrides", "data=digits")],
)
def test_a_card_that_is_none(key: str, value: Any, ckpt: Path, tmp_path: Path) -> None:
    from dlzoo.checkpoint import read

    spoilt = changed(ckpt, tmp_path / "spoilt.ckpt", lambda content: content["dlzoo"].update({key: value}))
    with pytest.raises(UserError, match="is damaged: its config is no text, or its overrides are no words"):
        read(spoilt)


def test_every_run_is_checked(monkeypatch: pytest.MonkeyPatch, train: Callable[..., Outcome]) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(trust, "check_hydra", asked.append)
    monkeypatch.setattr(train_module, "run", lambda *_: {})
    train("data=digits")
    assert len(asked) == 1
    assert "callbacks" in asked[0]
