"""``dlzoo train --help`` is one screen, ``dlzoo train model=mlp --help`` lists options; neither imports torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from small_runs import Outcome, imported

from dlzoo.config import compose as config
from dlzoo.config import families, group_files, groups, help_text, options, part_help
from dlzoo.config.introspection import arguments, locate


def test_the_options_of_the_chosen_parts_with_values_types_and_a_line_each() -> None:
    words = ["model=mlp", "data=csv", "scheduler=step", "optimizer.lr=0.5", "--help"]
    program = imported("dlzoo.commands.train", words)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[-1] == "0", "torch and lightning are not imported"
    assert "net: dlzoo.nets.mlp.MLP" in lines
    assert "  optimizer.lr=0.5                  a number" in lines
    assert "  optimizer.fused=true              true or false or null" in lines
    dropout = lines.index("  net.dropout=0.0                   a number")
    assert lines[dropout + 1] == "      dropout rate of each hidden layer."
    target = next(i for i, line in enumerate(lines) if line.startswith("  data.target=???"))
    assert any("the column to predict" in line for line in lines[target : target + 4])
    assert "  scheduler.every=10                a number" in lines
    assert max(map(len, lines)) <= 80


def test_plain_help_is_one_screen_that_explains_every_group(train: Callable[..., Outcome]) -> None:
    lines = train("--help", "output_dir=x").out.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    text = " ".join(line.strip() for line in lines)
    long = {
        name
        for family in help_text.LONG
        for name in families.models(group_files.files_by_group()["model"]).get(family, [])
    }
    for group, names in groups.names().items():
        names = [name for name in names if name not in long]
        assert f"{group}=  {group_files.ABOUT[group]}" in text
        assert [name for name in names if name not in text] == [] or group in help_text.LONG
    assert "agents: dqn, q_table, random" in text
    assert "dlzoo options model=vae data=mnist" in text


def test_models_are_grouped_by_what_their_classes_declare() -> None:
    found = families.models(group_files.files_by_group()["model"])
    assert sorted(name for names in found.values() for name in names) == groups.names()["model"]
    assert {"cnn", "lenet"} <= {*found["images"]}
    assert {"resnet18", "timm"} <= {*found["backbones of torchvision and timm"]}
    assert {"gan", "vae", "autoencoder"} <= {*found["generative"]}
    assert {"bilstm", "rnn_classifier", "text_cnn"} <= {*found["texts"]}
    assert found["agents"] == ["dqn", "q_table", "random"]
    assert "lstm" in found["forecasts"]


def test_every_option_of_a_model_is_listed() -> None:
    for model in ("lenet", "vae", "kmeans", "dqn", "resnet18"):
        target = config.compose([f"model={model}"]).net["_target_"]
        part = options.read(target)
        assert part is not None
        assert {option.name for option in part.options} == {*arguments(locate(target, "net"))}


def test_nested_parts_are_listed_too() -> None:
    cfg = config.compose_with_hydra(["data=mnist", "augment=shift"])
    nested = next(part for part in part_help.parts(cfg, ["data"]) if part.key == "data.augment")
    assert {listed.key: listed.value for listed in nested.options}["data.augment.shift"] == 0.1
