"""The JSON Schemas of config files: they are up to date, all shipped files fit them, and mistakes do not."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from schema_lists import in_any_order

from dlzoo.config import group_files, schema_files
from dlzoo.config.group_files import MODELINE, File
from dlzoo.config.json_schema import of_type
from dlzoo.config.schema_files import Schemas
from dlzoo.config.yaml_files import CONFIG_DIR, read_yaml

FILES = [CONFIG_DIR / "train.yaml", *sorted(CONFIG_DIR.glob("*/*.yaml"))]
GOOD = """
defaults:
  - override /model: vae
  - override /data: mnist
  - override /optimizer: adamw
  - override /callbacks: [default, early_stopping]
  - override hydra/job_logging: none
  - /mine/of: anything
net: {latent_dim: 2, hidden: [400, "${width}"], activation: "${oc.select:x,relu}"}
optimizer: {lr: 1.0e-3, weight_decay: "???"}
data: {batch_size: 64, val_size: null, augment: {_target_: mypkg.Augment, strength: 2}}
trainer: {max_epochs: 5, precision: bf16-mixed}
callbacks:
  early_stopping: {patience: 3}
  checkpoint: null
  mine: {_target_: mypkg.callbacks.Mine, anything: 1}
seed: 3
expect:
  - {metric: test/neg_elbo, max: 105, source: own goal}
"""
MISTAKES = {
    ("latent_dim: 2", "latent_dimm: 2"): "'latent_dimm' was unexpected",
    ("latent_dim: 2", "num_layers: 2"): "'num_layers' was unexpected",
    ("latent_dim: 2", "latent_dim: two"): "'two' is not of type 'integer'",
    ("hidden: [400,", "hidden: [many,"): "'many' is not of type 'integer'",
    ('activation: "${oc.select:x,relu}"', "activation: rleu"): "'rleu' is not one of ['identity', 'sigmoid'",
    ("net: {", "net: {_target_: dlzoo.nets.vae.VEA, "): "'dlzoo.nets.vae.VEA' is not valid",
    ("model: vae", "model: vea"): "'vea' is not one of ['adaline',",
    ("override /data", "overide /data"): "'overide /data' does not match",
    ("override /data", "override /dta"): "'override /dta' does not match",
    ("early_stopping]", "early_stoping]"): "'early_stoping' is not one of",
    ("batch_size: 64", "batch_size: 0"): "0 is less than the minimum of 1",
    ("max_epochs: 5", "max_epochs: -3"): "-3 is less than the minimum of -1",
    ("precision: bf16-mixed", "precision: bf16mixed"): "'bf16mixed' is not one of",
    ("optimizer: {lr", "optimizer: {momentum: 0.9, lr"): "'momentum' was unexpected",
    ("patience: 3", "patient: 3"): "'patient' was unexpected",
    ("checkpoint: null", "checkpoint: {save_topk: 1}"): "'save_topk' was unexpected",
    ("mine: {_target_: mypkg.callbacks.Mine, anything: 1}", "mine: {anything: 1}"): "'_target_' is a required",
    ("seed: 3", "sed: 3"): "'sed' was unexpected",
    ("seed: 3", "seed: -3"): "-3 is less than the minimum of 0",
    ("metric:", "metrics:"): "'metrics' was unexpected",
    ("trainer: {", "on_nan: ignore\ntrainer: {"): "'ignore' is not one of ['stop', 'skip']",
    ("trainer: {", "task: {gama: 1}\ntrainer: {"): "'gama' was unexpected",
}


@cache
def shipped(name: str) -> Any:
    return json.loads((CONFIG_DIR / "schema" / f"{name}.json").read_text(encoding="utf-8"))


def problems(content: object, name: str = "config") -> list[str]:
    validator = jsonschema.Draft202012Validator(shipped(name))
    return [error.message for error in validator.iter_errors(content)]


def test_the_shipped_schemas_are_up_to_date() -> None:
    """`dlzoo schema --config-dir configs` writes them. Other versions of PyTorch and Lightning have other options."""
    schemas = Schemas()
    assert {path.stem for path in (CONFIG_DIR / "schema").iterdir()} == {*schemas.names}
    for name in schemas.names:
        new, old = copy.deepcopy(schemas.schema(name)), copy.deepcopy(shipped(name))
        if new["$comment"] != old["$comment"]:
            for schema in (new, old):
                own = schema["$defs"]
                schema["$defs"] = {key: own[key] for key in own if key.startswith("dlzoo.")}
                del schema["$comment"]
        assert in_any_order(json.loads(json.dumps(new))) == in_any_order(old), (
            f"{name}: run dlzoo schema --config-dir configs"
        )


@pytest.mark.parametrize("name", Schemas().names)
def test_a_schema_is_one(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(shipped(name))
    assert shipped(name)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_every_shipped_file_names_its_schema_and_fits_it() -> None:
    for path in FILES:
        file = File(path)
        lines = path.read_text(encoding="utf-8").splitlines()
        up = "" if path.parent == CONFIG_DIR else "../"
        expected = f"{MODELINE}{up}schema/{schema_files.schema_name(file)}.json"
        assert lines[lines[0].startswith("# @")] == expected, "dlzoo schema --config-dir configs mark=true"
        assert problems(read_yaml(path), schema_files.schema_name(file)) == [], path


def test_a_good_experiment_fits() -> None:
    assert problems(yaml.safe_load(GOOD)) == []


@pytest.mark.parametrize("change", MISTAKES, ids="->".join)
def test_a_mistake_does_not(change: tuple[str, str]) -> None:
    assert change[0] in GOOD
    found = problems(yaml.safe_load(GOOD.replace(*change)))
    assert any(MISTAKES[change] in message for message in found), found


def test_what_a_model_leaves_open_is_that_of_the_defaults() -> None:
    """Without a choice of its own, an experiment has the optimizer that its model chooses, or else the default one."""
    for model, optimizer in (("vae", "adam"), ("gan", "adam_gan")):
        text = f"defaults: [override /model: {model}]\noptimizer: {{momentum: 0.9}}"
        assert problems(yaml.safe_load(text.replace("[", "[{").replace("]", "}]"))) != [], optimizer
    assert problems({"optimizer": {"momentum": 0.9}}) == []
    assert problems({"optimizer": {"momentom": 0.9}}) != []


def test_group_files_are_checked() -> None:
    mnist = {"_target_": "dlzoo.data.images.published.MNIST", "batch_size": 3}
    assert problems(mnist, "data") == []
    assert problems(mnist | {"batchsize": 3}, "data") != []
    assert problems(mnist | {"batch_size": "auto"}, "data") == [], "which a run replaces"
    assert problems(mnist | {"_target_": "mypkg.Data", "batchsize": 3}, "data") == []
    assert problems({"defaults": ["auto"], "max_epochs": 2}, "trainer") == []
    assert problems({"defaults": ["atuo"]}, "trainer") != []
    assert problems({"sampler": "tpe", "trials": "many"}, "sweep") != []
    assert problems({"mine": {"_target_": "lightning.pytorch.callbacks.Timer", "durations": 3}}, "callbacks") != []


def test_names_and_classes_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("# @package _global_\nnet: {_target_: own_for_schema.Net}\n")
    (tmp_path / "own_for_schema.py").write_text("class Net:\n    def __init__(self, spec, width: int = 8): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = {"defaults": [{"override /model": "mine"}], "net": {"width": "wide"}}
    assert any("'mine' is not one of" in message for message in problems(config))
    folders = (CONFIG_DIR, tmp_path)
    for trusted, messages in ((), []), (("own_for_schema",), ["'wide' is not of type 'integer'"]):
        schema = Schemas(folders, schema_files.Trust(trusted)).schema("config")
        found = [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(config)]
        assert found == messages


def test_the_fallbacks() -> None:
    """A class is an object, a function and an unknown annotation any value, a tensor none."""
    from collections.abc import Callable, Sequence

    from torch import Tensor

    class Part: ...

    assert of_type(Part) == {"type": "object"}
    assert of_type(Callable[[int], int]) == of_type(Any) == {}
    both = [of_type(int | str)["type"], of_type(str | int)["type"]]  # equal annotations, in either order
    assert both == [["integer", "string"], ["string", "integer"]]
    assert of_type(float | Tensor) == {"type": "number"}
    assert of_type(Sequence[int])["items"] == {"if": {"$ref": "#/$defs/reference"}, "else": {"type": "integer"}}


def test_it_works_in_check_jsonschema(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(GOOD.replace("latent_dim: 2", "latent_dimm: 2"))
    command = [sys.executable, "-m", "check_jsonschema", "--schemafile", str(CONFIG_DIR / "schema" / "config.json")]
    done = [
        subprocess.run([*command, str(tmp_path / name)], capture_output=True, text=True, check=False)
        for name in ("good.yaml", "bad.yaml")
    ]
    assert [result.returncode for result in done] == [0, 1]
    assert "$.net: Additional properties are not allowed ('latent_dimm' was unexpected)" in done[1].stdout


def test_group_files_say_what_they_are() -> None:
    found = group_files.files_by_group()
    assert {*found} <= {*group_files.ABOUT}
    assert next(file for file in found["data"] if file.name == "mnist").about.startswith("Handwritten digits, 28x28")
