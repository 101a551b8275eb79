"""What a checkpoint holds beside the weights is held against the run that is to go on from it, before it is used.

Optimizers, schedules, loops and callbacks put a stored state into themselves as it is: one of the wrong shape makes a
fused optimizer read and write outside of its tensors, and one of the wrong kind fails somewhere in training. So each
state is compared with that of the freshly built object, and an optimizer's hyperparameters are tried on tensors of
zeros. What is left that cannot be restored is said in a sentence by `restoring`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.connectors.checkpoint_connector import _CheckpointConnector
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from dlzoo.errors import short
from dlzoo.training.restore_optimizers import check_optimizer
from dlzoo.utils.state_checks import (
    ABSENT,
    counter,
    describe,
    fits,
    is_number,
    mapping,
    number,
    refuse,
    restoring,
    score,
    sequence,
    tensors,
)


class CheckedConnector(_CheckpointConnector):
    """Restores a run as Lightning does, after comparing the stored states with the objects that they are for.

    Seen to work with Lightning 2.6.6: the states of modules and callbacks are restored before the optimizers are built,
    the others after.
    """

    def _restore_modules_and_callbacks(self, checkpoint_path: Any = None, weights_only: bool | None = None) -> None:
        with restoring(checkpoint_path):
            self.resume_start(checkpoint_path, weights_only=weights_only)
            if self._loaded_checkpoint and self.trainer.state.fn == TrainerFn.FITTING:
                check_run(self._loaded_checkpoint, self.trainer)
            self.restore_model()
            self.restore_datamodule()
            self.restore_callbacks()

    def restore_training_state(self) -> None:
        with restoring(self._ckpt_path):
            if self._loaded_checkpoint and self.trainer.state.fn == TrainerFn.FITTING:
                check_training(self._loaded_checkpoint, self.trainer)
            super().restore_training_state()


def check_run(content: dict[str, Any], trainer: pl.Trainer) -> None:
    """Compare what can be compared before the optimizers are built.

    Raises:
        UserError: names the place in the checkpoint, what stands there and what is expected.
    """
    for name in ("epoch", "global_step"):
        counter(content.get(name), name)
    loops = mapping(content.get("loops"), "loops")
    check_loops(mapping(loops.get("fit_loop"), "loops.fit_loop"), trainer)
    states = mapping(content.get("callbacks"), "callbacks")
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if callback.state_key in states:
            check_callback(states[callback.state_key], callback, f"callbacks.{type(callback).__name__}")
    if content.get("continuation") is not None:
        check_continuation(content["continuation"], trainer.lightning_module, "continuation")
    for name in ("averaging_state", "current_model_state"):
        if name in content:
            mapping(content[name], name)


def check_training(content: dict[str, Any], trainer: pl.Trainer) -> None:
    """Compare the states of optimizers, schedules and the loss scaler with those of this run; see `check_run`."""
    scaler = trainer.precision_plugin
    if (name := type(scaler).__qualname__) in content and scaler.state_dict():
        fits(content[name], scaler.state_dict(), name)
    schedules = trainer.lr_scheduler_configs
    stored = sequence(content.get("lr_schedulers"), "lr_schedulers", len(schedules))
    for i, (state, config) in enumerate(zip(stored, schedules, strict=True)):
        check_schedule(state, config.scheduler, f"lr_schedulers[{i}]")
    if not trainer.strategy.lightning_restore_optimizer or trainer.strategy.restore_checkpoint_after_setup:
        return  # states that are divided among ranks are PyTorch's to check
    optimizers = trainer.strategy.optimizers
    stored = sequence(content.get("optimizer_states"), "optimizer_states", len(optimizers))
    for i, (state, optimizer) in enumerate(zip(stored, optimizers, strict=True)):
        check_optimizer(state, optimizer, f"optimizer_states[{i}]")


# ---------------------------------------------------------------------------------- schedules, loops and callbacks


def check_schedule(stored: Any, scheduler: Any, place: str) -> None:
    """A schedule becomes what its state says, attribute by attribute: none may be replaced that is no state of it."""
    fresh = scheduler.state_dict()
    for name, value in mapping(stored, place).items():
        if name in fresh:
            fits(value, fresh[name], f"{place}.{name}", unlimited=name == "best")
        elif not isinstance(name, str) or hasattr(scheduler, name):
            refuse(place, f"an entry {short(name)!r}", ", ".join(fresh))


def check_loops(stored: Mapping[str, Any], trainer: pl.Trainer) -> None:
    """Counters, by the names that Lightning's loops give them."""
    fresh = trainer.fit_loop.state_dict()
    for name, value in fresh.items():
        place = f"loops.fit_loop.{name}"
        if name not in stored:
            refuse("loops.fit_loop", f"no {name}", "the progress of each loop")
        if name.endswith("state_dict"):
            loop_state(mapping(stored[name], place), place)
        else:
            fits(stored[name], value, place)
            counters(stored[name], place)


def loop_state(state: Mapping[str, Any], place: str) -> None:
    """What loops keep beside their progress: the position of loaders, and a number of batches."""
    for name, value in state.items():
        if name == "combined_loader":
            for i, part in enumerate(sequence(value, f"{place}.{name}")):
                loader_state(part, f"{place}.{name}[{i}]")
        else:
            counters(value, f"{place}.{name}")


def loader_state(state: Any, place: str) -> None:
    """``{"epoch": …, "position": …}``, see `dlzoo.data.loaders.Loader`."""
    for name in ("epoch", "position"):
        counter(mapping(state, place).get(name), f"{place}.{name}")


def counters(value: Any, place: str) -> None:
    """All numbers below are counters."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            counters(part, f"{place}.{name}")
    elif not isinstance(value, bool):
        counter(value, place)


def check_callback(stored: Any, callback: Any, place: str) -> None:
    """The state of a callback against that of a fresh one; a score may be there that the fresh one has not."""
    fresh, stored = callback.state_dict(), mapping(stored, place)
    for name, value in fresh.items():
        if name not in stored:
            refuse(place, f"no {name}", ", ".join(fresh))
        if value is None and name == "stopping_reason_message":  # of EarlyStopping
            if not isinstance(stored[name], str | None):
                refuse(f"{place}.{name}", describe(stored[name]), "a text")
        elif value is None:
            score(stored[name], f"{place}.{name}")
        elif isinstance(value, Tensor) and value.shape == (0,) and isinstance(stored[name], Tensor):
            fits(stored[name], value.new_zeros(stored[name].numel()), f"{place}.{name}")  # it grows with the run
        elif not isinstance(value, dict):
            fits(stored[name], value, f"{place}.{name}", unlimited=True)
        else:
            mapping(stored[name], f"{place}.{name}")
    if isinstance(callback, ModelCheckpoint):
        check_best(stored, callback, place)


def check_best(stored: Mapping[str, Any], callback: ModelCheckpoint, place: str) -> None:
    """The best checkpoints are files of the run's folder: others are not the run's to read, and not its to remove."""
    folder = Path(str(stored["dirpath"]))
    for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
        check_path(stored[name], folder, f"{place}.{name}")
    for path, value in stored["best_k_models"].items():
        check_path(path, folder, f"{place}.best_k_models")
        score(value, f"{place}.best_k_models")
    best = stored["best_k_models"]
    if best and callback.save_top_k > 0 and stored["kth_best_model_path"] not in best:
        refuse(f"{place}.kth_best_model_path", short(stored["kth_best_model_path"]), "one of best_k_models")


def check_path(path: Any, folder: Path, place: str) -> None:
    if not isinstance(path, str) or (path and os.path.normpath(path) != path) or "://" in path:
        refuse(place, describe(path), "the path of a checkpoint")
    if path and Path(path).parent != folder:
        refuse(place, short(path), f"a file in {short(folder)}")


def check_continuation(stored: Any, task: Any, place: str) -> None:
    """What the task itself keeps, see `dlzoo.tasks.base.Task.on_save_checkpoint`."""
    stored = mapping(stored, place)
    for name, value in mapping(stored.get("metrics"), f"{place}.metrics").items():
        if not isinstance(name, str):
            refuse(f"{place}.metrics", describe(name), "the names of metrics")
        number(value, f"{place}.metrics.{short(name)}")
    counter(stored.get("skipped_steps", 0), f"{place}.skipped_steps")
    if stored.get("loader") is not None:
        loader_state(stored["loader"], f"{place}.loader")
    elif "loader" not in stored:
        refuse(place, "no loader", "the position in the training data")
    ranks = sequence(stored.get("ranks", []), f"{place}.ranks")
    for i, own in enumerate(ranks):
        check_rank(mapping(own, f"{place}.ranks[{i}]"), task, f"{place}.ranks[{i}]")


def check_rank(own: Mapping[str, Any], task: Any, place: str) -> None:
    for name, mean in mapping(own.get("means"), f"{place}.means").items():
        here = f"{place}.means.{short(name)}"
        total, count = sequence(mean, here, 2)
        if not isinstance(name, str):
            refuse(here, describe(name), "the name of a metric")
        if total is not None:
            fits(total, torch.zeros(()), here)
        if isinstance(count, Tensor):
            fits(count, torch.zeros((), dtype=count.dtype), here)
        elif not is_number(count) or count < 0:
            refuse(here, describe(count), "a number of samples")
    carried = mapping(own.get("carried"), f"{place}.carried")
    for name in task.carried_state:
        tensors(carried.get(name), f"{place}.carried.{name}")
        if (problem := task.misfit_of_carried(name, carried.get(name))) is not None:
            refuse(f"{place}.carried.{name}", describe(carried.get(name)), problem)
    check_random(own.get("random", ABSENT), f"{place}.random")


def check_random(state: Any, place: str) -> None:
    """NumPy takes any position in its 624 numbers, and would then read beyond them; Python and PyTorch check theirs."""
    if state is None:
        return
    state = mapping(None if state is ABSENT else state, place)
    for name in ("python", "numpy", "torch"):
        if name not in state:
            refuse(place, f"no {name}", "the random numbers of Python, NumPy and PyTorch")
    kind, keys, position, has_gauss, gauss = sequence(state["numpy"], f"{place}.numpy", 5)
    if kind != "MT19937":
        refuse(f"{place}.numpy", describe(kind), "MT19937")
    if not isinstance(keys, Tensor) or keys.is_floating_point() or keys.is_complex():
        refuse(f"{place}.numpy", describe(keys), "whole numbers")
    fits(keys, torch.zeros(624, dtype=keys.dtype), f"{place}.numpy")
    if type(position) is not int or not 0 <= position <= 624 or has_gauss not in (0, 1) or not is_number(gauss):
        refuse(f"{place}.numpy", short([position, has_gauss, gauss]), "a position from 0 to 624, 0 or 1, and a number")
