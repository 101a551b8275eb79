"""Gymnasium environments as a data source.

A training batch is a block of interaction: the environments, and how many steps to take in them. An epoch is
``steps_per_epoch`` steps followed by an evaluation, so a run takes ``trainer.max_epochs`` times ``steps_per_epoch``
environment steps. Each epoch starts new episodes with seeds determined by (seed, epoch) alone, so a resumed run plays
the same episodes as an uninterrupted one, and no environment state has to be stored.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch

from dlzoo.data.base import DataModule
from dlzoo.errors import UserError, at_least, between, short
from dlzoo.rl.environments import Environments, Recipe
from dlzoo.specs.base import Spec
from dlzoo.specs.environments import EnvSpec, StatesSpec

MAX_SIZE = 4096
"""Limit on stacked observations and on pixels per side: more would not fit into memory."""

MAX_OPTIONS = 10_000
"""Characters of all options of an environment: a map of 100 x 100 fields."""
OWN_OPTIONS = {
    "max_episode_steps": "set data.max_episode_steps",
    "max_num_frames_per_episode": "set data.max_episode_steps",
    "render_mode": "nothing is shown while an agent learns; dlzoo play video=… records it",
}
"""Options that decide when an episode ends, perhaps never, or that open a window."""

STREAMS = {"train": 1, "val": 2, "test": 3, "statistics": 4, "film": 5}
"""Each use has its own random stream of initial states."""


class Block(NamedTuple):
    """A training batch: the number of steps to take, summed over all environments."""

    environments: Environments
    num_steps: int


class Episodes(NamedTuple):
    """A validation or test batch: one episode per environment, with these seeds."""

    environments: Environments
    seeds: list[int]


class Gym(DataModule):
    """Any Gymnasium environment with discrete actions whose observations are vectors, images or discrete states.

    Args:
        id: Gymnasium's environment id, such as Acrobot-v1; ``mymodule:Env-v0`` imports the module that registers it,
            which ``trust=mymodule`` allows.
        options: keyword arguments of the environment, such as {is_slippery: false}.
        num_envs: environments that run in parallel in training.
        steps_per_epoch: environment steps between two evaluations.
        batch_size: environment steps per training batch; affects only how often metrics are logged.
        val_episodes: episodes per validation.
        test_episodes: episodes of the final test with the best checkpoint.
        eval_batch_size: episodes that run in parallel in an evaluation.
        max_episode_steps: truncates episodes, in place of the environment's own limit, or of 1,000 steps if it has
            none.
        frame_skip: number of steps for which each action is repeated; they count as one.
        grey: convert image observations to greyscale.
        resize: height and width of image observations.
        frame_stack: number of most recent observations that form one input.
        reward_scale: factor on the rewards, and thus on returns.
        standardize: fit mean and standard deviation of the observations on ``statistics_steps`` steps of a random
            policy.
        statistics_steps: environment steps for these statistics.
        seed: of the environments.
    """

    kind: ClassVar[type[Spec]] = EnvSpec

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
        at_least(1, "data", steps_per_epoch=steps_per_epoch, frame_skip=frame_skip, frame_stack=frame_stack)
        between(1, 1_000_000, "data", statistics_steps=statistics_steps)
        between(1, 10_000, "data", val_episodes=val_episodes, test_episodes=test_episodes)
        between(1, 4096, "data", num_envs=num_envs, eval_batch_size=eval_batch_size)
        between(1, 200_000, "data", max_episode_steps=max_episode_steps)
        check_options(options or {})
        if max(frame_stack, *(resize or (1, 1))) > MAX_SIZE:
            raise UserError(f"data.frame_stack={frame_stack} and data.resize={resize} must not exceed {MAX_SIZE:,}")
        if resize is not None and (len(resize) != 2 or min(resize) < 1):
            raise UserError(f"data.resize={list(resize)} must be height and width in pixels")
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
            if spec.states is not None or spec.is_image:
                raise UserError("data.standardize=true requires vector observations; set it to false")
            mean, std = self.statistics()
            spec = spec.with_statistics(mean, std)
        self.spec = spec

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each feature under a random policy; 1 for the deviation of a constant one."""
        envs, rng = self.environments(1), np.random.default_rng([STREAMS["statistics"], self.seed])
        envs.reset(self.seeds("statistics", 1))
        num_actions = self.declare().target.num_outputs
        observations = [envs.step(rng.integers(num_actions, size=1)).observation for _ in range(self.statistics_steps)]
        envs.close()
        x = np.concatenate(observations).astype(np.float64)
        std = x.std(0)
        return tuple(x.mean(0).tolist()), tuple(np.where(std > 1e-6, std, 1.0).tolist())

    def environments(self, num: int, *, render: bool = False) -> Environments:
        """New environments, not yet reset."""
        return Environments([functools.partial(self.recipe.make, render=render)] * num, self.recipe.id)

    def seeds(self, use: str, num: int, *, epoch: int = 0) -> list[int]:
        """Seeds for ``num`` episodes or environments of one use (a key of `STREAMS`)."""
        return [int(s) for s in np.random.SeedSequence([self.seed, STREAMS[use], epoch]).generate_state(num)]

    def train_dataloader(self) -> BlockLoader:
        return BlockLoader(self)

    def batches(self, split: Literal["train", "val", "test"]) -> EpisodeLoader:  # type: ignore[override]
        return EpisodeLoader(self, split, self.val_episodes if split == "val" else self.test_episodes)

    def val_dataloader(self) -> EpisodeLoader:
        return self.batches("val")

    def test_dataloader(self) -> EpisodeLoader:
        return self.batches("test")

    def transfer_batch_to_device(
        self, batch: Block | Episodes, device: torch.device, dataloader_idx: int
    ) -> Block | Episodes:
        return batch  # environments run on the CPU

    def on_after_batch_transfer(  # type: ignore[override]  # no tensors
        self, batch: Block | Episodes, dataloader_idx: int
    ) -> Block | Episodes:
        return batch


def check_options(options: Mapping[str, object]) -> None:
    """`UserError` for options that a run sets in another way, or that are too large."""
    for key, remedy in OWN_OPTIONS.items():
        if key in options:
            raise UserError(f"data.options={{{key}: {short(options[key])}}} is not allowed: {remedy}")
    if (size := len(str(options))) > MAX_OPTIONS:
        raise UserError(f"data.options has {size:,} characters; at most {MAX_OPTIONS:,}")


class BlockLoader:
    """The blocks of an epoch, all in the same environments."""

    def __init__(self, data: Gym) -> None:
        self.data = data
        self.epoch = 0
        self.environments = data.environments(data.num_envs)

    @property
    def sampler(self) -> BlockLoader:
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


class EpisodeLoader:
    """The episodes of an evaluation in batches of ``eval_batch_size``; the same in each iteration."""

    def __init__(self, data: Gym, split: str, num_episodes: int) -> None:
        self.seeds = data.seeds(split, num_episodes)
        self.batch_size = data.eval_batch_size
        self.data = data
        self._environments: dict[int, Environments] = {}

    def __len__(self) -> int:
        return -(-len(self.seeds) // self.batch_size)

    def __iter__(self) -> Iterator[Episodes]:
        for start in range(0, len(self.seeds), self.batch_size):
            seeds = self.seeds[start : start + self.batch_size]
            if len(seeds) not in self._environments:
                self._environments[len(seeds)] = self.data.environments(len(seeds))
            yield Episodes(self._environments[len(seeds)], seeds)
