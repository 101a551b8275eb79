"""Replay buffers against their definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dlzoo.errors import UserError
from dlzoo.rl.environments import Transitions
from dlzoo.rl.replay_buffer import MultiStep, PrioritizedBuffer, ReplayBuffer, Rows, SumTree


def rows(*ids: int) -> Rows:
    """Distinguishable transitions."""
    n = np.array(ids)
    x = n[:, None].astype(np.float32)
    return Rows(x, n % 3, n * 10.0, n / 100, x + 0.5)


@pytest.mark.parametrize("kind", [ReplayBuffer, PrioritizedBuffer])
def test_the_newest_transitions_are_kept(kind: Any) -> None:
    buffer = kind(5, (1,))
    for start in (0, 3, 6, 9):  # the second and the fourth wrap around
        buffer.add(rows(start, start + 1, start + 2))
    assert buffer.size == 5
    sample = buffer.sample(400, np.random.default_rng(0))
    n = sample.observation[:, 0]
    assert sorted(set(n.tolist())) == [7, 8, 9, 10, 11]
    assert sample.action.tolist() == (n.long() % 3).tolist()
    assert np.allclose(sample.reward, n * 10)
    assert np.allclose(sample.discount, n / 100)
    assert np.allclose(sample.next_observation[:, 0], n + 0.5)


def test_sampling_is_uniform() -> None:
    buffer = ReplayBuffer(8, (1,))
    buffer.add(rows(0, 1, 2, 3))
    counts = np.bincount(buffer.sample(40_000, np.random.default_rng(0)).rows, minlength=8)
    assert counts[4:].sum() == 0
    assert np.abs(counts[:4] / 10_000 - 1).max() < 0.05


@pytest.mark.parametrize("capacity", [1, 2, 5, 16, 100])
def test_a_sum_tree_matches_cumulative_sums(capacity: int) -> None:
    rng, tree, plain = np.random.default_rng(0), SumTree(capacity), np.zeros(capacity)
    for _ in range(30):
        index = rng.permutation(capacity)[: rng.integers(1, capacity + 1)]
        values = rng.random(len(index))
        tree.set(index, values)
        plain[index] = values
        assert tree.total == pytest.approx(plain.sum())
        sums = rng.random(50) * plain.sum()
        assert tree.find(sums).tolist() == np.searchsorted(plain.cumsum(), sums, side="right").tolist()


def test_sampling_is_proportional_to_priority_with_importance_weights() -> None:
    buffer = PrioritizedBuffer(8, (1,), alpha=0.5)
    buffer.add(rows(0, 1, 2, 3))
    errors = np.array([1.0, -4.0, 9.0, 16.0])
    buffer.update(np.arange(4), errors)
    probability = np.array([1, 2, 3, 4]) / 10  # |error|^0.5
    buffer.beta = 0.7
    sample = buffer.sample(40_000, np.random.default_rng(0))
    counts = np.bincount(sample.rows, minlength=8)
    np.testing.assert_allclose(counts[:4] / 40_000, probability, atol=0.01)
    assert sample.weight is not None
    expected = (4 * probability) ** -0.7
    np.testing.assert_allclose(sample.weight, (expected / expected.max())[sample.rows], rtol=1e-4)


def test_a_new_transition_gets_the_largest_priority() -> None:
    buffer = PrioritizedBuffer(8, (1,), alpha=1.0)
    buffer.add(rows(0, 1))
    buffer.update(np.array([0, 1]), np.array([3.0, 1.0]))
    buffer.add(rows(2))
    np.testing.assert_allclose(buffer.tree.leaves(np.arange(4)), [3, 1, 3, 0], atol=1e-5)


@pytest.mark.parametrize("kind", [ReplayBuffer, PrioritizedBuffer])
def test_a_restored_buffer_samples_like_the_original(kind: Any) -> None:
    buffer, other = kind(5, (1,)), kind(5, (1,))
    buffer.add(rows(0, 1, 2))
    buffer.add(rows(3, 4, 5))
    if kind is PrioritizedBuffer:
        buffer.update(np.array([0, 3]), np.array([5.0, 0.1]))
    other.restore(buffer.state())
    for each in (buffer, other):
        each.add(rows(6))
    ours, theirs = (each.sample(50, np.random.default_rng(0)) for each in (buffer, other))
    assert ours.observation.tolist() == theirs.observation.tolist()
    assert (ours.weight is None) or ours.weight.tolist() == theirs.weight.tolist()


def test_restoring_into_a_smaller_buffer_is_an_error() -> None:
    buffer = ReplayBuffer(5, (1,))
    buffer.add(rows(0, 1, 2))
    with pytest.raises(UserError, match=r"holds 3 .*room for 2.*task\.buffer_size"):
        ReplayBuffer(2, (1,)).restore(buffer.state())


GAMMA = 0.5


def by_definition(episode: list[float], end: str, t: int, n: int) -> tuple[float, float, int]:
    """(return, discount, index of the next observation) of step t by the formula."""
    last = min(t + n, len(episode))
    total = sum(GAMMA ** (k - t) * episode[k] for k in range(t, last))
    over = last == len(episode) and end == "terminated"
    return total, 0.0 if over else GAMMA ** (last - t), last


@pytest.mark.parametrize("n", [1, 2, 3, 10])
def test_multi_step_returns_match_their_definition(n: int) -> None:
    """Two parallel environments, each with a terminated, a truncated and a flushed episode of 1 to 6 steps."""
    rng = np.random.default_rng(n)
    episodes_by_env = [
        [(rng.random(rng.integers(1, 7)).tolist(), end) for end in ("terminated", "truncated", "flushed")]
        for _ in range(2)
    ]
    steps: list[list[tuple[Any, ...]]] = [[], []]
    expected = []
    for env, env_episodes in enumerate(episodes_by_env):
        for number, (episode, end) in enumerate(env_episodes):
            for t, reward in enumerate(episode):
                last = t == len(episode) - 1
                name = np.array([env, number, t], np.float32)
                done = (last and end == "terminated", last and end == "truncated")
                steps[env].append((env, name, t % 2, reward, name + np.array([0, 0, 1]), *done))
                total, discount, after = by_definition(episode, end, t, n)
                expected.append((env, number, t, t % 2, total, discount, after))
    multi_step, collected = MultiStep(2, n, GAMMA), []
    for i in range(max(map(len, steps))):
        now = [env_episodes[i] for env_episodes in steps if i < len(env_episodes)]
        collected.append(multi_step.push(Transitions(*(np.array(part) for part in zip(*now, strict=True)))))
    if (rest := multi_step.flush()) is not None:
        collected.append(rest)
    actual = [
        (*map(int, x), int(action), reward, discount, int(after[2]))
        for part in collected
        for x, action, reward, discount, after in zip(*part, strict=True)
    ]
    assert [row[:4] for row in sorted(actual)] == [row[:4] for row in sorted(expected)]
    np.testing.assert_allclose(sorted(actual), sorted(expected))
    assert multi_step.flush() is None
