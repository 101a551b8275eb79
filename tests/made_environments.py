"""Environments whose values are known, registered with Gymnasium for the tests beside it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

LENGTH = 4


class Chain(gym.Env[Any, Any]):
    """A row of places, shown one-hot: 1 goes right, 0 stays. Leaving at the right end pays 1 and terminates.

    So the value of going right at place s is gamma^(LENGTH - 1 - s), and of staying gamma times the best there.
    """

    observation_space = gym.spaces.Box(0, 1, (LENGTH,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def show(self) -> np.ndarray:
        return np.eye(LENGTH, dtype=np.float32)[min(self.place, LENGTH - 1)]

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = 0
        return self.show(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.place += int(action)
        done = self.place == LENGTH
        return self.show(), float(done), done, False, {}


class NumberedChain(Chain):
    """The same, shown as numbers."""

    observation_space = gym.spaces.Discrete(LENGTH)

    def show(self) -> Any:
        return min(self.place, LENGTH - 1)


class Endless(gym.Env[Any, Any]):
    """One place, one point a step, for ever: every value is 1 / (1 - gamma), wherever the episodes are cut."""

    observation_space = gym.spaces.Box(0, 1, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.ones(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.ones(1, np.float32), 1.0, False, False, {}


class Diary(gym.Env[Any, Any]):
    """Shows (number of the episode, steps in it); terminates after ``length`` steps."""

    observation_space = gym.spaces.Box(0, np.inf, (2,), np.float32)
    action_space = gym.spaces.Discrete(3)

    def __init__(self, length: int = 3, render_mode: str | None = None) -> None:
        self.length = length
        self.episode = -1

    def show(self) -> np.ndarray:
        return np.array([self.episode, self.steps], np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.steps = self.episode + 1, 0
        return self.show(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return self.show(), float(self.steps), self.steps == self.length, False, {}


class Screen(gym.Env[Any, Any]):
    """Coloured pictures (H, W, 3) of random bytes, one of four pixels bright red."""

    observation_space = gym.spaces.Box(0, 255, (40, 60, 3), np.uint8)
    action_space = gym.spaces.Discrete(2)

    def draw(self) -> np.ndarray:
        picture = self.np_random.integers(0, 50, (40, 60, 3), dtype=np.uint8)
        picture[::2, ::2] = (255, 0, 0)
        return picture

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.draw(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.draw(), 1.0, False, False, {}


class Shifted(Chain):
    """The chain with actions 5 and 6, and places numbered from 3."""

    observation_space = gym.spaces.Discrete(LENGTH, start=3)
    action_space = gym.spaces.Discrete(2, start=5)

    def show(self) -> Any:
        return np.int64(3 + min(self.place, LENGTH - 1))

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert action in (5, 6), action
        return super().step(action - 5)


class Broken(Diary):
    """Its second number is NaN, or its reward infinite, after two steps."""

    def __init__(self, part: str = "observation", render_mode: str | None = None) -> None:
        super().__init__(9)
        self.part = part

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        shown, reward, *rest = super().step(action)
        if self.steps == 2 and self.part == "observation":
            shown[1] = np.nan
        return shown, np.inf if self.steps == 2 and self.part == "reward" else reward, *rest


class Slow(Endless):
    """A frame of 30,000 bytes a step."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def render(self) -> Any:
        return np.zeros((100, 100, 3), np.uint8)


for _name, _made in {
    "Shifted-v0": Shifted, "Broken-v0": Broken, "Slow-v0": Slow,
    "Chain-v0": Chain, "NumberedChain-v0": NumberedChain, "Endless-v0": Endless, "Diary-v0": Diary, "Screen-v0": Screen,
}.items():  # fmt: skip
    gym.register(_name, entry_point=lambda _made=_made, **options: _made(**{k: v for k, v in options.items() if v}))
