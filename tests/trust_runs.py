"""Configs of a stranger, and what refusing them looks like."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from small_runs import Outcome, with_experiment


def yaml(node: Any, canary: Path) -> str:
    return json.dumps(node).replace("{}", str(canary))


def experiment(folder: Path, text: str, header: str = "# @package _global_\n") -> list[str]:
    return [*with_experiment(folder, text, header), "trainer.max_epochs=1", "logger=none"]


def refused(done: Outcome, canary: Path, said: str) -> None:
    assert (done.code, done.err.count("\n"), canary.exists()) == (2, 1, False), done.err
    assert said in done.err


PARTS = """
import os, pathlib, torch, lightning.pytorch as pl
from os import system
from dlzoo.nets.mlp import MLP
pathlib.Path(__file__).with_name("imported").touch()
class Net(MLP): pass
class Adam(torch.optim.Adam): pass
class Watch(pl.Callback): pass
class Mirror(torch.nn.Module): pass
def harm(*args, **kwargs): pass
"""
