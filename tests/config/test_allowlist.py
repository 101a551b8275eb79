"""The classes that a config may name: each is what it is listed as, and deciding imports nothing heavy."""

from __future__ import annotations

import re
import subprocess
import sys

import lightning.pytorch as pl
import torch
import torchmetrics

from dlzoo.config import allowlist as trust
from dlzoo.config import introspection as signatures
from dlzoo.config.yaml_files import CONFIG_DIR

TARGET = re.compile(r"^(?!#).*_target_: *([\w.]+)", re.M)


def test_every_listed_part_is_what_it_says() -> None:
    kinds = {
        "torch.optim.": torch.optim.Optimizer,
        "lightning.pytorch.callbacks.": pl.Callback,
        "lightning.pytorch.loggers.": pl.loggers.Logger,
        "lightning.pytorch.profilers.": pl.profilers.Profiler,
        "lightning.pytorch.strategies.": pl.strategies.Strategy,
        "lightning.pytorch.Trainer": pl.Trainer,
        "torchmetrics.": torchmetrics.Metric,
    }
    for name in trust.ALLOWED_TARGETS:
        kind = next(kind for start, kind in kinds.items() if name.startswith(start))
        assert issubclass(signatures.locate(name, ""), kind), name
    optimizers = {name for name, cls in vars(torch.optim).items() if isinstance(cls, type)} - {"Optimizer"}
    assert {f"torch.optim.{name}" for name in optimizers} <= trust.ALLOWED_TARGETS


def test_every_target_of_ours_is_allowed() -> None:
    found = [target for file in CONFIG_DIR.rglob("*.yaml") for target in TARGET.findall(file.read_text())]
    assert len(found) > 100
    assert {*trust.NETWORKED} < {*found}  # these only the command line chooses
    for target in {*found} - {"dlzoo.config.run_dir.RunFolder", *trust.NETWORKED}:
        trust.Trust().check_target(target, "")


def test_names_are_decided_without_importing_torch() -> None:
    program = (
        "import sys; from dlzoo.config.allowlist import Trust; t = Trust(); t.check_target('torch.optim.Adam', 'x')\n"
        "try: t.check_target('torch.optim.Adamm', 'x')\n"
        "except ValueError as error: print(error)\n"
        "print({'torch', 'lightning', 'hydra'} & {*sys.modules})"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "did you mean 'torch.optim.Adam'" in said
    assert said.splitlines()[-1] == "set()"
