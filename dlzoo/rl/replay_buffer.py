"""Replay buffers: transitions in preallocated arrays, sampled by one gather, uniformly or by priority.

L.-J. Lin, "Self-Improving Reactive Agents Based on Reinforcement Learning, Planning and Teaching", 1992 (uniform).
T. Schaul, J. Quan, I. Antonoglou, D. Silver, "Prioritized Experience Replay", ICLR 2016, the proportional variant.

A transition is stored in the form of its target: ``target = reward + discount * value(next_observation)``. The discount
is gamma to the power of the steps between the two observations, or 0 if the episode terminated, when there is nothing
to bootstrap from. A truncated episode keeps its discount.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor

from dlzoo.errors import UserError
from dlzoo.rl.environments import Transitions


class Rows(NamedTuple):
    """k transitions over one or more steps."""

    observation: np.ndarray  # (k, ...)
    action: np.ndarray  # (k,)
    reward: np.ndarray  # (k,) discounted sum over the steps
    discount: np.ndarray  # (k,)
    next_observation: np.ndarray  # (k, ...)


class Sample(NamedTuple):
    """A sampled batch of transitions, as tensors."""

    observation: Tensor  # (n, ...)
    action: Tensor  # (n,) int64
    reward: Tensor  # (n,)
    discount: Tensor  # (n,)
    next_observation: Tensor  # (n, ...)
    weight: Tensor | None  # (n,) importance weights of the loss, or None if all are 1
    rows: np.ndarray  # (n,) indices in the buffer


class ReplayBuffer:
    """The last ``capacity`` transitions, sampled uniformly."""

    def __init__(self, capacity: int, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> None:
        self.capacity = capacity
        self.size = 0
        self.next = 0
        # empty, not zeros: memory is committed as it is filled
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
        """Add k rows, overwriting the oldest if the buffer is full; returns their indices (k,)."""
        k, start = len(rows.action), self.next
        self.next, self.size = (start + k) % self.capacity, min(self.size + k, self.capacity)
        if start + k <= self.capacity:
            for array, part in zip(self.arrays, rows, strict=True):
                array[start : start + k] = part
            return np.arange(start, start + k)
        indices = np.arange(start, start + k) % self.capacity
        for array, part in zip(self.arrays, rows, strict=True):
            array[indices] = part
        return indices

    def sample(self, n: int, rng: np.random.Generator) -> Sample:
        """n rows, sampled with replacement."""
        index = rng.integers(self.size, size=n)
        return self.take(index)

    def take(self, index: np.ndarray, weight: Tensor | None = None) -> Sample:
        rows = torch.from_numpy(index)
        observation, action, reward, discount, next_observation = (t.index_select(0, rows) for t in self._tensors)
        return Sample(observation, action, reward, discount, next_observation, weight, index)

    def state(self) -> dict[str, np.ndarray]:
        """The filled part, as plain arrays."""
        filled = {name: array[: self.size] for name, array in self.arrays._asdict().items()}
        return filled | {"next": np.array(self.next)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Restore a state; `UserError` if it came from a larger or different buffer."""
        size = len(state["action"])
        if size > self.capacity or state["observation"].shape[1:] != self.arrays.observation.shape[1:]:
            stored, expected = state["observation"].shape[1:], self.arrays.observation.shape[1:]
            raise UserError(
                f"the stored replay buffer holds {size} observations of {stored}, but this one has room for "
                f"{self.capacity} of {expected}; keep task.buffer_size as it was"
            )
        for name, array in self.arrays._asdict().items():
            rows = state[name]
            if rows.shape != array[:size].shape or rows.dtype.kind not in "biuf":
                raise UserError(f"the stored replay buffer has {rows.shape} {name} for {size} rows")
            array[:size] = rows
        self.size, self.next = size, int(state["next"]) % self.capacity


class SumTree:
    """A binary tree of partial sums: updating a value or finding the leaf at a cumulative sum takes log N steps."""

    def __init__(self, capacity: int) -> None:
        self.num_leaves = 1 << (capacity - 1).bit_length()
        self.nodes = np.zeros(2 * self.num_leaves)  # node i has the children 2i and 2i+1; the root is 1

    @property
    def total(self) -> float:
        return float(self.nodes[1])

    def leaves(self, index: np.ndarray) -> np.ndarray:
        return self.nodes[self.num_leaves + index]

    def set(self, index: np.ndarray, values: np.ndarray) -> None:
        """index: (n,), the last of duplicates counts; values: (n,)."""
        node = self.num_leaves + index
        self.nodes[node] = values
        while node[0] > 1:
            node = np.unique(node >> 1)
            self.nodes[node] = self.nodes[2 * node] + self.nodes[2 * node + 1]

    def find(self, sums: np.ndarray) -> np.ndarray:
        """The leaf at each cumulative sum (n,) in [0, total)."""
        node, remainder = np.ones(len(sums), np.int64), sums.copy()
        while node[0] < self.num_leaves:
            left = self.nodes[2 * node]
            right = remainder >= left
            remainder -= np.where(right, left, 0.0)
            node = 2 * node + right
        return node - self.num_leaves


class PrioritizedBuffer(ReplayBuffer):
    """Samples rows in proportion to the size of their last TD error, with importance weights against that bias.

    P(i) = p_i^alpha / sum of all, p_i = |error| + epsilon; weight = (N * P(i))^-beta, divided by the sample's largest.
    New rows get the largest priority so far, so that each is sampled soon.
    """

    EPSILON = 1e-6

    def __init__(
        self, capacity: int, shape: tuple[int, ...], dtype: DTypeLike = np.float32, *, alpha: float = 0.6
    ) -> None:
        super().__init__(capacity, shape, dtype)
        self.alpha = alpha
        self.beta = 0.4
        self.tree = SumTree(capacity)
        self.largest = 1.0

    def add(self, rows: Rows) -> np.ndarray:
        indices = super().add(rows)
        if len(indices):
            self.tree.set(indices, np.full(len(indices), self.largest**self.alpha))
        return indices

    def sample(self, n: int, rng: np.random.Generator) -> Sample:
        """n rows, stratified: one from each n-th of the total priority."""
        sums = (np.arange(n) + rng.random(n)) * (self.tree.total / n)
        index = np.minimum(self.tree.find(sums), self.size - 1)  # rounding may exceed the last row
        probability = self.tree.leaves(index) / self.tree.total
        weight = (self.size * probability) ** -self.beta
        return self.take(index, torch.from_numpy((weight / weight.max()).astype(np.float32)))

    def update(self, index: np.ndarray, error: np.ndarray) -> None:
        """Update the priorities of rows (n,) to their new TD errors (n,)."""
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
    """Turns one-step transitions into n-step ones: r_0 + gamma r_1 + gamma^2 r_2 + …, then the observation.

    At the end of an episode, and on `flush`, the last transitions cover fewer steps.
    """

    def __init__(self, num_envs: int, num_steps: int, gamma: float) -> None:
        self.num_steps = num_steps
        self.gamma = gamma
        self.pending: list[deque[tuple[Any, int, float]]] = [deque() for _ in range(num_envs)]
        self._last: list[Any] = [None] * num_envs

    def push(self, transitions: Transitions) -> Rows:
        """Add one-step transitions; returns the n-step transitions that are now complete."""
        if self.num_steps == 1:
            discount = self.gamma * ~transitions.terminated
            return Rows(
                transitions.observation, transitions.action, transitions.reward, discount, transitions.next_observation
            )
        rows: list[tuple[Any, int, float, float, Any]] = []
        for env, observation, action, reward, next_observation, terminated, truncated in zip(*transitions, strict=True):
            pending = self.pending[env]
            pending.append((observation, action, reward))
            self._last[env] = next_observation
            if terminated or truncated:
                rows += self._drain(env, bootstrap=not terminated)
            elif len(pending) == self.num_steps:
                rows.append(self._row(env, bootstrap=True))
        return self._stacked(rows, transitions)

    def flush(self) -> Rows | None:
        """The pending transitions, as if the episodes were truncated here; None if there are none."""
        rows = [row for env in range(len(self.pending)) for row in self._drain(env, bootstrap=True)]
        return self._stacked(rows, None) if rows else None

    def _drain(self, env: int, *, bootstrap: bool) -> list[tuple[Any, int, float, float, Any]]:
        return [self._row(env, bootstrap=bootstrap) for _ in range(len(self.pending[env]))]

    def _row(self, env: int, *, bootstrap: bool) -> tuple[Any, int, float, float, Any]:
        pending = self.pending[env]
        total = sum(self.gamma**k * reward for k, (_, _, reward) in enumerate(pending))
        discount = self.gamma ** len(pending) if bootstrap else 0.0
        observation, action, _ = pending.popleft()
        return observation, action, total, discount, self._last[env]

    def _stacked(self, rows: list[tuple[Any, int, float, float, Any]], like: Transitions | None) -> Rows:
        if not rows:
            assert like is not None
            empty = np.empty(0)
            return Rows(like.observation[:0], empty, empty, empty, like.observation[:0])
        return Rows(*(np.stack(column) for column in zip(*rows, strict=True)))
