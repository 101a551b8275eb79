"""Base class of agents: training in blocks of environment steps, evaluation on whole episodes.

A training batch is a block of steps in the environments (dlzoo/data/environments.py). The trainer's step counter counts
*environment steps* here, so that trainer.max_steps, the names of checkpoints, metrics.csv and the curves in
TensorBoard follow the literature; learning-rate schedules step once per block.
"""

from __future__ import annotations

import json
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Unpack

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from dlzoo.data.base import DataModule
from dlzoo.data.environments import Block, Episodes, Gym
from dlzoo.errors import UserError
from dlzoo.nets.base import Net
from dlzoo.optim.lr_schedules import UNLIMITED, Plan
from dlzoo.rl.environments import Environments, Transitions, run_episodes
from dlzoo.specs.base import Port
from dlzoo.specs.environments import EnvSpec, StatesSpec
from dlzoo.specs.targets import Actions
from dlzoo.tasks.interfaces import Acting
from dlzoo.tasks.manual import ManualTask
from dlzoo.tasks.optimization import TaskOptions, count_batches
from dlzoo.tasks.running_mean import RunningMean
from dlzoo.tasks.views import Tensors, View
from dlzoo.utils import state_checks


class Agent(Acting, ManualTask[Block]):
    """An agent: `act` chooses actions in training, `greedy` in evaluation.

    Random actions use a separate generator, whose state is stored in the checkpoint.
    """

    targets = (Actions,)
    monitor = ("val/return", "max")
    resumes_mid_epoch = False  # the state of running episodes is not stored

    def __init__(self, net: Net, spec: EnvSpec | StatesSpec, **options: Unpack[TaskOptions]) -> None:
        super().__init__(net, spec, **options)
        if self.spec.environment is None:
            raise UserError(f"{type(self).__name__} needs an environment, but the data gives {self.spec.describe()}")
        self.num_actions = self.spec.target.num_outputs
        self.rng = np.random.default_rng(torch.initial_seed() % 2**63)
        self.num_steps = 0
        """Environment steps taken in training, over all environments."""
        self.block_steps = 0
        """Steps taken in the current block."""
        self.num_asked = 0
        """Steps requested so far; several environments overshoot it by less than one step each, not cumulatively."""
        self._episodes: list[tuple[np.ndarray, np.ndarray]] = []
        self._finished: list[tuple[float, int]] = []

    # ------------------------------------------------------------------ acting

    @abstractmethod
    def act(self, observations: np.ndarray) -> np.ndarray:
        """The actions (N,) in training."""

    @abstractmethod
    def observe(self, transitions: Transitions) -> None:
        """Record the transitions; called after each step."""

    def learn(self) -> None:
        """Update the agent; called after each step, once it has been counted."""

    def greedy(self, observations: np.ndarray) -> np.ndarray:
        """The actions (N,) with the highest predicted value."""
        with torch.no_grad():
            return self(self.as_input(observations)).argmax(1).cpu().numpy()

    def as_input(self, observations: np.ndarray | Tensor) -> Tensor:
        """Observations, from environments or a buffer, as net input: bytes become [0, 1]."""
        x = torch.as_tensor(observations).to(self.device)
        if self.spec.states is not None:
            return x
        return x.to(self.dtype).mul_(1 / 255) if x.dtype == torch.uint8 else x.to(self.dtype)

    def export_views(self) -> Mapping[str, Callable[[], View]]:
        return {"model": lambda: ActionValues(self)}

    # ------------------------------------------------------------------ training

    def learn_batch(self, batch: Block, batch_idx: int) -> None:
        environments, num_steps = batch
        if batch_idx == 0:
            self.begin(environments)
        self.num_asked += num_steps
        if (limit := self.trainer.max_steps) >= 0:
            self.num_asked = min(self.num_asked, limit)
        started, before = time.perf_counter(), self.num_steps
        while self.num_steps < self.num_asked:
            transitions = environments.step(self.act(environments.observations))
            self.observe(transitions)
            self.num_steps += len(transitions.action)
            self.learn()
        if self.trainer.is_last_batch:
            self.end()
        self.block_steps = self.num_steps - before
        for optimizer in self.trainer.optimizers:
            self.step_schedules(optimizer)
        self.report(environments, self.block_steps / (time.perf_counter() - started))

    def steps_in(self, batch_idx: int) -> int:
        return self.block_steps

    def begin(self, environments: Environments) -> None:
        """Called at the start of an epoch, after all environments were reset."""

    def end(self) -> None:
        """Called at the end of an epoch, which truncates all running episodes."""

    def report(self, environments: Environments, steps_per_second: float) -> None:
        """Log the metrics of the block, against environment steps."""
        metrics = {"steps_per_second": steps_per_second, **self.rates(), **self.extra_metrics()}
        if finished := environments.finished:
            returns, lengths = np.array(finished).T
            metrics |= {"return": returns.mean(), "length": lengths.mean()}
            self.add_mean("return", torch.tensor(returns.mean()), len(returns))
            finished.clear()
        self.log_to_loggers({f"train/{name}": float(value) for name, value in metrics.items()})

    def extra_metrics(self) -> dict[str, float]:
        """Additional metrics to log."""
        return {}

    def log_to_loggers(self, metrics: dict[str, float]) -> None:
        for logger in self.trainer.loggers:
            logger.log_metrics(metrics | {"epoch": self.current_epoch}, self.num_steps)

    def add_mean(self, name: str, mean: Tensor, count: int) -> None:
        """Add to the epoch mean ``train/<name>``."""
        self.train_means.setdefault(name, RunningMean()).add(mean, count)

    def on_train_epoch_end(self) -> None:
        for name, mean in self.train_means.items():
            if mean.count:
                self.log(f"train/{name}", mean.read(), logger=False, batch_size=int(mean.count))
        self.step_epoch_schedules()

    # ------------------------------------------------------------------ evaluation

    def validation_step(self, batch: Episodes, batch_idx: int) -> None:
        self._episodes.append(run_episodes(batch.environments, batch.seeds, self.play))

    test_step = validation_step

    def log_split(self, split: str) -> None:
        returns, lengths = (np.concatenate(parts) for parts in zip(*self._episodes, strict=True))
        self._episodes.clear()
        std = float(returns.std(ddof=1)) if len(returns) > 1 else 0.0
        values = {"return": float(returns.mean()), "return_std": std, "length": float(lengths.mean())}
        values |= {"return_min": float(returns.min()), "return_max": float(returns.max())}
        metrics = {f"{split}/{name}": value for name, value in values.items()}
        self.log_dict(metrics, logger=False, batch_size=len(returns))
        self.log_to_loggers(metrics)

    # ------------------------------------------------------------------ the trainer

    def setup_trainer(self, trainer: pl.Trainer) -> None:
        if trainer.world_size > 1:
            raise UserError(f"trainer.devices={trainer.world_size}: agents train on one device only")
        if trainer.accumulate_grad_batches > 1:
            raise UserError(
                "trainer.accumulate_grad_batches: a batch is a block of environment steps; set task.batch_size instead"
            )
        if str(trainer.precision).startswith("16"):
            raise UserError(
                f"trainer.precision={trainer.precision} scales losses; agents support bf16-mixed or 32-true"
            )
        super().setup_trainer(trainer)

    def plan(self, every: int, num_epochs: int | None = None) -> Plan:
        """The plan in blocks of environment steps."""
        trainer = self.trainer
        per_epoch, epochs = count_batches(trainer), trainer.max_epochs
        total = per_epoch * epochs if epochs is not None and epochs >= 0 else UNLIMITED
        return Plan(total, per_epoch, *self.monitor)

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["play"] = self.counters() | {"rng": json.dumps(self.rng.bit_generator.state)}

    def on_load_checkpoint(self, checkpoint: dict[str, object]) -> None:
        super().on_load_checkpoint(checkpoint)
        stored = state_checks.mapping(checkpoint.get("play"), "play")
        self.rng.bit_generator.state = json.loads(stored.get("rng", ""))
        for name in self.counters():
            if name in stored:
                state_checks.counter(stored[name], f"play.{name}")
                setattr(self, name, stored[name])

    def counters(self) -> dict[str, int]:
        """Counters that are stored in checkpoints and restored on resume."""
        return {"num_steps": self.num_steps, "num_asked": self.num_asked}


class ActionValues(View[Agent]):
    """Exported agent: the value of each action; the greedy policy takes the argmax."""

    def __init__(self, task: Agent) -> None:
        super().__init__(task)
        spec = task.spec
        if (states := spec.states) is not None:
            self.inputs = (Port("state", "int64", ("batch",), f"the state index, of {states.num_states}"),)
        elif spec.is_image:
            self.inputs = (Port("observation", "uint8", ("batch", *spec.shape), "pixels from 0 to 255, as wrapped"),)
        else:
            self.inputs = (
                Port("observation", "float32", ("batch", *spec.shape), "raw observation of the environment"),
            )
        shape = ("batch", spec.target.num_outputs)
        self.outputs = (Port("values", "float32", shape, "of the actions, in their order"),)

    def real_inputs(self, data: DataModule, num: int) -> Tensors:
        """States in order, or observations after 0, 1, 2, … random steps."""
        if (states := self.trained.spec.states) is not None:
            return (torch.arange(min(num, states.num_states)),)
        assert isinstance(data, Gym)
        environments = data.environments(num)
        environments.reset(data.seeds("test", num))
        rng = np.random.default_rng(0)
        seen = environments.observations.copy()
        for _ in range(8):
            environments.step(rng.integers(self.trained.spec.target.num_outputs, size=num))
            chosen = rng.random(num) < 0.5
            seen[chosen] = environments.observations[chosen]
        environments.close()
        return (torch.from_numpy(seen),)

    def forward(self, x: Tensor) -> Tensors:  # type: ignore[override]
        if self.trained.spec.states:
            return (self.task(x),)
        return (self.task(x.float() * (1 / 255) if self.trained.spec.is_image else x),)

    def expected(self, x: Tensor) -> Tensors:  # type: ignore[override]
        with torch.inference_mode():
            return (self.trained(self.trained.as_input(x.numpy())),)
