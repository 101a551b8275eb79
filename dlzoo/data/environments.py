"""Gymnasium's environments as a source of experience.

A training batch is a block of play: the environments, and how many steps to take in them. An epoch is
``steps_per_epoch`` steps, after which the agent is evaluated, so ``trainer.max_epochs`` times ``steps_per_epoch`` are
the environment steps of a run. Each epoch begins with new episodes, from seeds that only (seed, epoch) decide: so a
continued run plays what it would have played, and no environment has to be stored.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from dlzoo.data.base import DataModule
from dlzoo.errors import UserError, at_least
from dlzoo.rl.environments import Environments, Recipe
from dlzoo.specs.environments import EnvSpec, StatesSpec

MOST = 4096
"""Of observations in a stack, and of pixels along a side: more would not fit into memory."""

STREAMS = {"train": 1, "val": 2, "test": 3, "statistics": 4, "film": 5}
"""Each use draws its own starting states."""


class Block(NamedTuple):
    """A training batch: so many steps are to be taken, counted over all environments."""

    environments: Environments
    num_steps: int


class Episodes(NamedTuple):
    """A validation or test batch: one episode in each environment, from these seeds."""

    environments: Environments
    seeds: list[int]


class Gym(DataModule):
    """Any environment of Gymnasium with vectors, pictures or numbered states to see and one of several actions to take.

    Args:
        id: as Gymnasium knows it, such as Acrobot-v1.
        options: of the environment itself, such as {is_slippery: false}.
        num_envs: environments that are played together in training.
        steps_per_epoch: environment steps between two evaluations.
        batch_size: environment steps in a training batch: how often figures are logged. It changes nothing else.
        val_episodes: in each evaluation.
        test_episodes: of the best agent at the end.
        eval_batch_size: episodes that are played together in an evaluation.
        max_episode_steps: where episodes are cut, instead of the environment's own limit.
        frame_skip: steps for which an action is repeated; they count as one.
        grey: pictures without colour.
        resize: height and width of pictures.
        frame_stack: the last so many observations are seen at once.
        reward_scale: factor on the rewards, in returns too.
        standardize: fit mean and standard deviation of the observations on ``statistics_steps`` steps of random play.
    """

    kind: ClassVar[type] = EnvSpec

    def __init__(
        self,
        *,
        id: str,
        options: Mapping[str, Any] | None = None,
        num_envs: int = 1,
        steps_per_epoch: int = 5000,
        batch_size: int = 500,
        val_episodes: int = 20,
        test_episodes: int = 100,
        eval_batch_size: int = 100,
        max_episode_steps: int | None = None,
        frame_skip: int = 1,
        grey: bool = False,
        resize: Sequence[int] | None = None,
        frame_stack: int = 1,
        reward_scale: float = 1.0,
        standardize: bool = False,
        statistics_steps: int = 10_000,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, seed=seed, standardize=standardize)
        at_least(1, "data", num_envs=num_envs, steps_per_epoch=steps_per_epoch, statistics_steps=statistics_steps)
        at_least(1, "data", val_episodes=val_episodes, test_episodes=test_episodes)
        at_least(1, "data", frame_skip=frame_skip, frame_stack=frame_stack, max_episode_steps=max_episode_steps)
        if max(frame_stack, *(resize or (1, 1))) > MOST:
            raise UserError(f"data.frame_stack={frame_stack}, data.resize={resize}: at most {MOST:,}")
        if resize is not None and (len(resize) != 2 or min(resize) < 1):
            raise UserError(f"data.resize={list(resize)}: give the height and the width in pixels")
        if not reward_scale > 0:
            raise UserError(f"data.reward_scale={reward_scale} must be above 0")
        self.recipe = Recipe(
            id=id,
            options=options or {},
            max_episode_steps=max_episode_steps,
            frame_skip=frame_skip,
            grey=grey,
            resize=(resize[0], resize[1]) if resize else None,
            frame_stack=frame_stack,
            reward_scale=reward_scale,
        )
        self.num_envs = num_envs
        self.steps_per_epoch = steps_per_epoch
        self.val_episodes = val_episodes
        self.test_episodes = test_episodes
        self.statistics_steps = statistics_steps
        self._declared: EnvSpec | StatesSpec | None = None

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        return super().option_uses() | {"statistics_steps": (self.standardize, "data.standardize=true")}

    def declare(self) -> EnvSpec | StatesSpec:
        if self._declared is None:
            self._declared = self.recipe.spec()
        return self._declared

    def setup(self, stage: str | None = None) -> None:
        if "spec" in vars(self):
            return
        spec = self.declare()
        if self.standardize:
            if spec.states is not None or spec.is_picture:
                raise UserError("data.standardize=true is for observations that are vectors")
            mean, std = self.statistics()
            spec = spec.with_statistics(mean, std)
        self.spec = spec

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each feature in random play; a feature that stays the same keeps its size."""
        envs, rng = self.environments(1), np.random.default_rng([STREAMS["statistics"], self.seed])
        envs.reset(self.seeds("statistics", 1))
        num_actions = self.declare().target.num_outputs
        seen = [envs.step(rng.integers(num_actions, size=1)).observation for _ in range(self.statistics_steps)]
        envs.close()
        x = np.concatenate(seen).astype(np.float64)
        std = x.std(0)
        return tuple(x.mean(0).tolist()), tuple(np.where(std > 1e-6, std, 1.0).tolist())

    def environments(self, num: int, *, render: bool = False) -> Environments:
        """New environments, not yet reset."""
        return Environments([functools.partial(self.recipe.make, render=render)] * num)

    def seeds(self, use: str, num: int, *, epoch: int = 0) -> list[int]:
        """For so many episodes, or environments, of one use."""
        return [int(s) for s in np.random.SeedSequence([self.seed, STREAMS[use], epoch]).generate_state(num)]

    def train_dataloader(self) -> Blocks:
        return Blocks(self)

    def batches(self, split: Literal["train", "val", "test"]) -> Waves:  # type: ignore[override]
        return Waves(self, split, self.val_episodes if split == "val" else self.test_episodes)

    def val_dataloader(self) -> Waves:
        return self.batches("val")

    def test_dataloader(self) -> Waves:
        return self.batches("test")

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        return batch  # environments live on the CPU

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch


class Blocks:
    """The blocks of an epoch, all in the same environments."""

    def __init__(self, data: Gym) -> None:
        self.data = data
        self.epoch = 0
        self.environments = data.environments(data.num_envs)

    @property
    def sampler(self) -> Blocks:
        """Where Lightning looks for ``set_epoch``."""
        return self

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.data.steps_per_epoch // self.data.batch_size)

    def __iter__(self) -> Iterator[Block]:
        self.environments.reset(self.data.seeds("train", self.data.num_envs, epoch=self.epoch))
        for start in range(0, self.data.steps_per_epoch, self.data.batch_size):
            yield Block(self.environments, min(self.data.batch_size, self.data.steps_per_epoch - start))


class Waves:
    """The episodes of an evaluation, as many at once as are allowed; the same each time."""

    def __init__(self, data: Gym, split: str, num_episodes: int) -> None:
        self.seeds = data.seeds(split, num_episodes)
        self.most = data.eval_batch_size
        self.data = data
        self._environments: dict[int, Environments] = {}

    def __len__(self) -> int:
        return -(-len(self.seeds) // self.most)

    def __iter__(self) -> Iterator[Episodes]:
        for start in range(0, len(self.seeds), self.most):
            seeds = self.seeds[start : start + self.most]
            if len(seeds) not in self._environments:
                self._environments[len(seeds)] = self.data.environments(len(seeds))
            yield Episodes(self._environments[len(seeds)], seeds)
