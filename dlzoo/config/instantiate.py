"""The only place that joins data, net, task and trainer, and that refuses a pair that does not fit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import nn

from dlzoo.checkpoint.load import CheckpointIO
from dlzoo.config import memory_check as training_memory
from dlzoo.config.compose import CONFIG_DIR, on_gpus
from dlzoo.config.introspection import arguments, locate
from dlzoo.data.base import DataModule
from dlzoo.distributed import launch as ranks
from dlzoo.distributed.batch_norm import BatchNormOverRanks
from dlzoo.distributed.ddp import Strategy
from dlzoo.errors import MISTAKES, SpecError, UserError
from dlzoo.specs.inputs import Classes, ImageSpec, Spec
from dlzoo.tasks.base import Task
from dlzoo.training.interruption import Interruption
from dlzoo.training.nan_guard.guard import FiniteWatch
from dlzoo.training.profiler import StepProfiler
from dlzoo.training.restore import CheckedConnector


def build_data(cfg: DictConfig) -> DataModule:
    """The source of batches; nothing is read yet."""
    return instantiate(cfg.data)


def build_task(cfg: DictConfig, spec: Spec) -> Task:
    """The net for this spec, and how it learns.

    Raises:
        SpecError: the net or the task cannot work with the spec; the message names the models that can.
    """
    try:
        # As partials: instantiate(cfg.net, spec=spec) would turn the dataclass into a DictConfig.
        net = instantiate(cfg.net, _partial_=True)(spec)
        optimizer = instantiate(cfg.optimizer, _partial_=True) if cfg.get("optimizer") else None
        scheduler = instantiate(cfg.scheduler, _partial_=True) if cfg.get("scheduler") else None
        task = instantiate(cfg.task, _partial_=True)(net, spec, optimizer=optimizer, scheduler=scheduler)
    except SpecError as error:
        model, data = cfg.names.model, cfg.names.data
        raise SpecError(f"model={model} does not fit data={data}: {error}; {_fitting(spec)}") from None
    if cfg.compile:
        net.compile()
    return task


def check_fit(cfg: DictConfig, data: DataModule) -> None:
    """Refuse, before anything is downloaded, a model that cannot learn from these data.

    Raises:
        SpecError: names what the model takes, what the data gives and which models would fit.
    """
    spec = data.declare()
    net_class, task_class = locate(cfg.net._target_, "net._target_"), locate(cfg.task._target_, "task._target_")
    model, data_name = cfg.names.model, cfg.names.data
    if not isinstance(spec, net_class.accepts):
        takes = " and ".join(kind.what for kind in net_class.accepts)
        raise SpecError(f"{model} takes {takes}, but data={data_name} gives {spec.describe()}; {_fitting(spec)}")
    if not isinstance(spec.target, task_class.targets):
        learns = " or ".join(kind.what for kind in task_class.targets)
        raise SpecError(f"{model} learns {learns}, but data={data_name} gives {spec.target.what}; {_fitting(spec)}")
    if data.augment is not None and not isinstance(spec, ImageSpec):
        raise SpecError(f"data.augment changes images, but data={data_name} gives {spec.describe()}; use augment=none")
    if isinstance(spec.target, Classes) and not spec.target.counts:  # known only once the data are read
        counts = (1,) * spec.target.num_outputs
        spec = dataclasses.replace(spec, target=dataclasses.replace(spec.target, counts=counts))
    try:
        with torch.device("meta"):
            task = build_task(cfg, spec)
        make_optimizer = instantiate(cfg.optimizer, _partial_=True)
        make_optimizer([nn.Parameter(torch.zeros(1))])
    except UserError:
        raise
    except MISTAKES as error:
        raise UserError(f"model={model} or its optimizer cannot be built with these options: {error}") from None
    training_memory.check(task, make_optimizer, cfg)


def build_trainer(cfg: DictConfig, task: Task, run_dir: Path, card: dict[str, Any]) -> pl.Trainer:
    """Lightning's Trainer with the callbacks and loggers of the config; ``card`` goes into every checkpoint.

    A callback that watches a metric watches the task's own, and one that writes checkpoints writes them into the run
    folder, unless the config says otherwise.
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
    plugins: list[Any] = [CheckpointIO(card, run_dir)]
    if cfg.trainer.get("strategy") == "ddp":
        if not on_gpus(cfg.trainer.accelerator):
            plugins.append(BatchNormOverRanks())
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
    task.take_over(trainer)
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
    from dlzoo.tasks.finetuning import Features

    if not isinstance(getattr(task, "transfer", None), Features):
        raise UserError("cache_features=true keeps what a frozen backbone gives: take transfer=features with it")
    device, net = trainer.strategy.root_device, task.net.eval()
    net.to(device)
    return CachedFeatures(data, net.features, device=device, context=trainer.precision_plugin.forward_context)  # type: ignore[arg-type]


def use_safe_optimizer(cfg: DictConfig) -> None:
    """With float16, fused optimizers undo the loss scaling within their step, where gradients can be neither clipped
    nor measured; and Lightning clips for none of them in mixed precision, bfloat16 too: use the plain ones."""
    precision = cfg.trainer.get("precision")
    clips = cfg.trainer.get("gradient_clip_val") and precision == "bf16-mixed"
    if (precision == "16-mixed" or clips) and cfg.optimizer.get("fused"):
        with open_dict(cfg):
            cfg.optimizer.fused = None


def fitting_models(spec: Spec) -> list[str]:
    """The models whose net takes this kind of spec and whose task learns this kind of target."""
    found = []
    for file in sorted((CONFIG_DIR / "model").glob("*.yaml")):
        model = OmegaConf.load(file)
        net, task = locate(model.net._target_, "net._target_"), locate(model.task._target_, "task._target_")
        if isinstance(spec, net.accepts) and isinstance(spec.target, task.targets):
            found.append(file.stem)
    return found


def _fitting(spec: Spec) -> str:
    return f"{spec.what} with {spec.target.what} go to: {', '.join(fitting_models(spec))}"


def num_parameters(net: nn.Module) -> int:
    """Of the whole net, frozen ones included."""
    return sum(p.numel() for p in net.parameters())
