"""Lightning's Trainer, built from the config with the callbacks, loggers and plugins of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, open_dict

from dlzoo.checkpoint.format import StoredCheckpoint
from dlzoo.checkpoint.io import CheckpointIO
from dlzoo.config.compose import on_gpus
from dlzoo.config.introspection import arguments, locate
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
    cfg: DictConfig, task: Task, run_dir: Path, card: dict[str, Any], stored: StoredCheckpoint | None = None
) -> pl.Trainer:
    """Lightning's Trainer with the callbacks and loggers of the config; ``card`` goes into every checkpoint.

    A callback that watches a metric watches the task's own, and one that writes checkpoints writes them into the run
    folder, unless the config says otherwise.

    Args:
        stored: what the run continues from.
    """
    monitor, mode = task.monitor
    ours = {"monitor": monitor, "mode": mode, "dirpath": str(run_dir / "checkpoints")}
    callbacks = [_filled(node, ours) for node in (cfg.callbacks or {}).values() if node]
    loggers = [_filled(node, {"save_dir": str(run_dir)}) for node in (cfg.logger or {}).values() if node]
    has_bar, has_checkpoint = (
        any(isinstance(callback, kind) for callback in callbacks)
        for kind in (pl.callbacks.ProgressBar, pl.callbacks.Checkpoint)
    )
    watch = FiniteWatch(mode=cfg.get("on_nan", "stop"), limit=cfg.get("skip_limit", 20), card=card)
    callbacks.insert(0, watch)  # first, so that a step left out is none to the others
    callbacks.append(Interruption(run_dir / "checkpoints" / "last.ckpt"))
    own: dict[str, Any] = {"profiler": StepProfiler(run_dir)} if cfg.profile else {}
    if task.has_parts and cfg.trainer.get("strategy") == "fsdp":
        raise UserError("trainer=fsdp cannot train nets of which only a part learns at a time: take trainer=ddp")
    plugins: list[Any] = [CheckpointIO(card, run_dir, stored)]
    if cfg.trainer.get("strategy") == "ddp":
        if not on_gpus(cfg.trainer.accelerator):
            plugins.append(BatchNormSync())
        own["strategy"] = Strategy(find_unused_parameters=task.has_parts)
    try:
        trainer = instantiate(cfg.trainer, _partial_=True)(
            **own,
            callbacks=callbacks,
            logger=loggers or False,
            plugins=plugins,
            default_root_dir=str(run_dir),
            enable_progress_bar=has_bar,
            enable_checkpointing=has_checkpoint,
        )
    except (MisconfigurationException, *MISTAKES) as error:
        raise UserError(f"trainer: {error}") from None
    trainer._checkpoint_connector = CheckedConnector(trainer)
    if (started := ranks.num_started()) not in (1, trainer.world_size):
        raise UserError(
            f"{started} processes were started, but the trainer has {trainer.world_size}: add trainer=ddp, and leave "
            "out trainer.devices and trainer.num_nodes, which follow torchrun and srun"
        )
    task.drawn_so_far = torch.get_rng_state()
    task.setup_trainer(trainer)
    return trainer


def _filled(node: DictConfig, ours: dict[str, Any]) -> Any:
    takes = arguments(locate(node._target_, "_target_"))
    try:
        return instantiate(node, **{k: v for k, v in ours.items() if k in takes and k not in node})
    except InstantiationException as error:
        if not isinstance(error.__cause__, MisconfigurationException):
            raise
        raise UserError(f"{node._target_.rpartition('.')[2]}: {error.__cause__}") from None


def cached_features(task: Task, data: DataModule, trainer: pl.Trainer) -> DataModule:
    """Data whose inputs are what the task's frozen backbone makes of them.

    Raises:
        UserError: the backbone is not frozen, or the data are augmented.
    """
    from dlzoo.data.features import CachedFeatures

    net = task.frozen_backbone()
    if net is None:
        raise UserError("cache_features=true keeps what a frozen backbone gives: take transfer=features with it")
    device = trainer.strategy.root_device
    net.eval().to(device)
    return CachedFeatures(data, net.features, device=device, context=trainer.precision_plugin.forward_context)


def use_safe_optimizer(cfg: DictConfig) -> None:
    """With float16, fused optimizers undo the loss scaling within their step, where gradients can be neither clipped
    nor measured; and Lightning clips for none of them in mixed precision, bfloat16 too: use the plain ones."""
    precision = cfg.trainer.get("precision")
    clips = cfg.trainer.get("gradient_clip_val") and precision == "bf16-mixed"
    if (precision == "16-mixed" or clips) and cfg.optimizer.get("fused"):
        with open_dict(cfg):
            cfg.optimizer.fused = None
