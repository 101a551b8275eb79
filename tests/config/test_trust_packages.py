"""Parts of a user's own package: a file that names one needs trust, and imports nothing before it is given."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import own_package
import pytest
from small_runs import Outcome, Terminal
from trust_runs import PARTS, experiment, refused

from dlzoo.config import compose as config
from dlzoo.config import schema

OWN = [
    "net._target_=my_parts.Net",
    "optimizer._target_=my_parts.Adam",
    "++callbacks.mine._target_=my_parts.Watch",
    "++data.augment._target_=my_parts.Mirror",
]


@pytest.fixture
def my_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of the user's own; the file that is there once it was imported."""
    (tmp_path / "my_parts.py").write_text(PARTS)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("my_parts", None)
    yield tmp_path / "imported"
    sys.modules.pop("my_parts", None)


def test_a_part_of_the_users_own_is_as_good_as_ours(my_parts: Path) -> None:
    schema.check(config.compose(OWN), OWN)
    assert my_parts.exists()


def test_a_part_that_a_file_names_needs_trust(
    my_parts: Path, canary: Path, tmp_path: Path, train: Callable[..., Outcome]
) -> None:
    words = [*experiment(tmp_path, "net: {_target_: my_parts.Net}"), "trainer=smoke", "trainer.accelerator=cpu"]
    words += ["callbacks=checkpoint", "data=digits"]
    refused(train(*words), canary, "net._target_=my_parts.Net is not allowed in a config file or a checkpoint; ")
    refused(train(*words), canary, "add trust=my_parts")
    refused(train(*words, "net._target_=dlzoo.nets.mlp.MLPP"), canary, "did you mean 'MLP'")
    assert not my_parts.exists()
    assert train(*words, "trust=my_parts").code == 0
    assert my_parts.exists()


@pytest.mark.parametrize("target", ["my_parts.system", "my_parts.os.system", "my_parts.harm", "my_parts.MLP"])
def test_what_a_trusted_package_does_not_hold(
    target: str, my_parts: Path, canary: Path, tmp_path: Path, train: Callable[..., Outcome]
) -> None:
    done = train(*experiment(tmp_path, f"net: {{_target_: {target}}}"), "trust=my_parts")
    assert (done.code, done.err.count("\n"), canary.exists()) == (2, 1, False), done


ENVIRONMENT = """
import pathlib
import gymnasium
import made_environments

pathlib.Path(__file__).with_name("imported").touch()
gymnasium.register("Mine-v0", entry_point=made_environments.Chain, max_episode_steps=9)
"""


def test_an_environment_of_the_users_own_needs_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train: Callable[..., Outcome], terminal: Terminal
) -> None:
    from dlzoo.commands import play

    (tmp_path / "my_rooms.py").write_text(ENVIRONMENT)
    monkeypatch.syspath_prepend(tmp_path)
    words = ["model=dqn", "data=gym", "data.id=my_rooms:Mine-v0", "data.steps_per_epoch=20", "data.val_episodes=1"]
    words += ["data.test_episodes=1", "trainer.max_epochs=1", "callbacks=checkpoint", "logger=none"]
    words += [f"hydra.run.dir={tmp_path / 'run'}"]
    asked = "data.id=my_rooms:Mine-v0 imports the module my_rooms: if you trust my_rooms, add trust=my_rooms"
    assert asked in train(*words).err
    assert "imports the module os: give the id alone" in train(*words, "data.id=os:Mine-v0").err
    assert not (tmp_path / "imported").exists()
    done = train(*words, "trust=my_rooms")
    assert done.code == 0, done.err
    (tmp_path / "imported").unlink()
    sys.modules.pop("my_rooms")
    ckpt = f"ckpt={tmp_path / 'run' / 'checkpoints' / 'best.ckpt'}"
    assert asked in terminal.mistake(play.main, ckpt)
    assert not (tmp_path / "imported").exists()
    assert "episode 1   return" in terminal(play.main, ckpt, "trust=my_rooms").out


@pytest.mark.parametrize("name", ["os", "torch", "lightning.pytorch", "dlzoo", "'1x'", "[a,3]"])
def test_not_every_package_can_be_trusted(name: str, canary: Path, train: Callable[..., Outcome]) -> None:
    refused(train(f"trust={name}"), canary, "trust=")


def test_a_plug_in_is_trusted(my_parts: Path, canary: Path, tmp_path: Path, train: Callable[..., Outcome]) -> None:
    words = experiment(tmp_path, "net: {_target_: my_parts.Net}")
    own_package.install(tmp_path, "my_parts", group="console_scripts")
    refused(train(*words), canary, "add trust=my_parts")
    own_package.install(tmp_path, "my_parts")
    importlib.invalidate_caches()
    words += ["trainer=smoke", "trainer.accelerator=cpu", "callbacks=checkpoint", "data=digits"]
    assert train(*words).code == 0
