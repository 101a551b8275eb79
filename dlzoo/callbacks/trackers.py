"""Experiment trackers: Weights & Biases, MLflow, Trackio, and CSV files.

All get the same: the hyperparameters when the run starts, the metrics under TensorBoard's names
(`dlzoo.callbacks.tensorboard_logger.tag_of`), the figures as pictures, the command and the config as text, and how the
run ended. Their packages are imported when the first of these arrives. What goes over the network, and where to, is
decided on the command line alone (dlzoo/config/allowlist.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import time
from abc import abstractmethod
from argparse import Namespace
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from dlzoo.callbacks.tensorboard_logger import tag_of
from dlzoo.errors import UserError, one_line

if TYPE_CHECKING:
    import trackio
    import wandb
    from mlflow.tracking import MlflowClient
    from torch import Tensor

Status = Literal["finished", "failed"]


class CSV(CSVLogger):
    """A row for each step at which metrics are logged, in ``csv/metrics.csv``, with the hyperparameters beside it.

    ``metrics.csv`` of the run, with a row for each epoch, is written by callbacks.history.

    Args:
        save_dir: the run folder.
        flush_logs_every_n_steps: rows to keep in memory.
    """

    def __init__(self, save_dir: str, *, flush_logs_every_n_steps: int = 100) -> None:
        super().__init__(save_dir, "csv", "", flush_logs_every_n_steps=flush_logs_every_n_steps)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Tensor | float], step: int | None = None) -> None:
        super().log_metrics({tag_of(name): value for name, value in metrics.items()}, step)


class Tracker(Logger):
    """What dlzoo sends to an experiment tracker.

    Args:
        save_dir: the run folder.
        project: what the tracker groups runs by.
        run_name: None: the name of the run folder.
    """

    def __init__(self, save_dir: str, project: str, run_name: str | None) -> None:
        super().__init__()
        self.folder = Path(save_dir)
        self.project = project
        self.run_name = run_name or self.folder.absolute().name
        self.known: set[str] = set()
        """The metrics that have been logged."""
        self.ended = False

    @property
    def name(self) -> str:
        return self.project

    @property
    def version(self) -> str:
        return self.run_name

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        named = {tag_of(name): float(value) for name, value in metrics.items()}
        self.known |= {*named}
        self.send_metrics(named, step or 0)

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, object] | Namespace, metrics: dict[str, float] | None = None, step: int | None = None
    ) -> None:
        """Record the hyperparameters, and those metrics that have not been logged."""
        self.send_config(dict(vars(params) if isinstance(params, Namespace) else params))
        new = {name: value for name, value in (metrics or {}).items() if tag_of(name) not in self.known}
        if new:
            self.log_metrics(new, step)

    @rank_zero_only
    def end(self, status: Status) -> None:
        """The run has ended; nothing follows."""
        if not self.ended:
            self.ended = True
            self.send_end(status)

    @abstractmethod
    def send_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Metrics of a step."""

    @abstractmethod
    def send_config(self, config: Mapping[str, object]) -> None:
        """Hyperparameters by dotted key; a second time they are the same."""

    @abstractmethod
    def send_picture(self, name: str, path: Path, step: int) -> None:
        """A PNG file of the run folder."""

    @abstractmethod
    def send_text(self, name: str, text: str) -> None:
        """The command, the config, or a warning."""

    @abstractmethod
    def send_end(self, status: Status) -> None:
        """How the run ended."""


class Wandb(Tracker):
    """Weights & Biases. Its files are in the folder ``wandb`` of the run.

    Args:
        save_dir: the run folder.
        project: of the run.
        run_name: None: the name of the run folder.
        entity: the user or team; None: yours.
        mode: ``online`` uploads during the run, ``offline`` writes files for ``wandb sync``; None: WANDB_MODE, else
            online.
    """

    def __init__(
        self,
        save_dir: str,
        *,
        project: str = "dlzoo",
        run_name: str | None = None,
        entity: str | None = None,
        mode: Literal["online", "offline", "disabled"] | None = None,
    ) -> None:
        super().__init__(save_dir, project, run_name)
        self.entity = entity
        self.mode = mode

    @cached_property
    def run(self) -> wandb.Run:
        """The run of wandb, which begins when it is first used."""
        import wandb

        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            run = wandb.init(
                project=self.project,
                entity=self.entity,
                name=self.run_name,
                id=hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:16],  # a resumed run continues
                resume="allow",
                dir=self.folder,
                mode=self.mode,
                reinit="create_new",
                settings=wandb.Settings(silent=True, console="off", x_disable_stats=True, save_code=False),
            )
        except (wandb.errors.Error, ValueError, OSError) as error:
            raise UserError(
                f"logger=wandb: the run cannot begin ({one_line(error, 200)}); log in with `wandb login`, or add "
                "logger.wandb.mode=offline"
            ) from None
        run.define_metric("step", hidden=True)
        run.define_metric("*", step_metric="step")
        return run

    def send_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self.run.log({**metrics, "step": step})

    def send_config(self, config: Mapping[str, object]) -> None:
        self.run.config.update(dict(config), allow_val_change=True)

    def send_picture(self, name: str, path: Path, step: int) -> None:
        import wandb

        self.run.log({name: wandb.Image(str(path)), "step": step})

    def send_text(self, name: str, text: str) -> None:
        self.run.config.update({f"text/{name}": text}, allow_val_change=True)

    def send_end(self, status: Status) -> None:
        self.run.finish(exit_code=0 if status == "finished" else 1)


class MLflow(Tracker):
    """MLflow.

    Args:
        save_dir: the run folder.
        project: the experiment of MLflow.
        run_name: None: the name of the run folder.
        tracking_uri: a server or a store, such as ``sqlite:///mlflow.db`` for all runs; None: MLFLOW_TRACKING_URI, or
            the file ``mlflow.db`` in the run folder.
    """

    def __init__(
        self, save_dir: str, *, project: str = "dlzoo", run_name: str | None = None, tracking_uri: str | None = None
    ) -> None:
        super().__init__(save_dir, project, run_name)
        self.tracking_uri = tracking_uri

    @cached_property
    def client(self) -> MlflowClient:
        """Of the store, which is created if it is a file."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self.folder.mkdir(parents=True, exist_ok=True)
        default = f"sqlite:///{(self.folder / 'mlflow.db').absolute()}"
        return MlflowClient(tracking_uri=self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or default)

    @cached_property
    def run_id(self) -> str:
        """Of the run, which begins when it is first used."""
        from mlflow.exceptions import MlflowException

        try:
            known = self.client.get_experiment_by_name(self.project)
            if known is not None:
                experiment = known.experiment_id
            else:
                local = None if self.tracking_uri else (self.folder / "mlflow").absolute().as_uri()
                experiment = self.client.create_experiment(self.project, artifact_location=local)
            return self.client.create_run(experiment, run_name=self.run_name).info.run_id
        except (MlflowException, OSError) as error:
            raise UserError(f"logger=mlflow: the run cannot begin ({one_line(error, 200)})") from None

    def send_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self.client.log_batch(self.run_id, metrics=[Metric(k, v, now, step) for k, v in metrics.items()])

    def send_config(self, config: Mapping[str, object]) -> None:
        from mlflow.entities import Param

        params = [Param(key, str(value)[:6000]) for key, value in config.items()]
        for start in range(0, len(params), 100):  # the most of a request
            self.client.log_batch(self.run_id, params=params[start : start + 100])

    def send_picture(self, name: str, path: Path, step: int) -> None:
        self.client.log_artifact(self.run_id, str(path), "pictures")

    def send_text(self, name: str, text: str) -> None:
        self.client.log_text(self.run_id, text, f"{name}.txt")

    def send_end(self, status: Status) -> None:
        self.client.set_terminated(self.run_id, "FINISHED" if status == "finished" else "FAILED")


class Trackio(Tracker):
    """Trackio, which stores runs on this machine; ``trackio show`` shows them.

    Args:
        save_dir: the run folder.
        project: of the run.
        run_name: None: the name of the run folder.
        space_id: a Space on the Hugging Face Hub to send the run to; None: none.
    """

    def __init__(
        self, save_dir: str, *, project: str = "dlzoo", run_name: str | None = None, space_id: str | None = None
    ) -> None:
        super().__init__(save_dir, project, run_name)
        self.space_id = space_id
        self.config: dict[str, object] = {}
        """Hyperparameters and texts, which Trackio takes when the run begins."""

    @cached_property
    def run(self) -> trackio.Run:
        """The run of Trackio, which begins when it is first used."""
        import trackio

        with contextlib.redirect_stdout(io.StringIO()):  # how to show it, in six lines
            return trackio.init(
                project=self.project,
                name=self.run_name,
                space_id=self.space_id,
                config=self.config,
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def send_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self.run.log(dict(metrics), step=step)

    def send_config(self, config: Mapping[str, object]) -> None:
        self.config |= config

    def send_picture(self, name: str, path: Path, step: int) -> None:
        import trackio

        self.run.log({name: trackio.Image(str(path))}, step=step)

    def send_text(self, name: str, text: str) -> None:
        self.config[f"text/{name}"] = text

    def send_end(self, status: Status) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            self.run.finish()
