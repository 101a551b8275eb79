"""Values of the Trainer's options that Lightning's signature accepts, but that no run of dlzoo can use.

They are checked without importing Lightning, before anything is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from dlzoo.config.bounds import Bounds
from dlzoo.errors import UserError, nearest, short

PROFILERS = ("simple", "advanced", "pytorch")
"""Lightning's profilers, by name; others are for hardware that dlzoo does not support."""
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
STRATEGIES = ("auto", "ddp", "fsdp", "deepspeed", "single_device")
"""How the names of Lightning's strategies for these accelerators begin."""
PROCESS_STARTERS = ("spawn", "fork", "notebook")
"""Parts of the names of strategies that start processes in other ways than dlzoo does."""


TARGET = "lightning.pytorch.Trainer"
BOUNDS = {
    "max_epochs": Bounds(-1, remedy="-1 trains until trainer.max_steps or trainer.max_time"),
    "max_steps": Bounds(-1, remedy="-1 sets no limit"),
    "min_epochs": Bounds(0),
    "min_steps": Bounds(0),
    "limit_train_batches": Bounds(0, is_open=True, remedy="trainer.max_epochs=0 trains nothing"),
    "limit_val_batches": Bounds(0, remedy="0 validates nothing"),
    "limit_test_batches": Bounds(0, remedy="test=false tests nothing"),
    "limit_predict_batches": Bounds(0),
    "overfit_batches": Bounds(0),
    "val_check_interval": Bounds(0, is_open=True, remedy="trainer.limit_val_batches=0 validates nothing"),
    "check_val_every_n_epoch": Bounds(1, remedy="trainer.limit_val_batches=0 validates nothing"),
    "num_sanity_val_steps": Bounds(-1, remedy="-1 takes all validation batches"),
    "log_every_n_steps": Bounds(0, remedy="0 logs no single steps"),
    "accumulate_grad_batches": Bounds(1, remedy="1 accumulates nothing"),
    "gradient_clip_val": Bounds(0, remedy="null does not clip"),
    "reload_dataloaders_every_n_epochs": Bounds(0),
    "num_nodes": Bounds(1, 10_000),  # PyTorch counts the processes in 32 bits
    "fast_dev_run": Bounds(0, remedy="false is a normal run"),
}
"""By option of the Trainer."""

METRIC = re.compile(r"(train|val|test)[_.-](\w+)")
"""The name of a metric in other notations than dlzoo's, which is ``val/loss``."""


def check(trainer: object) -> None:
    """`UserError` for an option of the Trainer that no run of dlzoo can use; wrong types are reported elsewhere."""
    options = trainer if isinstance(trainer, Mapping) else {}
    strategy, profiler, accelerator = (options.get(name) for name in ("strategy", "profiler", "accelerator"))
    if isinstance(strategy, str) and any(method in strategy for method in PROCESS_STARTERS):
        raise UserError(f"trainer.strategy={short(strategy)}: dlzoo does not start processes this way; use trainer=ddp")
    if isinstance(strategy, str) and not strategy.startswith(STRATEGIES):
        raise UserError(f"trainer.strategy={short(strategy)} is unknown; {nearest(strategy, ('auto', 'ddp', 'fsdp'))}")
    if isinstance(profiler, str) and profiler not in PROFILERS:
        raise UserError(f"trainer.profiler={short(profiler)} is unknown; {nearest(profiler, PROFILERS)}")
    if isinstance(accelerator, str) and accelerator not in ACCELERATORS:
        raise UserError(f"trainer.accelerator={short(accelerator)} is not supported; use {', '.join(ACCELERATORS)}")
    for name, bounds in BOUNDS.items():
        bounds.check(f"trainer.{name}", options.get(name))


def check_monitors(callbacks: object) -> None:
    """`UserError` for the name of a monitored metric in another notation, which would fail after the first epoch.

    Args:
        callbacks: the node of the config.
    """
    for key, part in callbacks.items() if isinstance(callbacks, Mapping) else ():
        monitor = part.get("monitor") if isinstance(part, Mapping) else None
        if isinstance(monitor, str) and (match := METRIC.fullmatch(monitor)):
            named = f"{match[1]}/{match[2]}"
            raise UserError(
                f"callbacks.{key}.monitor={short(monitor)}: metrics are named split/name; did you mean '{named}'?"
            )
