"""Checks everything that a checkpoint contains besides the weights against the run that resumes from it, before use.

Optimizers, schedules, loops and callbacks load a stored state without checking it: with the wrong shape, a fused
optimizer reads and writes outside its tensors, and the wrong type fails later in training. So each state is compared
with that of the newly built object, and an optimizer's hyperparameters are tried on tensors of zeros. Any other error
while restoring is turned into a message by `restoring`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.connectors.checkpoint_connector import _CheckpointConnector
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from dlzoo.callbacks.base import task_of
from dlzoo.config.run_config import RunConfig
from dlzoo.errors import short
from dlzoo.tasks.base import Task
from dlzoo.training.changed_options import ChangedOptions
from dlzoo.training.restore_optimizers import check_optimizer
from dlzoo.utils.files import is_file_name
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
    """Restores a run as Lightning does, once the stored states match the objects that they are for.

    Args:
        config, overrides: of this run, whose options apply where they differ from those of the checkpoint.

    Works with Lightning 2.6.6, which restores the states of modules and callbacks before it builds the optimizers, and
    the others afterwards.
    """

    def __init__(self, trainer: pl.Trainer, config: RunConfig, overrides: Sequence[str]) -> None:
        super().__init__(trainer)
        self.config = config
        self.overrides = overrides

    def _restore_modules_and_callbacks(
        self, checkpoint_path: str | Path | None = None, weights_only: bool | None = None
    ) -> None:
        with restoring(checkpoint_path):
            self.resume_start(checkpoint_path, weights_only=weights_only)
            if self._loaded_checkpoint and self.trainer.state.fn == TrainerFn.FITTING:
                name_main_output(self._loaded_checkpoint, self.trainer)
                check_run(self._loaded_checkpoint, self.trainer)
            self.restore_model()
            self.restore_datamodule()
            self.restore_callbacks()

    def restore_training_state(self) -> None:
        with restoring(self._ckpt_path):
            if not self._loaded_checkpoint or self.trainer.state.fn != TrainerFn.FITTING:
                super().restore_training_state()
                return
            changed = ChangedOptions(self._loaded_checkpoint, self.config, self.overrides)
            changed.apply(self._loaded_checkpoint, self.trainer)
            check_training(self._loaded_checkpoint, self.trainer)
            super().restore_training_state()
            changed.follow_schedules(self.trainer)


def name_main_output(content: dict[str, object], trainer: pl.Trainer) -> None:
    """Rename the best checkpoint's metric and the training means in the checkpoint of an earlier version, in which the
    main output of a net with several had no name (see `Net.output_names`)."""
    names = task_of(trainer.lightning_module).net.output_names
    if not names:
        return
    states = dict(mapping(content.get("callbacks"), "callbacks"))
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, ModelCheckpoint) and callback.monitor and callback.state_key not in states:
            before = callback.monitor.replace(f"/{names[0]}/", "/", 1)
            state = states.pop(callback.state_key.replace(callback.monitor, before), None)
            if state is not None:
                states[callback.state_key] = {**mapping(state, "callbacks"), "monitor": callback.monitor}
    content["callbacks"] = states
    for rank in mapping(content.get("continuation") or {}, "continuation").get("ranks", []):
        means = mapping(rank, "continuation.ranks").get("means", {})
        if "accuracy" in means:
            means[f"{names[0]}/accuracy"] = means.pop("accuracy")


def check_run(content: Mapping[str, object], trainer: pl.Trainer) -> None:
    """Check everything that can be checked before the optimizers are built.

    Raises:
        UserError: names the entry of the checkpoint, its value and what is expected.
    """
    for name in ("epoch", "global_step"):
        counter(content.get(name), name)
    loops = mapping(content.get("loops"), "loops")
    check_loops(mapping(loops.get("fit_loop"), "loops.fit_loop"), trainer)
    states = mapping(content.get("callbacks"), "callbacks")
    run_callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    for callback in run_callbacks:
        if callback.state_key in states:
            check_callback(states[callback.state_key], callback, f"callbacks.{type(callback).__name__}")
    if content.get("continuation") is not None:
        check_resume_state(content["continuation"], task_of(trainer.lightning_module), "continuation")
    for name in ("averaging_state", "current_model_state"):
        if name in content:
            mapping(content[name], name)


def check_training(content: Mapping[str, object], trainer: pl.Trainer) -> None:
    """Check the states of optimizers, schedules and the loss scaler against those of this run; see `check_run`."""
    scaler = trainer.precision_plugin
    if (name := type(scaler).__qualname__) in content and scaler.state_dict():
        fits(content[name], scaler.state_dict(), name)
    schedules = trainer.lr_scheduler_configs
    stored = sequence(content.get("lr_schedulers"), "lr_schedulers", len(schedules))
    for i, (state, config) in enumerate(zip(stored, schedules, strict=True)):
        check_schedule(state, config.scheduler, f"lr_schedulers[{i}]")
    if not trainer.strategy.lightning_restore_optimizer or trainer.strategy.restore_checkpoint_after_setup:
        return  # PyTorch checks states that are sharded over ranks
    optimizers = trainer.strategy.optimizers
    stored = sequence(content.get("optimizer_states"), "optimizer_states", len(optimizers))
    for i, (state, optimizer) in enumerate(zip(stored, optimizers, strict=True)):
        check_optimizer(state, optimizer, f"optimizer_states[{i}]")


# ---------------------------------------------------------------------------------- schedules, loops and callbacks


def check_schedule(stored: object, scheduler: LRScheduler, place: str) -> None:
    """A schedule copies its stored state into its attributes: a stored state must not replace any other attribute."""
    fresh = scheduler.state_dict()
    for name, value in mapping(stored, place).items():
        if name in fresh:
            fits(value, fresh[name], f"{place}.{name}", unlimited=name == "best")
        elif not isinstance(name, str) or hasattr(scheduler, name):
            refuse(place, f"an entry {short(name)!r}", ", ".join(fresh))


def check_loops(stored: Mapping[str, object], trainer: pl.Trainer) -> None:
    """Check the counters of Lightning's loops."""
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


def loop_state(state: Mapping[str, object], place: str) -> None:
    """Check what a loop stores besides its progress: the positions of loaders, and a number of batches."""
    for name, value in state.items():
        if name == "combined_loader":
            for i, part in enumerate(sequence(value, f"{place}.{name}")):
                loader_state(part, f"{place}.{name}[{i}]")
        else:
            counters(value, f"{place}.{name}")


def loader_state(state: object, place: str) -> None:
    """Check ``{"epoch": …, "position": …}``, see `dlzoo.data.loaders.Loader`."""
    for name in ("epoch", "position"):
        counter(mapping(state, place).get(name), f"{place}.{name}")


def counters(value: object, place: str) -> None:
    """Check that all numbers in a nested mapping are counters."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            counters(part, f"{place}.{name}")
    elif not isinstance(value, bool):
        counter(value, place)


def check_callback(stored: object, callback: pl.Callback, place: str) -> None:
    """Check the state of a callback against that of a new one, in which scores may still be None."""
    fresh, state = callback.state_dict(), mapping(stored, place)
    for name, value in fresh.items():
        if name not in state:
            refuse(place, f"no {name}", ", ".join(fresh))
        if value is None and name == "stopping_reason_message":  # of EarlyStopping
            if not isinstance(state[name], str | None):
                refuse(f"{place}.{name}", describe(state[name]), "a string")
        elif value is None:
            score(state[name], f"{place}.{name}")
        elif isinstance(value, Tensor) and value.shape == (0,) and isinstance(state[name], Tensor):
            fits(state[name], value.new_zeros(state[name].numel()), f"{place}.{name}")  # it grows during the run
        elif not isinstance(value, dict):
            fits(state[name], value, f"{place}.{name}", unlimited=True)
        else:
            mapping(state[name], f"{place}.{name}")
    if isinstance(callback, ModelCheckpoint):
        check_best(state, callback, place)


def check_best(stored: Mapping[str, object], callback: ModelCheckpoint, place: str) -> None:
    """The best checkpoints must be in the run folder: the run must not read or delete any other file."""
    folder = Path(str(stored["dirpath"]))
    for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
        check_path(stored[name], folder, f"{place}.{name}")
    best = mapping(stored["best_k_models"], f"{place}.best_k_models")
    for path, value in best.items():
        check_path(path, folder, f"{place}.best_k_models")
        score(value, f"{place}.best_k_models")
    if best and callback.save_top_k > 0 and stored["kth_best_model_path"] not in best:
        refuse(f"{place}.kth_best_model_path", short(stored["kth_best_model_path"]), "one of best_k_models")


def check_path(path: object, folder: Path, place: str) -> None:
    is_name = isinstance(path, str) and "://" not in path and is_file_name(os.path.basename(path))
    if path != "" and (not isinstance(path, str) or not is_name or os.path.normpath(path) != path):
        refuse(place, describe(path), "the path of a checkpoint")
    if path and Path(path).parent != folder:
        refuse(place, short(path), f"a file in {short(folder)}")


def check_resume_state(stored: object, task: Task, place: str) -> None:
    """Check what the task itself stores, see `dlzoo.tasks.base.Task.on_save_checkpoint`."""
    state = mapping(stored, place)
    for name, value in mapping(state.get("metrics"), f"{place}.metrics").items():
        if not isinstance(name, str):
            refuse(f"{place}.metrics", describe(name), "the names of metrics")
        number(value, f"{place}.metrics.{short(name)}")
    counter(state.get("skipped_steps", 0), f"{place}.skipped_steps")
    number(state.get("seconds", 0.0), f"{place}.seconds")
    if state.get("loader") is not None:
        loader_state(state["loader"], f"{place}.loader")
    elif "loader" not in state:
        refuse(place, "no loader", "the position in the training data")
    for i, rank_state in enumerate(sequence(state.get("ranks", []), f"{place}.ranks")):
        check_rank(mapping(rank_state, f"{place}.ranks[{i}]"), task, f"{place}.ranks[{i}]")


def check_rank(state: Mapping[str, object], task: Task, place: str) -> None:
    for name, mean in mapping(state.get("means"), f"{place}.means").items():
        key = f"{place}.means.{short(name)}"
        total, count = sequence(mean, key, 2)
        if not isinstance(name, str):
            refuse(key, describe(name), "the name of a metric")
        if total is not None:
            fits(total, torch.zeros(()), key)
        if isinstance(count, Tensor):
            fits(count, torch.zeros((), dtype=count.dtype), key)
        elif not is_number(count) or count < 0:
            refuse(key, describe(count), "a number of samples")
    carried_state = mapping(state.get("carried"), f"{place}.carried")
    for name in task.carried_state:
        tensors(carried_state.get(name), f"{place}.carried.{name}")
        if (expected := task.carried_state_mismatch(name, carried_state.get(name))) is not None:
            refuse(f"{place}.carried.{name}", describe(carried_state.get(name)), expected)
    check_random(state.get("random", ABSENT), f"{place}.random")


def check_random(stored: object, place: str) -> None:
    """NumPy accepts any position in its 624 integers and would then read beyond them; Python and PyTorch check theirs.

    Args:
        stored: a state from `dlzoo.utils.rng.capture`; `ABSENT` if the checkpoint contains none.
    """
    if stored is None:
        return
    state = mapping(None if stored is ABSENT else stored, place)
    for name in ("python", "numpy", "torch"):
        if name not in state:
            refuse(place, f"no {name}", "the random states of Python, NumPy and PyTorch")
    kind, keys, position, has_gauss, gauss = sequence(state["numpy"], f"{place}.numpy", 5)
    if kind != "MT19937":
        refuse(f"{place}.numpy", describe(kind), "MT19937")
    if not isinstance(keys, Tensor) or keys.is_floating_point() or keys.is_complex():
        refuse(f"{place}.numpy", describe(keys), "integers")
    fits(keys, torch.zeros(624, dtype=keys.dtype), f"{place}.numpy")
    if type(position) is not int or not 0 <= position <= 624 or has_gauss not in (0, 1) or not is_number(gauss):
        refuse(f"{place}.numpy", short([position, has_gauss, gauss]), "a position from 0 to 624, 0 or 1, and a number")
