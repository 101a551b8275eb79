"""What earlier versions called their parts is still understood, in configs, overrides and checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf
from small_runs import Outcome, with_experiment

from dlzoo.config import compose, renames, schema
from dlzoo.config.introspection import locate
from dlzoo.errors import UserError

LEGACY = Path(__file__).parents[1] / "legacy"


def targets(node: object) -> set[str]:
    if isinstance(node, dict):
        own = {node["_target_"]} if isinstance(node.get("_target_"), str) else set()
        return own.union(*(targets(value) for value in node.values()))
    return set().union(*map(targets, node)) if isinstance(node, list) else set()


OLD = sorted(set().union(*(targets(yaml.safe_load(path.read_text())) for path in LEGACY.glob("*/.hydra/config.yaml"))))


@pytest.mark.parametrize("target", [target for target in OLD if target.startswith("dlzoo.")])
def test_a_target_of_an_earlier_version_is_there(target: str) -> None:
    new = renames.current(target)
    assert locate(new, "net._target_").__name__ == new.rpartition(".")[2]


def test_old_names_lead_to_new_ones_and_new_ones_to_themselves() -> None:
    for old, new in renames.MODULES.items():
        assert locate(f"{new}.__name__", "module") == new, old
        assert renames.current(f"{new}.X") == f"{new}.X"
    for old, new in renames.CLASSES.items():
        assert renames.current(old) == renames.current(new) == new
        assert locate(new, "task._target_").__name__ == new.rpartition(".")[2]


def test_an_old_name_in_a_config_is_read_and_said(tmp_path: Path, train: Callable[..., Outcome]) -> None:
    text = "defaults: [{override /model: reader}]\nnet: {_target_: dlzoo.nets.reader.Reader}\n"
    words = with_experiment(tmp_path, text + "scheduler: {_target_: dlzoo.schedulers.step}")
    done = train(*words, "trainer=smoke", "callbacks=checkpoint", "logger=none")
    assert done.code == 0, done.err
    assert "net._target_: dlzoo.nets.reader.Reader is now dlzoo.nets.rnn_reader.Reader" in done.err
    assert "scheduler._target_: dlzoo.schedulers.step is now dlzoo.optim.lr_schedules.step" in done.err


def test_an_override_of_an_earlier_version() -> None:
    word = "++callbacks.film={_target_: dlzoo.callbacks.film.Film, every: 2}"
    new = "callbacks.sample_animation.SampleAnimation"
    assert renames.updated_override(word) == word.replace("callbacks.film.Film", new)
    assert renames.updated_override("data.path=dlzoo.nets.dice.csv") == "data.path=dlzoo.nets.dice.csv"


OLD_OPTIONS = {"learn_after": 100, "learn_every": 8, "updates": 2, "target_every": 40}
NEW_OPTIONS = {"learning_starts": 100, "train_freq": 8, "gradient_steps": 2, "target_update_interval": 40}


def test_options_of_an_earlier_version_are_those_of_today() -> None:
    """In the config of a checkpoint, and of that part alone."""
    node = {"task": {"_target_": "dlzoo.tasks.dqn.DQN", "double": True} | OLD_OPTIONS}
    assert renames.updated(node) == {"task": {"_target_": "dlzoo.tasks.rl.dqn.DQN", "double": True} | NEW_OPTIONS}
    other = {"_target_": "mine.Task", "updates": 2}
    assert renames.updated(other) == other
    for old, new in zip(OLD_OPTIONS, NEW_OPTIONS, strict=True):
        for prefix in ("", "++", "~"):
            assert renames.updated_override(f"{prefix}task.{old}=4") == f"{prefix}task.{new}=4"
    assert renames.updated_override("data.path=task.updates=4") == "data.path=task.updates=4"


def test_an_old_option_on_the_command_line_is_read_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Over an experiment that sets it under its new name."""
    cfg = compose.compose(["experiment=dqn_cartpole", "task.learn_every=8", "task.updates=3"])
    assert (cfg.task.train_freq, cfg.task.gradient_steps) == (8, 3)
    assert capsys.readouterr().err.splitlines() == [
        "notice: task.learn_every is now task.train_freq", "notice: task.updates is now task.gradient_steps",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "old", "new"),
    [
        ("wide_deep", [0.7, 0.3], {"main": 0.7, "auxiliary": 0.3}),
        ("googlenet", [1.0, 0.2, 0.1], {"auxiliary_2": 0.2, "auxiliary_1": 0.1}),
        ("inception_v3", [1, 0.5], {"auxiliary": 0.5}),
        ("inception_v3", [0.5, 0.5], {"": 0.5, "auxiliary": 0.5}),
        ("mlp", [1.0], {}),
    ],
)
def test_loss_weights_that_were_a_list_are_those_of_the_outputs(
    model: str, old: list[float], new: dict[str, float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the command line and in a file, over the model's own file; and in a stored config."""
    text = f"defaults: [{{override /model: {model}}}]\ntask: {{loss_weights: {old}}}"
    *flags, chosen = with_experiment(tmp_path, text)
    shown = ", ".join(f"{name}: {weight}" for name, weight in new.items())
    for words in ([f"model={model}", f"task.loss_weights={old}"], [chosen]):
        cfg = compose.with_names(compose.compose_with_hydra(words, flags), {})
        stored = OmegaConf.to_container(cfg)
        schema.check(cfg)
        assert OmegaConf.to_container(cfg.task.loss_weights) == new
        assert capsys.readouterr().err == f"notice: task.loss_weights={old} is now task.loss_weights={{{shown}}}\n"
    stored["task"]["loss_weights"] = old  # type: ignore[call-overload,index]
    assert renames.updated(stored)["task"]["loss_weights"] == new


def test_a_list_of_other_loss_weights_is_refused() -> None:
    cfg = compose.compose(["model=wide_deep", "task.loss_weights=[0.5,0.3,0.2]"])
    with pytest.raises(UserError, match=r"loss_weights=\[0.5, 0.3, 0.2\]: these are 3 weights for 2 outputs; give"):
        schema.check(cfg)


def test_an_old_option_in_a_file_is_read_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "defaults: [{override /model: dqn}, {override /data: cartpole}]\ntask: {target_every: 40}"
    *flags, chosen = with_experiment(tmp_path, text)
    cfg = compose.with_names(compose.compose_with_hydra([chosen], flags), {})
    schema.check(cfg)
    assert cfg.task.target_update_interval == 40
    assert "target_every" not in cfg.task
    assert capsys.readouterr().err == "notice: task.target_every is now task.target_update_interval\n"
    cfg = compose.with_names(compose.compose_with_hydra([chosen, "task.target_update_interval=9"], flags), {})
    with pytest.raises(UserError, match="target_every is now called target_update_interval, but both are given"):
        schema.check(cfg)


def test_notices_show_what_a_file_says_as_text(capsys: Any) -> None:
    film = "dlzoo.callbacks.film.Film"
    cfg = OmegaConf.create(
        {"callbacks": {"a.b": {"_target_": film}, "\x1b[2J": {"_target_": f"{film}\x07"}, 1: {"_target_": film}}}
    )
    OmegaConf.set_struct(cfg, True)
    schema._rename(cfg)
    told = capsys.readouterr().err
    assert told.count("notice: ") == 3
    assert not {"\x1b", "\x07"} & {*told}
    renamed = "dlzoo.callbacks.sample_animation.SampleAnimation"
    assert cfg.callbacks["a.b"]._target_ == cfg.callbacks[1]._target_ == renamed
