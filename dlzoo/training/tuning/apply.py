"""Options that a run finds out itself before it trains, and where they are put so that it is not asked again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from dlzoo.training.tuning import batch_size
from dlzoo.training.tuning import lr_finder as lr_find


def overrides_of(cfg: DictConfig, given: list[str], used: list[str]) -> list[str]:
    """What a run found out itself, as overrides with which another run need not; ``used`` has it, ``given`` has not."""
    found = [word for word in used if word not in given]
    return [*found, "++lr_find=false"] if found and cfg.lr_find == "use" else found


def with_found_batch_size(cfg: DictConfig, task: Any, data: Any, run_dir: Path, overrides: list[str]) -> list[str]:
    """Find ``data.batch_size``, and put it where ``auto`` stood: in the config, the overrides and ``.hydra``."""
    search = batch_size.find(cfg, task, data, run_dir)
    print(f"data.batch_size=auto: training with {search.size}; {search.end}", flush=True)
    cfg.data.batch_size = search.size
    path = run_dir / ".hydra" / "config.yaml"
    if path.is_file():
        stored = OmegaConf.load(path)
        stored.data.batch_size = search.size
        OmegaConf.save(stored, path)
    others = [word for word in overrides if word.split("=")[0].lstrip("+") != "data.batch_size"]
    return [*others, f"++data.batch_size={search.size}"]


def with_found_rate(cfg: DictConfig, task: Any, data: Any, run_dir: Path, overrides: list[str]) -> list[str]:
    """Test learning rates; with ``lr_find=use`` the config, the task and the overrides get the one suggested."""
    found = lr_find.find(cfg, task, data, run_dir)
    print(f"lr_find: lowest loss at {found.lowest:.2g}, steepest fall at {found.steepest:.2g}", end="; ")
    if cfg.lr_find != "use":
        print(f"suggested: optimizer.lr={found.suggestion:g}", flush=True)
        return overrides
    print(f"training with optimizer.lr={found.suggestion:g}", flush=True)
    cfg.optimizer.lr = found.suggestion
    task.optimizer = instantiate(cfg.optimizer, _partial_=True)
    others = [word for word in overrides if word.split("=")[0].lstrip("+") not in ("lr_find", "optimizer.lr")]
    return [*others, f"++optimizer.lr={found.suggestion:g}"]  # a run that is continued does not test again
