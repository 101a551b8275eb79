"""Options that a run determines itself before training, and stores so that a resumed run does not search again."""

from __future__ import annotations

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import OmegaConf

from dlzoo.config.overrides import key_of
from dlzoo.config.run_config import RunConfig
from dlzoo.data.base import DataModule
from dlzoo.tasks.base import Task
from dlzoo.training.tuning import batch_size, lr_finder
from dlzoo.utils.files import open_text


def chosen_overrides(config: RunConfig, given: list[str], used: list[str]) -> list[str]:
    """The options that a run determined itself, as overrides with which another run need not search.

    Args:
        given: the overrides of the command line.
        used: the overrides including the options that the run determined.
    """
    chosen = [override for override in used if override not in given]
    return [*chosen, "++lr_find=false"] if chosen and config.lr_find == "use" else chosen


def use_best_batch_size(
    config: RunConfig, task: Task, data: DataModule, run_dir: Path, overrides: list[str]
) -> tuple[RunConfig, list[str]]:
    """Search for ``data.batch_size``; returns the config and the overrides with it, and stores it in ``.hydra``."""
    search = batch_size.find(config, task, data, run_dir)
    print(f"data.batch_size=auto: training with {search.size}; {search.reason}", flush=True)
    path = run_dir / ".hydra" / "config.yaml"
    if path.is_file():
        stored = OmegaConf.load(path)
        stored.data.batch_size = search.size
        with open_text(path, "w") as file:
            file.write(OmegaConf.to_yaml(stored))
    others = [override for override in overrides if key_of(override) != "data.batch_size"]
    return config.with_options("data", batch_size=search.size), [*others, f"++data.batch_size={search.size}"]


def use_best_learning_rate(
    config: RunConfig, task: Task, data: DataModule, run_dir: Path, overrides: list[str]
) -> tuple[RunConfig, list[str]]:
    """Run the range test; with ``lr_find=use``, task, config and overrides get the suggested learning rate."""
    test = lr_finder.find(config, task, data, run_dir)
    print(f"lr_find: lowest loss at {test.lowest:.2g}, steepest slope at {test.steepest:.2g}", end="; ")
    if config.lr_find != "use":
        print(f"suggested: optimizer.lr={test.suggestion:g}", flush=True)
        return config, overrides
    print(f"training with optimizer.lr={test.suggestion:g}", flush=True)
    config = config.with_options("optimizer", lr=test.suggestion)
    task.optimizer = instantiate(config.optimizer, _partial_=True)
    others = [override for override in overrides if key_of(override) not in ("lr_find", "optimizer.lr")]
    return config, [*others, f"++optimizer.lr={test.suggestion:g}"]  # a resumed run does not repeat the test
