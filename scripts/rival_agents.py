"""Agents without learning: value iteration where an environment gives its transitions, and rules written by hand.

They play the test episodes of an experiment, with the same seeds as its runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dlzoo.rl.environments import run_episodes

Act = Callable[[np.ndarray], np.ndarray]
"""Observations (N, …) -> actions (N,)."""


def methods(data: Any) -> dict[str, Callable[[], float]]:
    """The agents for an environment, by name."""
    found: dict[str, Act] = {}
    num_actions = data.spec.target.num_outputs
    rng = np.random.default_rng(data.seed)
    found["random"] = lambda observations: rng.integers(num_actions, size=len(observations))
    if transitions := transitions_of(data):
        policy = value_iteration(transitions)
        found["value_iteration"] = lambda observations: policy[observations.astype(int).reshape(-1)]
    if rule := RULES.get(data.recipe.id.partition("-v")[0]):
        found["rule"] = rule
    return {name: lambda act=act: mean_return(data, act) for name, act in found.items()}  # type: ignore[misc]


def mean_return(data: Any, act: Act) -> float:
    """Of the test episodes."""
    returns = [run_episodes(part.environments, part.seeds, act)[0] for part in data.test_dataloader()]
    return float(np.concatenate(returns).mean())


# Value iteration

Transitions = dict[int, dict[int, list[tuple[float, int, float, bool]]]]
"""By state and action: probability, next state, reward, and whether it ends the episode, as in Gymnasium."""


def transitions_of(data: Any) -> Transitions | None:
    """Of environments with a table of them."""
    env = data.recipe.make()
    found = getattr(env.unwrapped, "P", None)
    env.close()
    return found


def value_iteration(transitions: Transitions, discount: float = 0.999, tolerance: float = 1e-9) -> np.ndarray:
    """The best action in each state, (S,) (R. Bellman, 1957).

    >>> stay, move, win = (1.0, 0, 0.0, False), (1.0, 1, 0.0, False), (1.0, 1, 1.0, True)
    >>> value_iteration({0: {0: [stay], 1: [move]}, 1: {0: [win], 1: [stay]}})
    array([1, 0])
    """
    values = np.zeros(len(transitions))
    while True:
        quality = np.array(
            [
                [
                    sum(p * (r + discount * values[s] * (not end)) for p, s, r, end in outcomes)
                    for outcomes in actions.values()
                ]
                for actions in transitions.values()
            ]
        )
        change = np.abs(quality.max(1) - values).max()
        values = quality.max(1)
        if change < tolerance:
            return quality.argmax(1)


# Rules


def balance(x: np.ndarray) -> np.ndarray:
    """CartPole: push to the side to which the pole falls; its angle and angular velocity are the last two of four."""
    return (x[:, 2] + x[:, 3] > 0).astype(int)


def swing(x: np.ndarray) -> np.ndarray:
    """Acrobot: torque in the direction in which the lower link rotates, so that it gains energy in each swing."""
    return np.where(x[:, 5] > 0, 2, 0)


def land(x: np.ndarray) -> np.ndarray:
    """LunarLander: the controller that Gymnasium comes with."""
    from gymnasium.envs.box2d.lunar_lander import heuristic

    class Discrete:
        continuous = False

        @property
        def unwrapped(self) -> Discrete:
            return self

    return np.array([int(heuristic(Discrete(), state)) for state in x])


RULES: dict[str, Act] = {"CartPole": balance, "Acrobot": swing, "LunarLander": land}
