"""Pictures of agents: returns over the environment steps, and films of the untrained, the last and the best one."""

from __future__ import annotations

import lightning.pytorch as pl

from dlzoo.callbacks.base import Observer, at_rest
from dlzoo.callbacks.metrics_csv import read_rows
from dlzoo.callbacks.sinks import publish, run_folder, warn
from dlzoo.errors import UserError
from dlzoo.tasks.rl.agent import Player
from dlzoo.utils import files as paths
from dlzoo.visualization import returns as return_plots


class Agents(Observer):
    """``returns.png``, and ``film_untrained``, ``film_last`` and ``film_best`` as GIF, and as MP4 where it is possible.

    The best is filmed when it is tested. All three play from the same start.

    Args:
        film: whether to film.
    """

    def __init__(self, *, film: bool = True) -> None:
        self.film = film

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 0:
            self.shoot(trainer, pl_module, "untrained")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        path = run_folder(trainer) / "metrics.csv"
        if isinstance(pl_module, Player) and trainer.is_global_zero and path.is_file():
            environment = pl_module.spec.environment
            assert environment is not None
            publish(trainer, "returns", return_plots.returns(read_rows(path), environment.solved))
        self.shoot(trainer, pl_module, "last")

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.shoot(trainer, pl_module, "best")

    def shoot(self, trainer: pl.Trainer, task: pl.LightningModule, which: str) -> None:
        """One episode of the agent as it is now."""
        data = getattr(trainer, "datamodule", None)
        if not self.film or not isinstance(task, Player) or data is None or not trainer.is_global_zero:
            return
        from dlzoo.inference import episodes as filming

        if not filming.can_draw(data.recipe):
            return
        generator = task.rng.bit_generator.state  # whoever plays at random must not notice
        try:
            with at_rest(task):
                take = filming.film(data.recipe, task.greedy, data.seeds("film", 1)[0])
        except UserError as error:
            warn(trainer, str(error))
            self.film = False
            return
        finally:
            task.rng.bit_generator.state = generator
        for ending, content in {"gif": filming.gif([take]), "mp4": filming.mp4([take])}.items():
            if content is not None:
                paths.write(run_folder(trainer) / f"film_{which}.{ending}", content)
