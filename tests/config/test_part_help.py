"""``train.py model=mlp --help`` lists the options of the chosen parts, without importing torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from small_runs import Outcome, imported

from dlzoo.config import compose as config
from dlzoo.config import part_help
from dlzoo.config.introspection import arguments, locate


def test_the_options_of_the_chosen_parts_with_values_and_a_line_each() -> None:
    program = imported("dlzoo.train", ["model=mlp", "data=csv", "scheduler=step", "optimizer.lr=0.5", "--help"])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[-1] == "0", "torch and lightning are not imported"
    assert "net: dlzoo.nets.mlp.MLP" in lines
    assert "  optimizer.lr=0.5" in lines
    assert "  optimizer.fused=true" in lines
    assert any(
        line.startswith("  net.dropout=0.0 ") and line.endswith("dropout rate of each hidden layer.") for line in lines
    )
    assert any(line.startswith("  data.target=???") and "the column to predict" in line for line in lines)
    assert "  scheduler.every=10" in lines
    assert max(map(len, lines[lines.index("net: dlzoo.nets.mlp.MLP") :])) <= 115


def test_plain_help_says_how_to_list_them(train: Callable[..., Outcome]) -> None:
    assert "model=mlp data=csv --help lists the options" in train("--help", "output_dir=x").out


def test_every_option_of_a_model_is_listed() -> None:
    for model in ("lenet", "vae", "kmeans", "dqn", "resnet18"):
        cfg = config.compose([f"model={model}"])
        listed = {option.name for option in part_help.options(cfg.net["_target_"])}
        assert listed == {*arguments(locate(cfg.net["_target_"], "net"))}
