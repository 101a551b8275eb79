"""Wrappers that give every environment the same conventions: image observations in the layout of the nets, actions
counted from 0, episodes that end."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from dlzoo.errors import UserError


class DefaultTimeLimit(gym.wrappers.TimeLimit):
    """Truncates the episodes of an environment that has no time limit."""


class ActionsFromZero(gym.wrappers.TransformAction):
    """Discrete actions from 0 to n - 1; ``first`` is the environment's number of action 0."""

    def __init__(self, env: gym.Env[object, object], first: int, num: int) -> None:
        super().__init__(env, lambda action: action + first, gym.spaces.Discrete(num))
        self.first = first


class ImageObservation(gym.ObservationWrapper[Any, Any, Any]):
    """(H, W) or (H, W, C) uint8 -> (C, H', W') uint8.

    Gymnasium's wrappers need OpenCV to resize; Pillow is a dependency already.

    Args:
        grey: convert to one channel, with the weights of ITU-R 601.
        resize: (height, width).
    """

    def __init__(self, env: gym.Env[Any, Any], *, grey: bool = False, resize: tuple[int, int] | None = None) -> None:
        super().__init__(env)
        space = env.observation_space
        shape = space.shape or ()
        if space.dtype != np.uint8 or len(shape) not in (2, 3):
            key = "data.grey=true" if grey else f"data.resize={list(resize or ())}"
            raise UserError(f"{key}: needs uint8 image observations, but this environment has {space}")
        self.grey = grey
        self.size = resize
        converted = self.observation(np.zeros(shape, np.uint8))
        self.observation_space = gym.spaces.Box(0, 255, converted.shape, np.uint8)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        if self.grey or self.size:
            from PIL import Image

            image = Image.fromarray(observation)
            if self.grey:
                image = image.convert("L")
            if self.size:
                image = image.resize((self.size[1], self.size[0]), Image.Resampling.BOX)
            observation = np.asarray(image)
        if observation.ndim == 2:
            observation = observation[:, :, None]
        return np.ascontiguousarray(observation.transpose(2, 0, 1))
