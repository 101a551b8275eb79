"""What a run says of itself: at its beginning on the terminal, at its end in ``results.json`` and TensorBoard."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf

from dlzoo.config import compose as config
from dlzoo.config import instantiate as build
from dlzoo.errors import visible
from dlzoo.training import results

MOST_ROWS = 24
"""Of the summary of a net; of a deeper one, blocks are shown instead of layers."""


def announce(cfg: DictConfig, task: Any, trainer: pl.Trainer) -> None:
    if not trainer.is_global_zero:
        return
    names = cfg.names
    claim = f"experiment={names.experiment}: " if names.experiment else ""
    about = f"{claim}{names.model} on {names.data}: {task.spec.describe()}"
    print(f"{visible(about, keep='')}; {_device_name(trainer)}, {trainer.precision}")
    for line in _summary(task.net):
        print(visible(line))


def _summary(net: Any) -> list[str]:
    """Each layer with parameters: its place, its kind, its number of parameters."""
    leaves = {name for name, m in net.named_modules() if any(True for _ in m.parameters(recurse=False))}
    depth = max((name.count(".") for name in leaves), default=0)
    places = leaves
    while len(places) > MOST_ROWS and depth > 0:
        depth -= 1
        places = {".".join(name.split(".")[: depth + 1]) for name in leaves}
    rows = []
    for name, module in net.named_modules():
        if name in places:
            kind = str(module).replace("\n", " ")[:60] if name in leaves else type(module).__name__
            rows.append((name, kind, sum(p.numel() for p in module.parameters(recurse=name not in leaves))))
    width = max((len(name) for name, _, _ in rows), default=0)
    kinds = max((len(kind) for _, kind, _ in rows), default=0)
    lines = [f"  {name:{width}}  {kind:{kinds}}  {own:>10,}" for name, kind, own in rows]
    return [*lines, f"  {'':{width}}  {'parameters':{kinds}}  {sum(own for _, _, own in rows):>10,}"]


def outcome_of(cfg: DictConfig, trainer: pl.Trainer, task: Any) -> dict[str, Any]:
    """What ``results.json`` says of a run before it trains."""
    return {
        **OmegaConf.to_container(cfg.names),  # type: ignore[dict-item]
        "seed": cfg.seed,
        "batch_size": cfg.data.get("batch_size"),
        "device": _device_name(trainer),
        "precision": str(trainer.precision),
        "num_parameters": build.num_parameters(task.net),
        "versions": results.versions(),
        "commit": results.commit(),
    }


def reached(cfg: DictConfig, trainer: pl.Trainer, metrics: dict[str, float]) -> dict[str, Any]:
    """What it says when the run ends."""
    best, last = checkpoints(trainer)
    epoch: Any = trainer.fit_loop.epoch_progress.current
    return {
        "epochs": epoch.processed,
        "steps": trainer.global_step,
        "metrics": metrics,
        "expect": results.judge(OmegaConf.to_container(cfg.expect), metrics),  # type: ignore[arg-type]
        "checkpoints": {"best": best, "last": last},
    }


def checkpoints(trainer: pl.Trainer) -> tuple[str | None, str | None]:
    """(best, last), from the first and the last callback that writes checkpoints."""
    paths = [callback.best_model_path or None for callback in trainer.checkpoint_callbacks]  # type: ignore[attr-defined]
    return (paths[0], paths[-1]) if paths else (None, None)


def _device_name(trainer: pl.Trainer) -> str:
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{trainer.num_devices} x {name}" if trainer.num_devices > 1 else name


def log_hyperparameters(cfg: DictConfig, trainer: pl.Trainer, metrics: dict[str, float]) -> None:
    """The config beside the final metrics, so that TensorBoard's HPARAMS tab compares runs."""
    told = ("seed", "net", "task", "data", "optimizer", "scheduler", "trainer")
    flat = config.flat(OmegaConf.to_container(cfg, resolve=True))
    aside = ("_target_", "data_dir", "data.seed", "deterministic", "log_every_n_steps", "summary", "sanity_val_steps")
    params = {
        k: v if isinstance(v, int | float | str | bool) else str(v)
        for k, v in flat.items()
        if k.split(".")[0] in told and not k.endswith(aside)
    }
    params |= {f"{group}": f"{name}" for group, name in cfg.names.items()}
    params["optimizer"] = cfg.optimizer._target_.rpartition(".")[2] if cfg.optimizer else "none"
    params["scheduler"] = cfg.scheduler._target_.rpartition(".")[2]
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger) and cfg.callbacks and "trial" in cfg.callbacks:
            continue  # dlzoo/sweep/tensorboard.py writes them, for all runs of the sweep together
        if isinstance(logger, TensorBoardLogger):
            final = {k: v for k, v in metrics.items() if k.startswith(("test/", "val/"))}
            logger.log_hyperparams(params, final, step=trainer.global_step)
        else:
            logger.log_hyperparams(params)
        logger.save()
        logger.finalize("success")
