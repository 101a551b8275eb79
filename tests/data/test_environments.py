"""Environments: no transition crosses an episode's border, wrappers do what they say, mistakes are answered."""

from __future__ import annotations

import sys
from typing import Any

import gymnasium as gym
import made_environments as made
import numpy as np
import pytest

from dlzoo.data.environments import Gym
from dlzoo.errors import RunFailed, UserError
from dlzoo.rl.environments import Environments, Recipe, run_episodes
from dlzoo.specs.environments import EnvSpec, StatesSpec


def diaries() -> Environments:
    """Two that terminate after 3 and 4 steps, and one that is cut after 2."""
    cut = lambda: gym.wrappers.TimeLimit(made.Diary(9), 2)  # noqa: E731
    return Environments([lambda: made.Diary(3), lambda: made.Diary(4), cut])


def test_no_transition_crosses_the_border_of_an_episode() -> None:
    environments = diaries()
    environments.reset([1, 2, 3])
    seen: dict[int, list[tuple[int, int]]] = {0: [], 1: [], 2: []}
    for _ in range(25):
        for row in zip(*environments.step(np.array([0, 1, 2])), strict=True):
            env, before, action, reward, after, terminated, truncated = row
            assert before[0] == after[0], "from one episode into another"
            assert after[1] == before[1] + 1 == reward
            assert action == env
            assert terminated == (env < 2 and after[1] == env + 3)
            assert truncated == (env == 2 and after[1] == 2)
            seen[env].append((int(before[0]), int(before[1])))
    for env, length in {0: 3, 1: 4, 2: 2}.items():  # and none is lost: (0, 0), (0, 1), …, (1, 0), …
        assert seen[env] == [divmod(i, length) for i in range(len(seen[env]))]
        assert len(seen[env]) >= 25 * length // (length + 1)


def test_finished_episodes_are_told_with_return_and_length() -> None:
    environments = diaries()
    environments.reset([1, 2, 3])
    for _ in range(5):
        environments.step(np.zeros(3, int))
    assert sorted(environments.finished) == [(3.0, 2), (3.0, 2), (6.0, 3), (10.0, 4)]


def test_one_episode_is_played_in_each_environment() -> None:
    """The first three to end would be two of the short one and one of the next."""
    returns, lengths = run_episodes(diaries(), [1, 2, 3], lambda observations: np.zeros(3, int))
    assert lengths.tolist() == [3, 4, 2]
    assert returns.tolist() == [6, 10, 3]


def test_equal_seeds_give_equal_episodes_and_uses_differ() -> None:
    data = Gym(id="CartPole-v1", num_envs=2)

    def starts(use: str, epoch: int = 0) -> np.ndarray:
        environments = data.environments(2)
        environments.reset(data.seeds(use, 2, epoch=epoch))
        return environments.observations

    assert np.array_equal(starts("val"), starts("val"))
    kinds = [starts("train"), starts("train", 1), starts("val"), starts("test")]
    assert len({kind.tobytes() for kind in kinds}) == 4
    assert not np.array_equal(*kinds[0])


def test_specs_say_what_is_seen_and_done() -> None:
    cartpole = Recipe(id="CartPole-v1").spec()
    assert isinstance(cartpole, EnvSpec)
    assert (cartpole.shape, cartpole.target.num_outputs) == ((4,), 2)
    assert (cartpole.max_steps, cartpole.solved) == (500, 475)
    assert Recipe(id="CartPole-v1", max_episode_steps=90).spec().max_steps == 90
    lake = Recipe(id="FrozenLake-v1").spec()
    assert isinstance(lake, StatesSpec)
    assert (lake.num_states, lake.target.names) == (16, ("0", "1", "2", "3"))


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (3, 40, 60)),
        ({"grey": True}, (1, 40, 60)),
        ({"resize": (20, 30)}, (3, 20, 30)),
        ({"grey": True, "resize": (20, 30), "frame_stack": 4}, (4, 20, 30)),
        ({"frame_stack": 2, "frame_skip": 3}, (6, 40, 60)),
    ],
)
def test_pictures_are_bytes_with_channels_first(options: dict[str, Any], shape: tuple[int, ...]) -> None:
    recipe = Recipe(id="Screen-v0", **options)
    environment = recipe.make()
    assert recipe.spec().shape == shape
    for picture in (environment.reset(seed=0)[0], environment.step(0)[0]):
        assert picture.shape == shape
        assert picture.dtype == np.uint8


def test_pictures_are_resized_by_means_and_grey_by_weights() -> None:
    raw, _ = made.Screen().reset(seed=0)
    means = raw.reshape(20, 2, 30, 2, 3).mean((1, 3)).transpose(2, 0, 1)
    small, _ = Recipe(id="Screen-v0", resize=(20, 30)).make().reset(seed=0)
    assert np.abs(small - means).max() <= 1
    grey, _ = Recipe(id="Screen-v0", grey=True).make().reset(seed=0)
    assert np.abs(grey[0] - raw @ [0.299, 0.587, 0.114]).max() <= 1


def test_frames_are_stacked_and_skipped_in_order() -> None:
    environment = Recipe(id="Diary-v0", options={"length": 9}, frame_skip=2, frame_stack=2).make()
    environment.reset(seed=0)
    observation, reward, *_ = environment.step(0)
    assert observation.tolist() == [0, 0, 0, 2]
    assert reward == 1 + 2
    assert environment.step(0)[0].tolist() == [0, 2, 0, 4]


def test_rewards_are_scaled() -> None:
    environment = Recipe(id="Diary-v0", reward_scale=0.5).make()
    environment.reset(seed=0)
    assert [environment.step(0)[1] for _ in range(3)] == [0.5, 1.0, 1.5]


def test_statistics_are_those_of_random_play() -> None:
    data = Gym(id="CartPole-v1", standardize=True, statistics_steps=3000)
    data.setup()
    other = Gym(id="CartPole-v1", standardize=True, statistics_steps=3000, seed=1)
    other.setup()
    assert isinstance(data.spec, EnvSpec)
    assert len(data.spec.mean) == len(data.spec.std) == 4
    # a random pole swings with about half a metre and a radian a second
    assert 0.3 < data.spec.std[1] < 0.9
    np.testing.assert_allclose(data.spec.std, other.spec.std, rtol=0.2)
    assert data.spec.std != other.spec.std


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"id": "CartPol-v1"}, r"data\.id=CartPol-v1: .*did you mean 'CartPole-v1'"),
        ({"id": "no_such:CartPole-v1"}, "there is no module no_such"),
        ({"id": "Pendulum-v1"}, "need discrete actions"),
        ({"id": "Blackjack-v1"}, "vectors, uint8 images"),
        ({"id": "CartPole-v1", "options": {"speed": 3}}, r"data\.options=\{'speed': 3\}.*does not accept"),
        ({"id": "CartPole-v1", "grey": True}, r"data\.grey=true: needs uint8 image observations"),
        ({"id": "CartPole-v1", "resize": (8, 8)}, r"data\.resize=\[8, 8\]: needs uint8 image observations"),
        ({"id": "FrozenLake-v1", "frame_stack": 2}, "cannot be stacked"),
        ({"id": "CartPole-v1", "num_envs": 0}, r"data\.num_envs=0"),
        ({"id": "CartPole-v1", "resize": (8,)}, r"data\.resize=\[8\]"),
        ({"id": "CartPole-v1", "reward_scale": 0.0}, r"data\.reward_scale=0"),
        ({"id": "CartPole-v1", "num_envs": 10**9}, r"data\.num_envs=1000000000 must lie between 1 and 4,096"),
        ({"id": "CartPole-v1", "eval_batch_size": 10**9}, r"data\.eval_batch_size=1000000000 must lie"),
        ({"id": "CartPole-v1", "test_episodes": 2**31}, r"data\.test_episodes=2147483648 must lie"),
        ({"id": "CartPole-v1", "val_episodes": 2**31}, r"data\.val_episodes=2147483648 must lie"),
        ({"id": "CartPole-v1", "statistics_steps": 10**9}, r"data\.statistics_steps=1000000000 must lie"),
        ({"id": "CartPole-v1", "max_episode_steps": 10**12}, r"data\.max_episode_steps=1000000000000 must lie"),
        ({"id": "FrozenLake-v1", "options": {"max_episode_steps": 10**12}}, r"set data\.max_episode_steps"),
        ({"id": "ALE/Pong-v5", "options": {"max_num_frames_per_episode": 0}}, r"set data\.max_episode_steps"),
        ({"id": "FrozenLake-v1", "options": {"render_mode": "human"}}, r"\{render_mode: human\} is not allowed"),
        ({"id": "FrozenLake-v1", "options": {"desc": ["S" * 20_000]}}, r"data\.options has 20,\d+ characters"),
    ],
)
def test_mistakes_are_answered(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Gym(**options).declare()


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ale_py", None)  # Python then refuses to import it
    with pytest.raises(UserError, match=r"pip install 'dlzoo\[atari\]'"):
        Gym(id="ALE/Breakout-v5").declare()


@pytest.mark.parametrize("part", ["observation", "reward"])
def test_numbers_that_are_not_finite_name_the_environment(part: str) -> None:
    environments = Gym(id="Broken-v0", options={"part": part}).environments(2)
    environments.reset([1, 2])
    environments.step(np.zeros(2, int))
    where = {"observation": "nan in its observation, at index 1,", "reward": "inf in its reward,"}[part]
    with pytest.raises(RunFailed, match=rf"data\.id=Broken-v0: .* returned {where} after 2 steps of an episode"):
        environments.step(np.zeros(2, int))


def test_an_episode_without_a_limit_is_truncated_and_the_user_is_notified(capsys: pytest.CaptureFixture[str]) -> None:
    data = Gym(id="Endless-v0")
    assert data.declare().max_steps == 1000
    assert "Endless-v0 has no time limit: its episodes are truncated after 1,000 steps" in capsys.readouterr().err
    assert run_episodes(data.environments(1), [1], lambda observations: np.zeros(1, int))[1].tolist() == [1000]
    limited = Gym(id="Endless-v0", max_episode_steps=7), Gym(id="CartPole-v1")
    assert [other.declare().max_steps for other in limited] == [7, 500]
    assert capsys.readouterr().err == ""


def test_actions_and_states_are_counted_from_zero() -> None:
    recipe = Recipe(id="Shifted-v0")
    spec = recipe.spec()
    assert isinstance(spec, StatesSpec)
    assert (spec.num_states, spec.target.names) == (made.LENGTH, ("5", "6"))
    environments = Environments([recipe.make])
    environments.reset([1])
    seen = [int(environments.observations[0])]
    for action in (1, 0, 1, 1, 1):
        seen.append(int(environments.step(np.array([action])).next_observation[0]))
    assert seen == [0, 1, 1, 2, 3, 3]
    assert environments.finished == [(1.0, 5)]


def test_states_have_no_statistics() -> None:
    with pytest.raises(UserError, match=r"data\.standardize"):
        Gym(id="FrozenLake-v1", standardize=True).setup()
