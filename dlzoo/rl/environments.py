"""Environments as the agents see them: wrapped by config, several at once, with borders that nothing crosses.

Gymnasium steps several environments together. One whose episode has ended is reset by its *next* step, which ignores
the action and belongs to no episode; `Environments.step` leaves such steps out, so that whoever learns from what it
gives can not join the end of an episode to the beginning of another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dlzoo.errors import UserError, nearest
from dlzoo.specs.environments import EnvSpec, StatesSpec
from dlzoo.specs.targets import Actions

if TYPE_CHECKING:
    import gymnasium

EXTRA = "pip install 'dlzoo[rl]'"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How an environment is made: Gymnasium's id and options, then the wrappers in the order of the fields."""

    id: str
    options: Mapping[str, Any] = field(default_factory=dict)
    max_episode_steps: int | None = None
    frame_skip: int = 1
    grey: bool = False
    resize: tuple[int, int] | None = None
    frame_stack: int = 1
    reward_scale: float = 1.0

    def make(self, *, render: bool = False) -> gymnasium.Env[Any, Any]:
        """One environment; with ``render`` it can draw itself, without a screen.

        Raises:
            UserError: an unknown id or option, a package that is missing, or a wrapper that does not suit.
        """
        env = _from_gymnasium(self, render)
        if self.frame_skip > 1:
            env = _skip(env, self.frame_skip)
        if self.grey or self.resize or _is_picture(env):
            from dlzoo.rl.wrappers import Pictures

            env = Pictures(env, grey=self.grey, resize=self.resize)
        if self.frame_stack > 1:
            env = _stack(env, self.frame_stack)
        if self.reward_scale != 1:
            from gymnasium.wrappers import TransformReward

            scale = self.reward_scale
            env = TransformReward(env, lambda reward: scale * float(reward))
        return env

    def spec(self) -> EnvSpec | StatesSpec:
        """What an environment of this recipe shows and takes; `UserError` if no model of the house could use it."""
        env = self.make()
        from gymnasium import spaces  # after make(), which says it where gymnasium is missing

        sees, does, known = env.observation_space, env.action_space, env.spec
        env.close()
        if not isinstance(does, spaces.Discrete):
            raise UserError(
                f"data.id={self.id} takes actions of the kind {does}; the models here choose one of several"
            )
        actions = Actions(tuple(str(int(does.start) + i) for i in range(int(does.n))))
        limit = self.max_episode_steps or (known.max_episode_steps if known else None) or 0
        solved = known.reward_threshold if known else None
        if isinstance(sees, spaces.Discrete):
            return StatesSpec(self.id, int(sees.n), actions, limit, solved)
        if isinstance(sees, spaces.Box) and len(sees.shape) in (1, 3):
            return EnvSpec(self.id, tuple(map(int, sees.shape)), actions, limit, solved)
        raise UserError(
            f"data.id={self.id} shows {sees}; the models here take vectors, pictures (H, W) or (H, W, C) of bytes, and "
            "numbered states"
        )


class Transitions(NamedTuple):
    """What k of the environments did in a step: those that were not resting between two episodes."""

    env: np.ndarray  # (k,) their numbers
    observation: np.ndarray  # (k, ...)
    action: np.ndarray  # (k,)
    reward: np.ndarray  # (k,) float
    next_observation: np.ndarray  # (k, ...)
    terminated: np.ndarray  # (k,) bool: the episode came to its own end, and no reward can follow
    truncated: np.ndarray  # (k,) bool: the episode was cut, and more would have followed


class Environments:
    """Several environments that are stepped together; ``observations`` (N, ...) are what they show now."""

    def __init__(self, makers: Sequence[Callable[[], gymnasium.Env[Any, Any]]]) -> None:
        from gymnasium.vector import AutoresetMode, SyncVectorEnv

        self.vector = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.NEXT_STEP)
        self.num = len(makers)
        self._numbers = np.arange(self.num)
        self.finished: list[tuple[float, int]] = []
        """(return, length) of the episodes that ended since somebody emptied the list."""

    def reset(self, seeds: Sequence[int]) -> None:
        """Begin a new episode in each environment; whatever was under way is dropped."""
        self.observations, _ = self.vector.reset(seed=list(seeds))
        self.resting = np.zeros(self.num, bool)
        self.returns, self.lengths = np.zeros(self.num), np.zeros(self.num, int)
        self.finished.clear()

    def step(self, actions: np.ndarray) -> Transitions:
        """actions: (N,); the transitions of those that were not resting, whose episodes then rest if they ended."""
        before, rested = self.observations, self.resting
        self.observations, rewards, terminated, truncated, _ = self.vector.step(actions)
        self.resting = ended = terminated | truncated
        self.returns += rewards
        self.lengths += ~rested
        if ended.any():
            for i in np.flatnonzero(ended):
                self.finished.append((float(self.returns[i]), int(self.lengths[i])))
            self.returns[ended], self.lengths[ended] = 0.0, 0
        made = Transitions(self._numbers, before, actions, rewards, self.observations, terminated, truncated)
        if rested.any():
            awake = ~rested
            made = Transitions(*(part[awake] for part in made))
        return made

    def close(self) -> None:
        self.vector.close()


def play_each(
    environments: Environments, seeds: Sequence[int], act: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Play one episode in each environment: their returns (N,) and lengths (N,).

    One each, not the first N to end: those would be the short ones.
    """
    environments.reset(seeds)
    returns, lengths = np.zeros(environments.num), np.zeros(environments.num, int)
    playing = np.ones(environments.num, bool)
    while playing.any():
        made = environments.step(act(environments.observations))
        own = playing[made.env]
        returns[made.env[own]] += made.reward[own]
        lengths[made.env[own]] += 1
        playing[made.env[made.terminated | made.truncated]] = False
    return returns, lengths


def _from_gymnasium(recipe: Recipe, render: bool) -> gymnasium.Env[Any, Any]:
    try:
        import gymnasium as gym
    except ImportError:
        raise UserError(f"data: environments need the package gymnasium: {EXTRA}") from None
    if ":" in recipe.id:  # would import a module that a stranger's checkpoint names
        raise UserError(f"data.id={recipe.id}: give the id alone, without a module in front")
    if recipe.id.startswith("ALE/"):
        _register_atari()
    if recipe.id not in gym.registry:
        raise UserError(f"data.id={recipe.id}: Gymnasium has no such environment; {nearest(recipe.id, gym.registry)}")
    options: dict[str, Any] = {**recipe.options, "render_mode": "rgb_array" if render else None}
    if recipe.max_episode_steps is not None:
        options["max_episode_steps"] = recipe.max_episode_steps
    try:
        return gym.make(recipe.id, disable_env_checker=True, **options)
    except gym.error.DependencyNotInstalled as error:
        raise UserError(f"data.id={recipe.id}: {_sentence(error)}") from None
    except gym.error.DeprecatedEnv as error:
        raise UserError(f"data.id={recipe.id}: {_sentence(error)}") from None
    except ImportError as error:  # of Gymnasium's own entries, which need packages that it does not name
        raise UserError(f"data.id={recipe.id}: {_sentence(error)}") from None
    except (TypeError, ValueError, LookupError, AttributeError, AssertionError, ArithmeticError) as error:
        given = dict(recipe.options)
        raise UserError(f"data.options={given}: {recipe.id} does not take these: {_sentence(error)}") from None


def _register_atari() -> None:
    try:
        import ale_py
    except ImportError:
        raise UserError("data.id: Atari games need the package ale-py: pip install ale-py") from None
    import gymnasium as gym

    gym.register_envs(ale_py)


def _is_picture(env: gymnasium.Env[Any, Any]) -> bool:
    space = env.observation_space
    return space.dtype == np.uint8 and len(space.shape or ()) in (2, 3)


def _skip(env: gymnasium.Env[Any, Any], num: int) -> gymnasium.Env[Any, Any]:
    """Each action is repeated; of pictures, which may flicker, the brighter of the last two frames is seen."""
    from gymnasium.wrappers import MaxAndSkipObservation, RepeatAction

    return MaxAndSkipObservation(env, num) if _is_picture(env) else RepeatAction(env, num)


def _stack(env: gymnasium.Env[Any, Any], num: int) -> gymnasium.Env[Any, Any]:
    """The last observations as one: pictures (C * num, H, W), vectors (D * num,)."""
    from gymnasium.wrappers import FrameStackObservation, ReshapeObservation

    shape = env.observation_space.shape
    if not shape:
        raise UserError(f"data.frame_stack={num}: the observations are numbered states, which cannot be stacked")
    return ReshapeObservation(FrameStackObservation(env, num), (num * shape[0], *shape[1:]))


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
