"""Agents: learned values against known ones, updates against equations, reproducibility and resuming."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import made_environments as made
import numpy as np
import pytest
import torch
from small_runs import Outcome, Train

from dlzoo.checkpoint import load as checkpoint
from dlzoo.checkpoint import sidecar as beside
from dlzoo.config import compose as config
from dlzoo.nets.q_network import QNetwork
from dlzoo.rl.replay_buffer import Rows
from dlzoo.specs.environments import EnvSpec
from dlzoo.specs.targets import Actions
from dlzoo.tasks.rl.dqn import DQN, Minibatch
from dlzoo.training.run import run as run_training
from dlzoo.utils import checkpoint_files

PLAIN = ("callbacks=checkpoint", "logger=none", "trainer=cpu")
SMALL = ("data.steps_per_epoch=500", "data.batch_size=100", "data.val_episodes=2", "data.test_episodes=3")
QUICK = ("net.hidden=[16]", "task.learning_starts=100", "task.batch_size=16", "task.epsilon_steps=500")


def run(folder: Path, *overrides: str) -> dict[str, Any]:
    return run_training(config.compose([*PLAIN, *SMALL, *overrides]), folder, list(overrides))


def values(folder: Path, observations: Any) -> np.ndarray:
    """The action values (K,) of a run's agent in each of these."""
    task, _ = checkpoint.load_task(folder / "checkpoints" / "last.ckpt")
    with torch.no_grad():
        return task(torch.as_tensor(observations)).numpy()


# Values that are known

GAMMA = 0.8
RIGHT = GAMMA ** np.arange(made.LENGTH - 1, -1, -1)
CHAIN = np.stack([GAMMA * RIGHT, RIGHT], axis=1)
"""(places, actions): staying costs a step."""
LEARN = ("trainer.max_epochs=6", f"task.gamma={GAMMA}", "task.epsilon_end=1.0", "optimizer.lr=0.01")
SHORT = "data.max_episode_steps=12"  # an agent that stays would otherwise be evaluated for ever


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("task.double=true", "net.dueling=true"),
        ("task.prioritized=true",),
        ("task.tau=0.05", "task.target_update_interval=1", "task.loss=mse"),
        ("data.num_envs=3",),
        ("scheduler=cosine", "task.train_freq=8", "task.gradient_steps=4"),
    ],
    ids=["plain", "double dueling", "prioritized", "soft", "three environments", "rounds"],
)
def test_dqn_learns_the_values_of_a_chain(overrides: tuple[str, ...], tmp_path: Path) -> None:
    """The right end is terminal; truncation after 12 steps must not matter."""
    common = ("model=dqn", "data=gym", "data.id=Chain-v0", SHORT, *QUICK, *LEARN, "task.target_update_interval=40")
    run(tmp_path, *common, *overrides)
    np.testing.assert_allclose(values(tmp_path, np.eye(made.LENGTH, dtype=np.float32)), CHAIN, atol=0.04)


def test_q_learning_learns_the_values_of_a_chain(tmp_path: Path) -> None:
    run(tmp_path, "model=q_table", "data=gym", "data.id=NumberedChain-v0", SHORT, *LEARN, "optimizer.lr=0.5")
    np.testing.assert_allclose(values(tmp_path, np.arange(made.LENGTH)), CHAIN, atol=0.01)


@pytest.mark.parametrize("num_steps", [1, 3])
def test_truncated_episodes_bootstrap(num_steps: int, tmp_path: Path) -> None:
    """Truncated after two steps: treating that as terminal gives values below 1.8, not 5."""
    overrides = ("model=dqn", "data=gym", "data.id=Endless-v0", "data.max_episode_steps=2", *QUICK, *LEARN)
    run(tmp_path, *overrides, "task.target_update_interval=40", f"task.num_steps_return={num_steps}")
    np.testing.assert_allclose(values(tmp_path, np.ones((1, 1), np.float32)), 1 / (1 - GAMMA), atol=0.2)


@pytest.mark.parametrize("stage", ["evaluation", "film"])
def test_a_long_evaluation_ends_on_sigterm(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train: Callable[..., Outcome]
) -> None:
    """Its episodes would take hours."""
    num_steps = 0

    def step(self: Any, action: Any) -> Any:
        nonlocal num_steps
        num_steps += 1
        if num_steps == 100:
            os.kill(os.getpid(), signal.SIGTERM)
        assert num_steps < 1000, "the signal is ignored"
        return np.ones(1, np.float32), 1.0, False, False, {}

    monkeypatch.setattr(made.Endless, "step", step)
    monkeypatch.setattr("dlzoo.training.interruption.PATIENCE", 0.0)
    words = ("model=dqn", "data=gym", "data.max_episode_steps=200000", "data.steps_per_epoch=20", "logger=none")
    shown = ("data.id=Endless-v0", "callbacks=checkpoint")
    if stage == "film":
        shown = ("data.id=Slow-v0", "callbacks=[checkpoint,agents]", "trainer.limit_val_batches=0")
    done = train(*words, *shown, f"hydra.run.dir={tmp_path / 'run'}")
    assert (done.code, "stopped by SIGTERM" in done.err) == (143, True), done.err


def test_dqn_balances_a_pole(tmp_path: Path) -> None:
    overrides = ("experiment=dqn_cartpole", "net.hidden=[64,64]", "data.steps_per_epoch=1500", "data.val_episodes=10")
    results = run(tmp_path, *overrides, "task.train_freq=64", "task.epsilon_steps=2000", "trainer.max_epochs=4")
    assert results["metrics"]["test/return"] > 90  # at random: 22


# Equations by hand

SPEC = EnvSpec("CartPole-v1", (4,), Actions(("0", "1", "2")))


def agent(**options: Any) -> DQN:
    torch.manual_seed(0)
    task = DQN(QNetwork(SPEC, hidden=[8]), SPEC, buffer_size=64, batch_size=4, **options)
    with torch.no_grad():  # else both networks would say the same
        for p in task.target_net.parameters():
            p.add_(torch.randn_like(p))
    task.buffer = task.make_buffer()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 50, 4)).astype(np.float32)
    task.buffer.add(Rows(x[0], rng.integers(3, size=50), rng.normal(size=50), rng.choice([0, 0.9], 50), x[1]))
    return task


@pytest.mark.parametrize("double", [False, True])
def test_targets_match_their_equation(double: bool) -> None:
    task = agent(double=double)
    assert task.buffer is not None
    sample = task.buffer.sample(40, np.random.default_rng(1))
    ours, theirs = task.net(sample.next_observation), task.target_net(sample.next_observation)
    expected = [
        float(sample.reward[i] + sample.discount[i] * theirs[i, int((ours if double else theirs)[i].argmax())])
        for i in range(40)
    ]
    assert (ours.argmax(1) != theirs.argmax(1)).any()
    np.testing.assert_allclose(task.bootstrapped(sample), expected, rtol=1e-5)


def trainer_of(task: DQN, rate: float) -> Any:
    """What an update needs of a trainer."""
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.strategy.connect(task)
    trainer.strategy.optimizers = [torch.optim.SGD(task.net.parameters(), lr=rate)]
    return trainer


@pytest.mark.parametrize(("loss", "slope"), [("mse", lambda e: 2 * e), ("huber", lambda e: e.clamp(-1, 1))])
@pytest.mark.parametrize("clip", [None, 0.01])
def test_an_update_matches_its_equation(loss: Any, slope: Any, clip: float | None) -> None:
    """One step of SGD, with the gradient of the weighted loss written out."""
    task, rate = agent(loss=loss), 0.1
    task.clip = None if clip is None else (clip, "norm")
    x, weight = torch.randn(4, 4), torch.tensor([1.0, 0.5, 0.25, 0.0])
    action, target = torch.tensor([0, 2, 1, 1]), torch.tensor([0.1, 5.0, -3.0, 1.0])
    before = [p.detach().clone() for p in task.net.parameters()]
    chosen = task.net(x)[torch.arange(4), action]
    error = (chosen - target).detach()
    gradients = torch.autograd.grad((weight * slope(error) * chosen).mean(), list(task.net.parameters()))
    norm = torch.cat([g.flatten() for g in gradients]).norm()
    factor = 1.0 if clip is None else clip / float(norm)
    task._trainer = trainer_of(task, rate)
    task.update(Minibatch(x, action, target, weight, np.arange(4)))
    for p, old, g in zip(task.net.parameters(), before, gradients, strict=True):
        torch.testing.assert_close(p.detach(), old - rate * factor * g, rtol=1e-4, atol=1e-6)


def test_hard_and_soft_target_updates() -> None:
    for tau in (1.0, 0.25):
        task = agent(tau=tau)
        old = [p.clone() for p in task.target_net.parameters()]
        task.synchronize()
        for before, after, p in zip(old, task.target_net.parameters(), task.net.parameters(), strict=True):
            torch.testing.assert_close(after, before + tau * (p - before).detach())
    assert all(not p.requires_grad for p in task.target_net.parameters())


def test_update_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    task = agent(learning_starts=10, train_freq=4, gradient_steps=3, target_update_interval=6)
    calls: list[tuple[str, int]] = []
    monkeypatch.setattr(task, "update", lambda lesson: calls.append(("update", task.num_steps)))
    monkeypatch.setattr(task, "synchronize", lambda: calls.append(("target", task.num_steps)))
    for step in range(1, 21):
        task.num_steps = step
        task.learn()
    assert [step for what, step in calls if what == "update"] == [10] * 3 + [14] * 3 + [18] * 3
    assert [step for what, step in calls if what == "target"] == [10, 18]
    assert calls.index(("target", 18)) < calls.index(("update", 18))
    calls.clear()
    for task.num_steps in (31, 32):  # a step of eight environments and more is worth three rounds of four
        task.learn()
    assert calls == [("target", 31), *[("update", 31)] * 9]


def test_epsilon_is_annealed_and_sets_the_rate_of_random_actions() -> None:
    task = agent(epsilon_start=0.9, epsilon_end=0.1, epsilon_steps=100)
    found = []
    for task.num_steps in (0, 50, 100, 1000):
        found.append(task.epsilon)
    assert found == pytest.approx([0.9, 0.5, 0.1, 0.1])
    task.num_steps = 50
    x = np.tile(np.random.default_rng(0).normal(size=4).astype(np.float32), (6000, 1))
    best = int(task.greedy(x[:1])[0])
    shares = np.bincount(task.act(x), minlength=3) / 6000
    assert shares[best] == pytest.approx(0.5 + 0.5 / 3, abs=0.03)
    assert np.delete(shares, best) == pytest.approx([0.5 / 3] * 2, abs=0.03)


# Whole runs

VARIANTS = {
    "dqn": ("model=dqn", "data=cartpole", *QUICK),
    "all": (
        "model=dqn", "data=cartpole", *QUICK, "data.num_envs=2", "task.double=true", "net.dueling=true",
        "task.num_steps_return=3", "task.prioritized=true", "task.buffer_size=700", "scheduler=step",
        "scheduler.every=1",
    ),
    "q_table": ("model=q_table", "data=frozen_lake"),
    "random": ("model=random", "data=cartpole"),
}  # fmt: skip


def state(folder: Path) -> dict[str, Any]:
    """Everything that a last checkpoint holds of an agent: weights, optimizer, counters, random numbers, buffer."""
    content = checkpoint_files.read(folder / "checkpoints" / "last.ckpt")
    arrays = beside.place(folder / "checkpoints" / "last.ckpt", content)
    buffer = dict(np.load(arrays)) if arrays.exists() else {}
    optimizer = content["optimizer_states"]
    return {"weights": content["state_dict"], "optimizer": optimizer, "play": content["play"], "buffer": buffer}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_resumed_run_equals_an_uninterrupted_one(variant: str, train: Train, tmp_path: Path) -> None:
    overrides = (*VARIANTS[variant], *PLAIN, *SMALL)
    folders = [tmp_path / "whole", tmp_path / "parts"]
    assert train(*overrides, "trainer.max_epochs=4", f"hydra.run.dir={folders[0]}").code == 0
    assert train(*overrides, "trainer.max_epochs=2", f"hydra.run.dir={folders[1]}").code == 0
    half = state(folders[1])
    done = train(f"ckpt={folders[1] / 'checkpoints' / 'last.ckpt'}", "trainer.max_epochs=4")
    assert done.code == 0, done.err
    assert done.err == ""
    whole, parts = state(folders[0]), state(folders[1])
    assert whole["play"]["num_steps"] in (2000, 2001)  # with two environments, the last step may be one of two
    assert half["play"] != parts["play"]
    assert whole["play"] == parts["play"]
    torch.testing.assert_close(whole["weights"], parts["weights"], rtol=0, atol=0)
    torch.testing.assert_close(whole["optimizer"], parts["optimizer"], rtol=0, atol=0)
    assert {*whole["buffer"]} == {*parts["buffer"]}
    assert bool(whole["buffer"]) == ("dqn" in " ".join(overrides))
    for name, array in whole["buffer"].items():
        assert np.array_equal(array, parts["buffer"][name]), name


def test_equal_seeds_repeat_for_any_block_size(tmp_path: Path) -> None:
    found = []
    for overrides in ((), ("data.batch_size=130",), ("seed=1",)):
        folder = tmp_path / str(len(found))
        run(folder, *VARIANTS["dqn"], "trainer.max_epochs=2", *overrides)
        found.append(state(folder)["weights"])
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    assert not torch.equal(found[0]["net.output.weight"], found[2]["net.output.weight"])


def test_a_missing_replay_buffer_is_reported_or_starts_empty(train: Train, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert train(*VARIANTS["dqn"], *PLAIN, *SMALL, "trainer.max_epochs=1", f"hydra.run.dir={folder}").code == 0
    ckpt = folder / "checkpoints" / "last.ckpt"
    beside.place(ckpt, checkpoint_files.read(ckpt)).unlink()
    done = train(f"ckpt={ckpt}", "trainer.max_epochs=2")
    assert done.code == 2
    assert "replay buffer stored with the checkpoint is missing" in done.err
    assert "task.keep_replay=false" in done.err
    done = train(f"ckpt={ckpt}", "trainer.max_epochs=2", "task.keep_replay=false")
    assert done.code == 0, done.err
    assert not beside.place(ckpt, checkpoint_files.read(ckpt)).exists()
    play = state(folder)["play"]
    assert (play["num_steps"], play["num_updates"]) == (1000, (500 - 100) // 4 + 1 + (500 - 100) // 4 + 1)


def test_steps_are_environment_steps_everywhere(train: Train, tmp_path: Path) -> None:
    overrides = ("callbacks=[history,checkpoint]", "trainer=cpu", *SMALL, "trainer.max_epochs=2", "data.num_envs=2")
    done = train("model=dqn", "data=cartpole", *QUICK, *overrides, f"hydra.run.dir={tmp_path}")
    assert done.code == 0, done.err
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["steps"] in (1000, 1001)  # the last step may be one of two
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert events.Scalars("val/return")[-1].step == results["steps"]
    wanted = "return length epsilon buffer td_error q loss_step steps_per_second updates"
    assert {f"train/{name}" for name in wanted.split()} <= set(events.Tags()["scalars"])
    assert events.Scalars("train/epsilon")[-1].value == pytest.approx(0.05)


def test_max_steps_counts_environment_steps(tmp_path: Path) -> None:
    results = run(tmp_path, *VARIANTS["random"], "trainer.max_epochs=9", "trainer.max_steps=1234")
    assert results["steps"] == 1234


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-true"])
def test_images_are_learned_from(precision: str, tmp_path: Path) -> None:
    overrides = (
        f"trainer.precision={precision}",
        "data.id=Screen-v0",
        "data.max_episode_steps=20",
        "data.grey=true",
        "data.frame_stack=2",
        "data.num_envs=2",
    )
    run(tmp_path, "model=dqn", "data=gym", *overrides, "data.resize=[36,40]", *QUICK, "trainer.max_epochs=1")
    buffer = state(tmp_path)["buffer"]
    assert buffer["observation"].dtype == np.uint8
    assert buffer["observation"].shape == (500, 2, 36, 40)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("trainer.accumulate_grad_batches=2",), "task.batch_size"),
        (("optimizer=lbfgs",), "optimizer=lbfgs"),
        (("task.tau=2.0",), r"task.tau=2.0"),
        (("task.buffer_size=0",), r"task.buffer_size=0"),
        (("task.epsilon_end=-0.1",), r"task.epsilon_end=-0.1"),
        (("data.id=FrozenLake-v1",), "q_table"),
    ],
)
def test_mistakes_are_reported(overrides: tuple[str, ...], said: str, train: Train) -> None:
    done = train("model=dqn", "data=gym", "data.id=CartPole-v1", *PLAIN, *overrides)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1
