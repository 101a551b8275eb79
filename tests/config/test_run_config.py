"""The composed config as typed fields."""

from __future__ import annotations

import dataclasses

import pytest
from omegaconf import OmegaConf

from dlzoo.config import compose as config
from dlzoo.config import schema
from dlzoo.config.run_config import FIRST_BATCH_SIZE, RunConfig
from dlzoo.errors import UserError


def test_it_holds_the_whole_config_in_its_order() -> None:
    """What goes into checkpoints: nothing may be lost, added or put elsewhere."""
    words = ["model=mlp", "data=digits", "optimizer=adam", "++trainer.precision=bf16-mixed"]
    cfg = config.compose(words)
    run = RunConfig.checked(cfg, words)
    schema.check(cfg, words)
    assert OmegaConf.to_yaml(OmegaConf.create(run.to_plain())) == OmegaConf.to_yaml(cfg)
    assert (run.names.model, run.names.data, run.precision) == ("mlp", "digits", "bf16-mixed")


def test_other_options_make_another_config() -> None:
    run = RunConfig.from_hydra(config.compose(["model=mlp", "data=digits"]))
    found = run.with_options("data", batch_size=7).with_options("optimizer", lr=0.5)
    plain = found.to_plain()
    assert (plain["data"]["batch_size"], plain["optimizer"]["lr"]) == (7, 0.5)
    assert list(plain) == list(run.to_plain())
    assert run.data["batch_size"] != 7
    assert run.to_plain()["optimizer"]["lr"] != 0.5
    with pytest.raises(dataclasses.FrozenInstanceError):
        run.seed = 1  # type: ignore[misc]


def test_a_batch_size_to_be_found_stands_as_a_number() -> None:
    cfg = config.compose(["model=mlp", "data=digits", "data.batch_size=auto"])
    run = RunConfig.checked(cfg)
    assert run.finds_batch_size
    assert run.data["batch_size"] == FIRST_BATCH_SIZE
    assert cfg.data.batch_size == "auto"  # the config of the caller is as it was
    assert not RunConfig.checked(config.compose(["model=mlp"])).finds_batch_size


def test_a_run_without_an_optimizer_keeps_none() -> None:
    run = RunConfig.from_hydra(config.compose(["model=kmeans"]))
    assert run.optimizer == {}
    assert run.to_plain()["optimizer"] == run.composed["optimizer"]


def test_parts_that_are_switched_off_are_no_nodes() -> None:
    run = RunConfig.from_hydra(config.compose(["model=mlp", "callbacks=[checkpoint,ema]", "logger=none"]))
    assert run.averages_weights
    assert run.logger == {}
    assert not RunConfig.from_hydra(config.compose(["model=mlp", "callbacks=checkpoint"])).averages_weights


def test_a_mistake_is_named() -> None:
    cfg = config.compose(["model=mlp"])
    cfg.seed = "one"
    with pytest.raises(UserError, match="seed"):
        RunConfig.checked(cfg)
