"""Vectorized environments, wrapped by config, whose transitions never cross episode boundaries.

Gymnasium steps several environments together. An environment whose episode has ended is reset by its *next* step, which
ignores the action and belongs to no episode; `Environments.step` omits such steps, so that no transition can connect
the end of one episode to the start of another.
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
    """How to create an environment: Gymnasium's id and options, then the wrappers in the order of the fields."""

    id: str
    options: Mapping[str, Any] = field(default_factory=dict)
    max_episode_steps: int | None = None
    frame_skip: int = 1
    grey: bool = False
    resize: tuple[int, int] | None = None
    frame_stack: int = 1
    reward_scale: float = 1.0

    def make(self, *, render: bool = False) -> gymnasium.Env[Any, Any]:
        """Create one environment; with ``render`` it renders off-screen.

        Raises:
            UserError: an unknown id or option, a missing package, or an unsuitable wrapper.
        """
        env = _from_gymnasium(self, render)
        if self.frame_skip > 1:
            env = _skip(env, self.frame_skip)
        if self.grey or self.resize or _is_image(env):
            from dlzoo.rl.wrappers import ImageObservation

            env = ImageObservation(env, grey=self.grey, resize=self.resize)
        if self.frame_stack > 1:
            env = _stack(env, self.frame_stack)
        if self.reward_scale != 1:
            from gymnasium.wrappers import TransformReward

            scale = self.reward_scale
            env = TransformReward(env, lambda reward: scale * float(reward))
        return env

    def spec(self) -> EnvSpec | StatesSpec:
        """The observation and action spaces as a spec; `UserError` if no model supports them."""
        env = self.make()
        from gymnasium import spaces  # after make(), which reports a missing gymnasium

        observation_space, action_space, env_spec = env.observation_space, env.action_space, env.spec
        env.close()
        if not isinstance(action_space, spaces.Discrete):
            raise UserError(
                f"data.id={self.id} has the action space {action_space}; dlzoo's models need discrete actions"
            )
        actions = Actions(tuple(str(int(action_space.start) + i) for i in range(int(action_space.n))))
        limit = self.max_episode_steps or (env_spec.max_episode_steps if env_spec else None) or 0
        solved = env_spec.reward_threshold if env_spec else None
        if isinstance(observation_space, spaces.Discrete):
            return StatesSpec(self.id, int(observation_space.n), actions, limit, solved)
        if isinstance(observation_space, spaces.Box) and len(observation_space.shape) in (1, 3):
            return EnvSpec(self.id, tuple(map(int, observation_space.shape)), actions, limit, solved)
        raise UserError(
            f"data.id={self.id} has the observation space {observation_space}; dlzoo's models take vectors, uint8 "
            "images (H, W) or (H, W, C), and discrete states"
        )


class Transitions(NamedTuple):
    """One step of k environments: those that were not being reset between episodes."""

    env: np.ndarray  # (k,) indices
    observation: np.ndarray  # (k, ...)
    action: np.ndarray  # (k,)
    reward: np.ndarray  # (k,) float
    next_observation: np.ndarray  # (k, ...)
    terminated: np.ndarray  # (k,) bool: the episode reached a terminal state, and no reward can follow
    truncated: np.ndarray  # (k,) bool: the episode was cut off, and would have continued


class Environments:
    """Several environments that are stepped together; ``observations`` (N, ...) are the current ones."""

    def __init__(self, makers: Sequence[Callable[[], gymnasium.Env[Any, Any]]]) -> None:
        from gymnasium.vector import AutoresetMode, SyncVectorEnv

        self.vector = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.NEXT_STEP)
        self.num = len(makers)
        self._indices = np.arange(self.num)
        self.finished: list[tuple[float, int]] = []
        """(return, length) of the episodes that ended since the list was last cleared."""

    def reset(self, seeds: Sequence[int]) -> None:
        """Start a new episode in each environment; unfinished episodes are discarded."""
        self.observations, _ = self.vector.reset(seed=list(seeds))
        self.needs_reset = np.zeros(self.num, bool)
        self.returns, self.lengths = np.zeros(self.num), np.zeros(self.num, int)
        self.finished.clear()

    def step(self, actions: np.ndarray) -> Transitions:
        """Take the actions (N,); returns the transitions, without environments that this step only resets."""
        observations, was_reset = self.observations, self.needs_reset
        self.observations, rewards, terminated, truncated, _ = self.vector.step(actions)
        self.needs_reset = ended = terminated | truncated
        self.returns += rewards
        self.lengths += ~was_reset
        if ended.any():
            for i in np.flatnonzero(ended):
                self.finished.append((float(self.returns[i]), int(self.lengths[i])))
            self.returns[ended], self.lengths[ended] = 0.0, 0
        transitions = Transitions(
            self._indices, observations, actions, rewards, self.observations, terminated, truncated
        )
        if was_reset.any():
            stepped = ~was_reset
            transitions = Transitions(*(part[stepped] for part in transitions))
        return transitions

    def close(self) -> None:
        self.vector.close()


def run_episodes(
    environments: Environments, seeds: Sequence[int], act: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Run one episode in each environment: their returns (N,) and lengths (N,).

    One per environment, not the first N to end: those would be biased towards short episodes.
    """
    environments.reset(seeds)
    returns, lengths = np.zeros(environments.num), np.zeros(environments.num, int)
    playing = np.ones(environments.num, bool)
    while playing.any():
        transitions = environments.step(act(environments.observations))
        playing_now = playing[transitions.env]
        returns[transitions.env[playing_now]] += transitions.reward[playing_now]
        lengths[transitions.env[playing_now]] += 1
        playing[transitions.env[transitions.terminated | transitions.truncated]] = False
    return returns, lengths


def _from_gymnasium(recipe: Recipe, render: bool) -> gymnasium.Env[Any, Any]:
    try:
        import gymnasium as gym
    except ImportError:
        raise UserError(f"data: environments need the gymnasium package: {EXTRA}") from None
    if ":" in recipe.id:  # would import a module named by an untrusted checkpoint
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
        raise UserError(f"data.id={recipe.id}: {_one_line(error)}") from None
    except gym.error.DeprecatedEnv as error:
        raise UserError(f"data.id={recipe.id}: {_one_line(error)}") from None
    except ImportError as error:  # from registered environments whose dependencies Gymnasium does not check
        raise UserError(f"data.id={recipe.id}: {_one_line(error)}") from None
    except (TypeError, ValueError, LookupError, AttributeError, AssertionError, ArithmeticError) as error:
        given = dict(recipe.options)
        raise UserError(
            f"data.options={given}: {recipe.id} does not accept these options: {_one_line(error)}"
        ) from None


def _register_atari() -> None:
    try:
        import ale_py
    except ImportError:
        raise UserError("data.id: Atari games need the ale-py package: pip install ale-py") from None
    import gymnasium as gym

    gym.register_envs(ale_py)


def _is_image(env: gymnasium.Env[Any, Any]) -> bool:
    space = env.observation_space
    return space.dtype == np.uint8 and len(space.shape or ()) in (2, 3)


def _skip(env: gymnasium.Env[Any, Any], num: int) -> gymnasium.Env[Any, Any]:
    """Repeat each action; for images, which may flicker, return the pixelwise maximum of the last two frames."""
    from gymnasium.wrappers import MaxAndSkipObservation, RepeatAction

    return MaxAndSkipObservation(env, num) if _is_image(env) else RepeatAction(env, num)


def _stack(env: gymnasium.Env[Any, Any], num: int) -> gymnasium.Env[Any, Any]:
    """Stack the last observations: images (C * num, H, W), vectors (D * num,)."""
    from gymnasium.wrappers import FrameStackObservation, ReshapeObservation

    shape = env.observation_space.shape
    if not shape:
        raise UserError(f"data.frame_stack={num}: the observations are discrete states, which cannot be stacked")
    return ReshapeObservation(FrameStackObservation(env, num), (num * shape[0], *shape[1:]))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
