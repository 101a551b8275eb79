"""Vectorized environments, wrapped by config, whose transitions never cross episode boundaries.

Gymnasium steps several environments together. An environment whose episode has ended is reset by its *next* step, which
ignores the action and belongs to no episode; `Environments.step` omits such steps, so that no transition can connect
the end of one episode to the start of another.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from dlzoo.errors import RunFailed, UserError, nearest, one_line
from dlzoo.specs.environments import EnvSpec, StatesSpec
from dlzoo.specs.targets import Actions
from dlzoo.utils import extras

if TYPE_CHECKING:
    import gymnasium

W = TypeVar("W")

DEFAULT_MAX_STEPS = 1000
"""After how many steps an episode is truncated if the environment has no time limit."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to create an environment: Gymnasium's id and options, then the wrappers in the order of the fields."""

    id: str
    options: Mapping[str, object] = field(default_factory=dict)
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
        env = _counted_from_zero(_limited(_from_gymnasium(self, render)))
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
        """The observation and action spaces as a spec, with a notice if episodes have no limit of their own.

        Raises:
            UserError: no model supports these spaces.
        """
        env = self.make()
        from gymnasium import spaces

        from dlzoo.rl.wrappers import ActionsFromZero, DefaultTimeLimit

        observation_space, action_space, env_spec = env.observation_space, env.action_space, env.spec
        renumbered = _wrapper(env, ActionsFromZero)
        if _wrapper(env, DefaultTimeLimit) is not None:
            print(
                f"notice: {self.id} has no time limit: its episodes are truncated after {DEFAULT_MAX_STEPS:,} steps; "
                "data.max_episode_steps=… sets another limit",
                file=sys.stderr,
            )
        env.close()
        if not isinstance(action_space, spaces.Discrete):
            raise UserError(
                f"data.id={self.id} has the action space {action_space}; dlzoo's models need discrete actions"
            )
        first = 0 if renumbered is None else renumbered.first
        actions = Actions(tuple(str(first + i) for i in range(int(action_space.n))))
        limit = (env_spec.max_episode_steps if env_spec else None) or 0
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
    """Several environments that are stepped together; ``observations`` (N, ...) are the current ones.

    Args:
        makers: of the environments.
        id: for messages.
    """

    def __init__(self, makers: Sequence[Callable[[], gymnasium.Env[Any, Any]]], id: str = "") -> None:
        from gymnasium.vector import AutoresetMode, SyncVectorEnv

        self.vector = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.NEXT_STEP)
        self.id = id
        self.num = len(makers)
        self._indices = np.arange(self.num)
        self.finished: list[tuple[float, int]] = []
        """(return, length) of the episodes that ended since the list was last cleared."""

    def reset(self, seeds: Sequence[int]) -> None:
        """Start a new episode in each environment; unfinished episodes are discarded."""
        self.observations, _ = self.vector.reset(seed=list(seeds))
        self.needs_reset = np.zeros(self.num, bool)
        self.returns, self.lengths = np.zeros(self.num), np.zeros(self.num, int)
        self._check_finite(self.returns)
        self.finished.clear()

    def step(self, actions: np.ndarray) -> Transitions:
        """Take the actions (N,); returns the transitions, without environments that this step only resets."""
        observations, was_reset = self.observations, self.needs_reset
        self.observations, rewards, terminated, truncated, _ = self.vector.step(actions)
        self.needs_reset = ended = terminated | truncated
        self.returns += rewards
        self.lengths += ~was_reset
        self._check_finite(rewards)
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

    def _check_finite(self, rewards: np.ndarray) -> None:
        """`RunFailed` if an environment has just returned NaN or infinite numbers, from which nothing can be learned.

        Args:
            rewards: (N,).
        """
        for what, values in (("reward", rewards), ("observation", self.observations)):
            if values.dtype.kind != "f" or np.isfinite(values.sum()) or np.isfinite(values).all():
                continue
            env, *place = map(int, np.argwhere(~np.isfinite(values))[0])
            where = f", at index {place[0] if len(place) == 1 else tuple(place)}" if place else ""
            raise RunFailed(
                f"data.id={self.id}: the environment returned {values[env, *place]} in its {what}{where}, after "
                f"{f'{self.lengths[env]} steps of an episode' if self.lengths[env] else 'a reset'}; it must return "
                "finite numbers"
            )

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
    import gymnasium as gym

    module, _, name = recipe.id.rpartition(":")
    if module:
        _import(module, recipe.id)
    if name.startswith("ALE/"):
        _register_atari(recipe.id)
    if name not in gym.registry:
        raise UserError(f"data.id={recipe.id}: there is no such environment; {nearest(name, gym.registry)}")
    options: dict[str, Any] = {**recipe.options, **({"render_mode": "rgb_array"} if render else {})}
    if recipe.max_episode_steps is not None:
        options["max_episode_steps"] = recipe.max_episode_steps
    try:
        return gym.make(name, disable_env_checker=True, **options)
    except (gym.error.DependencyNotInstalled, gym.error.DeprecatedEnv, ImportError) as error:
        # ImportError: of registered environments whose dependencies Gymnasium does not check
        raise UserError(f"data.id={recipe.id}: {one_line(error, 300)}") from None
    except (TypeError, ValueError, LookupError, AttributeError, AssertionError, ArithmeticError) as error:
        given = dict(recipe.options)
        raise UserError(
            f"data.options={given}: {recipe.id} does not accept these options: {one_line(error, 300)}"
        ) from None


def _import(module: str, id: str) -> None:
    """Import the module in front of an id, which registers the environment. `config.allowlist` has checked its name."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(f"data.id={id}: there is no module {error.name}; add its folder to PYTHONPATH") from None
    except Exception as error:  # importing runs arbitrary code
        raise UserError(
            f"data.id={id}: {module} cannot be imported ({type(error).__name__}: {one_line(error, 300)})"
        ) from None


def _limited(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    """The environment with a time limit, if it has none."""
    from dlzoo.rl.wrappers import DefaultTimeLimit

    spec = env.spec
    if spec is None or spec.max_episode_steps is not None or "max_num_frames_per_episode" in spec.kwargs:  # Atari's
        return env
    return DefaultTimeLimit(env, DEFAULT_MAX_STEPS)


def _counted_from_zero(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    """The environment with discrete actions and states from 0 to n - 1, whatever numbers its own start at."""
    from gymnasium import spaces
    from gymnasium.wrappers import TransformObservation

    from dlzoo.rl.wrappers import ActionsFromZero

    actions, states = env.action_space, env.observation_space
    if isinstance(actions, spaces.Discrete) and actions.start:
        env = ActionsFromZero(env, int(actions.start), int(actions.n))
    if isinstance(states, spaces.Discrete) and (first := int(states.start)):
        env = TransformObservation(env, lambda state: state - first, spaces.Discrete(int(states.n)))
    return env


def _wrapper(env: gymnasium.Env[Any, Any], kind: type[W]) -> W | None:
    """The wrapper of this kind around an environment."""
    import gymnasium as gym

    while isinstance(env, gym.Wrapper):
        if isinstance(env, kind):
            return env
        env = env.env
    return None


def _register_atari(id: str) -> None:
    extras.require(f"data.id={id}", "ale_py")
    import ale_py
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
