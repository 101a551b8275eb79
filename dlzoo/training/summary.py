"""The summary of a run: printed when it starts, written to ``results.json`` and TensorBoard when it ends."""

from __future__ import annotations

import dataclasses
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from torch import nn

from dlzoo.callbacks import sinks
from dlzoo.callbacks.model_checkpoint import ModelCheckpoint
from dlzoo.config import instantiate as build
from dlzoo.config.nested import flatten
from dlzoo.config.run_config import Claim, Names, Node, RunConfig, target_of
from dlzoo.errors import short, visible
from dlzoo.tasks.base import Task
from dlzoo.training import results
from dlzoo.training.results import RunResults
from dlzoo.utils.output import terminal_width

MAX_ROWS = 24
"""Maximum length of the summary of a net; if it has more layers, blocks are shown instead."""


def print_summary(names: Names, task: Task, trainer: pl.Trainer, notes: Sequence[str] = ()) -> None:
    """Print model, data, device and the layers of the net, in the width of the terminal.

    Args:
        notes: on the data.
    """
    if not trainer.is_global_zero:
        return
    width = terminal_width()
    experiment = f"experiment={names.experiment}: " if names.experiment else ""
    about = f"{experiment}{names.model} on {names.data}: {task.spec.describe()}"
    about = f"{visible(about, keep='')}; {_device_name(trainer)}, {trainer.precision}"
    for text, indent in [(about, "  "), *((visible(note), "    ") for note in notes)]:
        print(textwrap.fill(text, width, subsequent_indent=indent, break_on_hyphens=False))
    for line in layer_table(task.net, width):
        print(visible(line))


def layer_table(net: nn.Module, width: int) -> list[str]:
    """Each layer with parameters: its name, its class and options, its number of parameters; those that layers share
    are counted once, in the first.

    Args:
        width: maximum number of characters of a line; names and options are shortened to it.
    """
    leaves = {name for name, m in net.named_modules() if any(True for _ in m.parameters(recurse=False))}
    depth = max((name.count(".") for name in leaves), default=0)
    names = leaves
    while len(names) > MAX_ROWS and depth > 0:
        depth -= 1
        names = {".".join(name.split(".")[: depth + 1]) for name in leaves}
    rows: list[tuple[str, str, int]] = []
    counted: set[nn.Parameter] = set()
    for name, module in net.named_modules():
        if name in names:
            kind = " ".join(str(module).split()) if name in leaves else type(module).__name__
            parameters = [p for p in module.parameters(recurse=name not in leaves) if p not in counted]
            counted.update(parameters)
            rows.append((name, kind, sum(p.numel() for p in parameters)))
    rows.append(("", "parameters", sum(num for _, _, num in rows)))
    numbers = max(10, *(len(f"{num:,}") for _, _, num in rows))
    left = min(max(len(name) for name, _, _ in rows), width // 2 - 2)
    kinds = min(max(len(kind) for _, kind, _ in rows), width - left - numbers - 6)
    return [
        f"  {short(name, left):{left}}  {short(kind, kinds):{kinds}}  {num:>{numbers},}" for name, kind, num in rows
    ]


def initial_results(config: RunConfig, trainer: pl.Trainer, task: Task) -> RunResults:
    """The contents of ``results.json`` that are known before training."""
    batch_size = config.data.get("batch_size")
    return {
        "model": config.names.model,
        "data": config.names.data,
        "experiment": config.names.experiment,
        "seed": config.seed,
        "batch_size": batch_size if isinstance(batch_size, int) else None,
        "device": _device_name(trainer),
        "precision": str(trainer.precision),
        "num_parameters": build.num_parameters(task.net),
        "versions": results.versions(),
        "commit": results.commit(),
        "seconds": {},
    }


def final_results(expect: Sequence[Claim], trainer: pl.Trainer, metrics: Mapping[str, float]) -> RunResults:
    """The contents of ``results.json`` that are known once the run has ended, with a verdict on each claim."""
    best, last = checkpoints(trainer)
    epoch: Any = trainer.fit_loop.epoch_progress.current
    return {
        "epochs": epoch.processed,
        "steps": trainer.global_step,
        "metrics": {**metrics},
        "expect": results.judge(expect, metrics),
        "checkpoints": {"best": best, "last": last},
    }


def checkpoints(trainer: pl.Trainer) -> tuple[str | None, str | None]:
    """The paths of best and last, from the first and the last callback that writes checkpoints."""
    callbacks: list[Any] = trainer.checkpoint_callbacks
    paths = [(c.best_file if isinstance(c, ModelCheckpoint) else c.best_model_path) or None for c in callbacks]
    return (paths[0], paths[-1]) if paths else (None, None)


def _device_name(trainer: pl.Trainer) -> str:
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{trainer.num_devices} x {name}" if trainer.num_devices > 1 else name


def hyperparameters(config: RunConfig) -> dict[str, object]:
    """What TensorBoard's HPARAMS tab and experiment trackers compare runs by: options by dotted key."""
    logged = ("seed", "net", "task", "data", "optimizer", "scheduler", "trainer")
    flat = flatten(config.to_plain())
    omitted = ("_target_", "data_dir", "data.seed", "deterministic", "log_every_n_steps", "summary", "sanity_val_steps")
    params: dict[str, object] = {
        k: v if isinstance(v, int | float | str | bool) else str(v)
        for k, v in flat.items()
        if k.split(".")[0] in logged and not k.endswith(omitted)
    }
    params |= {f"{group}": f"{name}" for group, name in dataclasses.asdict(config.names).items()}
    params["optimizer"] = _class_name(config.optimizer)
    params["scheduler"] = _class_name(config.scheduler)
    return params


def log_start(config: RunConfig, overrides: Sequence[str], trainer: pl.Trainer) -> None:
    """Log the command, the config and the hyperparameters."""
    texts = {
        "command": shlex.join(["dlzoo", "train", *overrides]),
        "config": yaml.safe_dump(config.to_plain(), sort_keys=False, allow_unicode=True),
    }
    sinks.log_start(trainer, hyperparameters(config), texts)


def log_end(config: RunConfig, trainer: pl.Trainer, metrics: Mapping[str, float]) -> None:
    """Log the final metrics with the hyperparameters."""
    final = {name: value for name, value in metrics.items() if name.startswith(("test/", "val/"))}
    sinks.log_end(trainer, hyperparameters(config), final)


def _class_name(node: Node) -> str:
    return target_of(node).rpartition(".")[2] if node else "none"
