"""Builds Lightning's Trainer from the config, with the callbacks, loggers and plugins of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from dlzoo.checkpoint.format import StoredCheckpoint
from dlzoo.checkpoint.io import CheckpointIO
from dlzoo.config.compose import on_gpus
from dlzoo.config.introspection import arguments, locate
from dlzoo.config.run_config import Node, RunConfig, target_of
from dlzoo.data.base import DataModule
from dlzoo.distributed import launch as ranks
from dlzoo.distributed.batch_norm import BatchNormSync
from dlzoo.distributed.ddp import Strategy
from dlzoo.errors import MISTAKES, UserError
from dlzoo.tasks.base import Task
from dlzoo.training.interruption import Interruption
from dlzoo.training.nan_guard.guard import FiniteWatch
from dlzoo.training.profiler import StepProfiler
from dlzoo.training.restore import CheckedConnector


def build_trainer(
    config: RunConfig,
    task: Task,
    run_dir: Path,
    manifest: Mapping[str, object],
    overrides: Sequence[str],
    stored: StoredCheckpoint | None = None,
) -> pl.Trainer:
    """Lightning's Trainer with the callbacks and loggers of the config.

    By default, callbacks monitor the task's metric and write checkpoints into the run folder.

    Args:
        manifest: stored in every checkpoint.
        overrides: those of the run.
        stored: the checkpoint to resume from.
    """
    monitor, mode = task.monitor
    defaults = {"monitor": monitor, "mode": mode, "dirpath": str(run_dir / "checkpoints")}
    callbacks: list[pl.Callback] = [_build(node, defaults) for node in config.callbacks.values()]
    loggers: list[Logger] = [_build(node, {"save_dir": str(run_dir)}) for node in config.logger.values()]
    callbacks = [callback for callback in callbacks if not isinstance(callback, _disabled(config.trainer))]
    has_bar, has_checkpoint = (
        any(isinstance(callback, kind) for callback in callbacks)
        for kind in (pl.callbacks.ProgressBar, pl.callbacks.Checkpoint)
    )
    watch = FiniteWatch(mode=config.on_nan, limit=config.skip_limit, manifest=manifest)
    callbacks.insert(0, watch)  # first, so that a skipped step is no step for the others
    callbacks.append(Interruption(run_dir / "checkpoints" / "last.ckpt"))
    if task.has_parts and config.strategy == "fsdp":
        raise UserError("trainer=fsdp cannot train nets of which only a part is updated at a time: use trainer=ddp")
    _check_accelerator(config.accelerator)
    options: dict[str, object] = {"profiler": StepProfiler(run_dir)} if config.profile else {}
    if config.trainer.get("barebones"):
        loggers, options["log_every_n_steps"] = [], 0
    plugins: list[CheckpointIO | BatchNormSync] = [CheckpointIO(manifest, run_dir, stored)]
    if config.strategy == "ddp":
        if not on_gpus(config.accelerator):
            plugins.append(BatchNormSync())
        options["strategy"] = Strategy(find_unused_parameters=task.has_parts)
    try:
        trainer = instantiate(config.trainer, _partial_=True, _convert_="all")(
            **options,
            callbacks=callbacks,
            logger=loggers or False,
            plugins=plugins,
            default_root_dir=str(run_dir),
            enable_progress_bar=has_bar,
            enable_checkpointing=has_checkpoint,
        )
    except (MisconfigurationException, *MISTAKES) as error:
        raise UserError(f"trainer: {error}") from None
    trainer._checkpoint_connector = CheckedConnector(trainer, config, overrides)
    if (started := ranks.num_started()) not in (1, trainer.world_size):
        raise UserError(
            f"{started} processes were started, but the trainer has {trainer.world_size}: add trainer=ddp, and omit "
            "trainer.devices and trainer.num_nodes, which torchrun or srun determine"
        )
    task.initial_rng_state = torch.get_rng_state()
    task.setup_trainer(trainer)
    return trainer


def _disabled(options: Node) -> tuple[type[pl.Callback], ...]:
    """The kinds of callbacks that options of the Trainer turn off."""
    kinds = {"enable_checkpointing": pl.callbacks.Checkpoint, "enable_progress_bar": pl.callbacks.ProgressBar}
    is_bare = bool(options.get("barebones"))
    return tuple(kind for option, kind in kinds.items() if is_bare or options.get(option) is False)


def _check_accelerator(name: str) -> None:
    """`UserError` if this machine does not have it."""
    if name in ("gpu", "cuda") and not torch.cuda.is_available() and not (name == "gpu" and _has_mps()):
        raise UserError(
            f"trainer.accelerator={name}: PyTorch finds no GPU on this machine; use trainer.accelerator=cpu, or auto"
        )
    if name == "mps" and not _has_mps():
        raise UserError("trainer.accelerator=mps: this is not a Mac with Apple silicon; use trainer.accelerator=auto")


def _has_mps() -> bool:
    """Whether this is a Mac whose GPU PyTorch can use."""
    return torch.backends.mps.is_available()


def _build(node: Node, defaults: Mapping[str, str]) -> Any:
    """A callback or logger, with these defaults for the options that it has."""
    accepted = arguments(locate(node["_target_"], "_target_"))
    try:
        given = {k: v for k, v in defaults.items() if k in accepted and k not in node}
        return instantiate(node, **given, _convert_="all")
    except InstantiationException as error:
        if not isinstance(error.__cause__, MisconfigurationException):
            raise
        raise UserError(f"{target_of(node).rpartition('.')[2]}: {error.__cause__}") from None


def cached_features(task: Task, data: DataModule, trainer: pl.Trainer) -> DataModule:
    """Data whose inputs are features of the task's frozen backbone.

    Raises:
        UserError: the backbone is not frozen, or the data are augmented.
    """
    from dlzoo.data.features import CachedFeatures

    net = task.frozen_backbone()
    if net is None:
        raise UserError("cache_features=true caches the features of a frozen backbone: use it with transfer=features")
    device = trainer.strategy.root_device
    net.eval().to(device)
    return CachedFeatures(data, net.features, device=device, context=trainer.precision_plugin.forward_context)


def with_safe_optimizer(config: RunConfig) -> RunConfig:
    """The config with an optimizer that is not fused where mixed precision requires it.

    With float16, fused optimizers undo the loss scaling inside their step, where gradients can be neither clipped nor
    measured; and in mixed precision, bfloat16 included, Lightning does not clip gradients for fused optimizers.
    """
    clips = config.trainer.get("gradient_clip_val") and config.precision == "bf16-mixed"
    if (config.precision == "16-mixed" or clips) and config.optimizer.get("fused"):
        return config.with_options("optimizer", fused=None)
    return config
