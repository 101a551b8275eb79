"""What earlier versions called their parts is still understood, in configs, overrides and checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import Outcome

from dlzoo.config import renames
from dlzoo.config.introspection import locate

LEGACY = Path(__file__).parents[1] / "legacy"


def targets(node: object) -> set[str]:
    if isinstance(node, dict):
        own = {node["_target_"]} if isinstance(node.get("_target_"), str) else set()
        return own.union(*(targets(value) for value in node.values()))
    return set().union(*map(targets, node)) if isinstance(node, list) else set()


OLD = sorted(set().union(*(targets(yaml.safe_load(path.read_text())) for path in LEGACY.glob("*/.hydra/config.yaml"))))


@pytest.mark.parametrize("target", [target for target in OLD if target.startswith("dlzoo.")])
def test_a_target_of_an_earlier_version_is_there(target: str) -> None:
    assert locate(renames.current(target), "net._target_").__name__ == target.rpartition(".")[2]


def test_old_names_lead_to_new_ones_and_new_ones_to_themselves() -> None:
    for old, new in renames.MODULES.items():
        assert locate(f"{new}.__name__", "module") == new, old
        assert renames.current(f"{new}.X") == f"{new}.X"


def test_an_old_name_in_a_config_is_read_and_said(tmp_path: Path, train: Callable[..., Outcome]) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults: [{override /model: reader}]\nnet: {_target_: dlzoo.nets.reader.Reader}\n"
        "scheduler: {_target_: dlzoo.schedulers.step}\n"
    )
    done = train(
        "--config-dir", str(tmp_path), "experiment=mine", "trainer=smoke", "callbacks=checkpoint", "logger=none"
    )
    assert done.code == 0, done.err
    assert "net._target_: dlzoo.nets.reader.Reader is now dlzoo.nets.rnn_reader.Reader" in done.err
    assert "scheduler._target_: dlzoo.schedulers.step is now dlzoo.optim.lr_schedules.step" in done.err


def test_an_override_of_an_earlier_version() -> None:
    word = "++callbacks.film={_target_: dlzoo.callbacks.film.Film, every: 2}"
    assert renames.updated_override(word) == word.replace("callbacks.film.Film", "callbacks.sample_animation.Film")
    assert renames.updated_override("data.path=dlzoo.nets.dice.csv") == "data.path=dlzoo.nets.dice.csv"
