"""Replay: transitions kept in preallocated arrays, sampled by one gather; uniform, or by priority.

L.-J. Lin, "Self-Improving Reactive Agents Based on Reinforcement Learning, Planning and Teaching", 1992 (uniform).
T. Schaul, J. Quan, I. Antonoglou, D. Silver, "Prioritized Experience Replay", ICLR 2016, the proportional variant.

What is kept of a transition is what its target needs: ``target = reward + discount * value(next_observation)``. The
discount is gamma to the number of steps between the two observations, and 0 where the episode terminated: there is
nothing to bootstrap from. An episode that was only cut keeps its discount.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlzoo.errors import UserError
from dlzoo.rl.environments import Transitions


class Rows(NamedTuple):
    """Transitions over one or more steps, each k times."""

    observation: np.ndarray  # (k, ...)
    action: np.ndarray  # (k,)
    reward: np.ndarray  # (k,) discounted sum over the steps
    discount: np.ndarray  # (k,)
    next_observation: np.ndarray  # (k, ...)


class Sample(NamedTuple):
    """Transitions to learn from, as tensors."""

    observation: Tensor  # (n, ...)
    action: Tensor  # (n,) int64
    reward: Tensor  # (n,)
    discount: Tensor  # (n,)
    next_observation: Tensor  # (n, ...)
    weight: Tensor | None  # (n,) factors on the loss, or None: all are 1
    rows: np.ndarray  # (n,) where they stand in the buffer


class ReplayBuffer:
    """The last ``capacity`` transitions, each as likely to be sampled as any other."""

    def __init__(self, capacity: int, shape: tuple[int, ...], dtype: Any = np.float32) -> None:
        self.capacity = capacity
        self.size = 0
        self.next = 0
        # empty, not zeros: memory is taken as it is filled
        self.arrays = Rows(
            np.empty((capacity, *shape), dtype),
            np.empty(capacity, np.int64),
            np.empty(capacity, np.float32),
            np.empty(capacity, np.float32),
            np.empty((capacity, *shape), dtype),
        )
        self._tensors = [torch.from_numpy(array) for array in self.arrays]  # the same memory

    @property
    def bytes_per_row(self) -> int:
        return sum(array[:1].nbytes for array in self.arrays)

    def add(self, rows: Rows) -> np.ndarray:
        """Keep k rows, over the oldest where the buffer is full; where they stand now (k,)."""
        k, start = len(rows.action), self.next
        self.next, self.size = (start + k) % self.capacity, min(self.size + k, self.capacity)
        if start + k <= self.capacity:
            for array, part in zip(self.arrays, rows, strict=True):
                array[start : start + k] = part
            return np.arange(start, start + k)
        places = np.arange(start, start + k) % self.capacity
        for array, part in zip(self.arrays, rows, strict=True):
            array[places] = part
        return places

    def sample(self, n: int, rng: np.random.Generator) -> Sample:
        """n rows, each drawn anew from all."""
        index = rng.integers(self.size, size=n)
        return self.take(index)

    def take(self, index: np.ndarray, weight: Tensor | None = None) -> Sample:
        rows = torch.from_numpy(index)
        observation, action, reward, discount, following = (t.index_select(0, rows) for t in self._tensors)
        return Sample(observation, action, reward, discount, following, weight, index)

    def state(self) -> dict[str, np.ndarray]:
        """What is filled, as plain arrays."""
        filled = {name: array[: self.size] for name, array in self.arrays._asdict().items()}
        return filled | {"next": np.array(self.next)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Be as the buffer was that gave the state; `UserError` if that was a larger or another one."""
        size = len(state["action"])
        if size > self.capacity or state["observation"].shape[1:] != self.arrays.observation.shape[1:]:
            stored, ours = state["observation"].shape[1:], self.arrays.observation.shape[1:]
            raise UserError(
                f"the stored replay buffer holds {size} observations of {stored}, but there is room for "
                f"{self.capacity} of {ours}; keep task.buffer_size as it was"
            )
        for name, array in self.arrays._asdict().items():
            rows = state[name]
            if rows.shape != array[:size].shape or rows.dtype.kind not in "biuf":
                raise UserError(f"the stored replay buffer has {rows.shape} {name} for {size} rows")
            array[:size] = rows
        self.size, self.next = size, int(state["next"]) % self.capacity


class SumTree:
    """Numbers whose sums are known for every half, quarter and so on: finding the one at a sum takes log N steps."""

    def __init__(self, capacity: int) -> None:
        self.num_leaves = 1 << (capacity - 1).bit_length()
        self.nodes = np.zeros(2 * self.num_leaves)  # node i has the children 2i and 2i+1; the root is 1

    @property
    def total(self) -> float:
        return float(self.nodes[1])

    def leaves(self, index: np.ndarray) -> np.ndarray:
        return self.nodes[self.num_leaves + index]

    def set(self, index: np.ndarray, values: np.ndarray) -> None:
        """index: (n,), where of equal ones the last counts; values: (n,)."""
        node = self.num_leaves + index
        self.nodes[node] = values
        while node[0] > 1:
            node = np.unique(node >> 1)
            self.nodes[node] = self.nodes[2 * node] + self.nodes[2 * node + 1]

    def find(self, sums: np.ndarray) -> np.ndarray:
        """For each of the sums (n,) in [0, total): the leaf in whose part of the whole it falls."""
        node, left_over = np.ones(len(sums), np.int64), sums.copy()
        while node[0] < self.num_leaves:
            left = self.nodes[2 * node]
            right = left_over >= left
            left_over -= np.where(right, left, 0.0)
            node = 2 * node + right
        return node - self.num_leaves


class PrioritizedBuffer(ReplayBuffer):
    """Rows are sampled as often as their last temporal difference was large, and weighted against that bias.

    P(i) = p_i^alpha / sum of all, p_i = |error| + epsilon; weight = (N * P(i))^-beta, divided by the sample's largest.
    New rows get the largest priority so far, so that each is seen soon.
    """

    EPSILON = 1e-6

    def __init__(self, capacity: int, shape: tuple[int, ...], dtype: Any = np.float32, *, alpha: float = 0.6) -> None:
        super().__init__(capacity, shape, dtype)
        self.alpha = alpha
        self.beta = 0.4
        self.tree = SumTree(capacity)
        self.largest = 1.0

    def add(self, rows: Rows) -> np.ndarray:
        places = super().add(rows)
        if len(places):
            self.tree.set(places, np.full(len(places), self.largest**self.alpha))
        return places

    def sample(self, n: int, rng: np.random.Generator) -> Sample:
        """n rows, one from each n-th part of the sum of all priorities."""
        sums = (np.arange(n) + rng.random(n)) * (self.tree.total / n)
        index = np.minimum(self.tree.find(sums), self.size - 1)  # a sum may be rounded beyond the last row
        share = self.tree.leaves(index) / self.tree.total
        weight = (self.size * share) ** -self.beta
        return self.take(index, torch.from_numpy((weight / weight.max()).astype(np.float32)))

    def update(self, index: np.ndarray, error: np.ndarray) -> None:
        """After learning from the rows (n,): their priorities by the temporal differences (n,) found."""
        priority = np.abs(error).astype(np.float64) + self.EPSILON
        self.largest = max(self.largest, float(priority.max()))
        self.tree.set(index, priority**self.alpha)

    def state(self) -> dict[str, np.ndarray]:
        priorities = self.tree.leaves(np.arange(self.size))
        return super().state() | {"priorities": priorities, "largest": np.array(self.largest)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        super().restore(state)
        self.largest, priorities = float(state["largest"]), state["priorities"]
        if priorities.shape != (self.size,) or not (np.isfinite(priorities) & (priorities > 0)).all():
            raise UserError(f"the stored replay buffer has no priority above 0 for each of its {self.size} rows")
        if self.size:
            self.tree.set(np.arange(self.size), state["priorities"])


class MultiStep:
    """Makes transitions over n steps of those over one: r_0 + gamma r_1 + gamma^2 r_2 + …, then the observation.

    At the end of an episode, and where play is interrupted (`flush`), the last ones are over fewer steps.
    """

    def __init__(self, num_envs: int, num_steps: int, gamma: float) -> None:
        self.num_steps = num_steps
        self.gamma = gamma
        self.pending: list[deque[tuple[Any, int, float]]] = [deque() for _ in range(num_envs)]
        self._last: list[Any] = [None] * num_envs

    def push(self, made: Transitions) -> Rows:
        """The transitions that are complete now."""
        if self.num_steps == 1:
            discount = self.gamma * ~made.terminated
            return Rows(made.observation, made.action, made.reward, discount, made.next_observation)
        rows: list[tuple[Any, int, float, float, Any]] = []
        for env, observation, action, reward, following, terminated, truncated in zip(*made, strict=True):
            waiting = self.pending[env]
            waiting.append((observation, action, reward))
            self._last[env] = following
            if terminated or truncated:
                rows += self._drain(env, bootstrap=not terminated)
            elif len(waiting) == self.num_steps:
                rows.append(self._row(env, bootstrap=True))
        return self._stacked(rows, made)

    def flush(self) -> Rows | None:
        """What still waits, as if the episodes were cut here; None if nothing does."""
        rows = [row for env in range(len(self.pending)) for row in self._drain(env, bootstrap=True)]
        return self._stacked(rows, None) if rows else None

    def _drain(self, env: int, *, bootstrap: bool) -> list[tuple[Any, int, float, float, Any]]:
        return [self._row(env, bootstrap=bootstrap) for _ in range(len(self.pending[env]))]

    def _row(self, env: int, *, bootstrap: bool) -> tuple[Any, int, float, float, Any]:
        waiting = self.pending[env]
        total = sum(self.gamma**k * reward for k, (_, _, reward) in enumerate(waiting))
        discount = self.gamma ** len(waiting) if bootstrap else 0.0
        observation, action, _ = waiting.popleft()
        return observation, action, total, discount, self._last[env]

    def _stacked(self, rows: list[tuple[Any, int, float, float, Any]], like: Transitions | None) -> Rows:
        if not rows:
            assert like is not None
            nothing = np.empty(0)
            return Rows(like.observation[:0], nothing, nothing, nothing, like.observation[:0])
        return Rows(*(np.stack(column) for column in zip(*rows, strict=True)))
