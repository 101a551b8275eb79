"""``null`` where a name or a group of settings must be: on the command line, in a stranger's file, in a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_runs import Outcome
from trust_runs import experiment, refused

from dlzoo.config import compose as config
from dlzoo.config.prepare import prepare
from dlzoo.errors import UserError


@pytest.mark.parametrize("group", ["model", "data", "optimizer", "scheduler", "callbacks", "logger", "experiment"])
@pytest.mark.parametrize("value", ["null", "[null]", "[null,null]"])
def test_null_is_the_name_of_nothing(group: str, value: str) -> None:
    with pytest.raises(UserError, match=f"{group}=null: there is no such"):
        prepare([f"{group}={value}"])


def test_a_group_may_be_left_out() -> None:
    assert prepare(["~scheduler"]) == ["~scheduler"]
    assert config.compose(["~scheduler"]).get("scheduler") is None


@pytest.mark.parametrize("word", ["hydra=null", "hydra=default", "~hydra", "+hydra=[a]"])
def test_hydras_settings_are_set_one_by_one(word: str) -> None:
    with pytest.raises(UserError, match=r"set one by one, as hydra\.<name>="):
        prepare([word])


@pytest.mark.parametrize("value", ["null", "5", "[]", "x"])
def test_a_file_that_removes_hydras_settings(
    value: str, canary: Path, tmp_path: Path, train: Callable[..., Outcome]
) -> None:
    refused(train(*experiment(tmp_path, f"hydra: {value}")), canary, "only the command line may set Hydra's settings")
    (tmp_path / "foo").mkdir()
    (tmp_path / "foo" / "bar.yaml").write_text(f"hydra: {value}")
    by_a_group = experiment(tmp_path, "defaults: [{/foo@_global_: bar}]")
    refused(train(*by_a_group), canary, "only the command line may set Hydra's settings")


@pytest.mark.parametrize("node", ["net", "task", "data"])
def test_a_file_that_removes_what_a_run_needs(
    node: str, canary: Path, tmp_path: Path, train: Callable[..., Outcome]
) -> None:
    words = [word for word in experiment(tmp_path, f"{node}: null") if "epochs" not in word]
    refused(train(*words), canary, f"{node}=null: a run needs one")
