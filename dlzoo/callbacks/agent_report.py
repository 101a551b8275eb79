"""Figures and videos of agents: returns over environment steps; the untrained, the last and the best agent playing."""

from __future__ import annotations

import lightning.pytorch as pl

from dlzoo.callbacks.base import Report, data_of, eval_mode
from dlzoo.callbacks.metrics_csv import read_rows
from dlzoo.callbacks.sinks import publish, run_folder, run_name, warn
from dlzoo.data.environments import Gym
from dlzoo.errors import UserError
from dlzoo.tasks.base import Task
from dlzoo.utils import extras
from dlzoo.utils import files as paths
from dlzoo.visualization import image_grid as tiles
from dlzoo.visualization import returns as return_plots


class AgentReport(Report):
    """``returns.png``; the videos ``film_untrained``, ``film_last`` and ``film_best`` as GIF, and as MP4 if possible.

    The best agent is recorded in the test. All three start from the same state.

    Args:
        film: whether to record videos.
    """

    needs_data = True

    def __init__(self, *, film: bool = True) -> None:
        self.film = film

    def applies_to(self, task: Task) -> bool:
        return task.as_agent() is not None

    def write_start(self, trainer: pl.Trainer, task: Task) -> None:
        if trainer.current_epoch == 0:
            self.record(trainer, task, "untrained")

    def write_fit(self, trainer: pl.Trainer, task: Task) -> None:
        path = run_folder(trainer) / "metrics.csv"
        if path.is_file() and (environment := task.spec.environment) is not None:
            figure = return_plots.returns(read_rows(path), environment.solved, heading=run_name(trainer))
            publish(trainer, "returns", figure)
        self.record(trainer, task, "last")

    def write(self, trainer: pl.Trainer, task: Task) -> None:
        self.record(trainer, task, "best")

    def record(self, trainer: pl.Trainer, task: Task, which: str) -> None:
        """Record one episode of the agent as it is now."""
        agent, data = task.as_agent(), data_of(trainer)
        if not self.film or agent is None or not isinstance(data, Gym):
            return
        from dlzoo.inference import episodes

        if not episodes.can_draw(data.recipe):
            return
        state = agent.rng.bit_generator.state  # recording must not change the random actions of training
        try:
            with eval_mode(agent):
                episode = episodes.film(data.recipe, agent.play, data.seeds("film", 1)[0])
        except UserError as error:
            warn(trainer, str(error))
            self.film = False
            return
        finally:
            agent.rng.bit_generator.state = state
        name = f"epoch {trainer.current_epoch + 1}" if which == "last" else which
        caption = f"{name}: return {episode.total:g}"
        if not episode.is_whole:
            caption += f", first {episode.seconds:.0f} s"
        episode = episode._replace(frames=[tiles.captioned(frame, caption) for frame in episode.frames])
        paths.write(run_folder(trainer) / f"film_{which}.gif", episodes.gif([episode]))
        if extras.is_installed("imageio_ffmpeg"):
            paths.write(run_folder(trainer) / f"film_{which}.mp4", episodes.mp4([episode]))
