"""DQN on CartPole, dlzoo against Stable-Baselines3: ``python scripts/bench_agents.py [repeats=5] [seeds=3]``

    repeats=5   pairs of 2,048 environment steps after one warm-up; the median is reported
    seeds=3     runs of 50,000 steps of the reference, to measure its return; 0 skips them

Needs `pip install stable-baselines3`. Both use the network and hyperparameters of experiment=dqn_cartpole. Eight
environments are measured with as many updates per transition as one environment, and with an eighth of them, which is
how the reference interprets these hyperparameters. Ours is `run` with TensorBoard and all default callbacks, the
reference its `DQN` without a logger. Each runs in a separate process, and they alternate, so a busy machine slows both;
the ratio of CPU time excludes waiting for a core. The table and a breakdown of a step's time are written to
results/bench_agents.md, which RESULTS.md includes.
"""

from __future__ import annotations

import contextlib
import functools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast
from unittest import mock

from omegaconf import DictConfig

from dlzoo.commands import cli
from dlzoo.config import compose as config
from dlzoo.errors import UserError
from dlzoo.utils import files as paths
from scripts.bench import ROOT, worker
from scripts.bench_report import environment_info

STEPS = 2048
EXPERIMENT = ["experiment=dqn_cartpole", "trainer=cpu"]
TIMED = [f"data.steps_per_epoch={STEPS}", f"data.batch_size={STEPS // 4}", "data.val_episodes=1"]
TIMED += ["data.test_episodes=1", "callbacks.agents.film=false", "task.epsilon_steps=1", "task.learning_starts=256"]

SETTINGS = ((1, 256), (8, 256), (8, 2048))
"""Number of environments, and transitions between rounds of 128 updates."""

Timing = tuple[float, float]  # seconds, and CPU seconds


@dataclass(frozen=True, kw_only=True)
class Options:
    repeats: int = 5
    seeds: int = 3


def main(argv: Sequence[str]) -> None:
    """Measure, print, and write the table."""
    options, _ = cli.parse(Options, argv)
    if options.repeats < 1 or options.seeds < 0:
        raise UserError("repeats must be at least 1, seeds at least 0")
    with contextlib.suppress(ImportError):
        import stable_baselines3
    if "stable_baselines3" not in sys.modules:
        raise UserError("the reference is not installed: pip install stable-baselines3")
    print(f"against Stable-Baselines3 {stable_baselines3.__version__}", flush=True)
    timings = {setting: alternate(*setting, options.repeats) for setting in SETTINGS}
    micros_by_part = breakdown()
    returns = [reference_return(seed) for seed in range(options.seeds)]
    text = section(timings, micros_by_part, returns, stable_baselines3.__version__)
    print(text)
    paths.write(ROOT / "results" / "bench_agents.md", text.encode())


# ------------------------------------------------------------------ the two sides


def alternate(num_envs: int, train_freq: int, repeats: int) -> tuple[list[Timing], list[Timing]]:
    """Timings of ours and of the reference, alternating."""
    overrides = [f"data.num_envs={num_envs}", f"task.train_freq={train_freq}", f"trainer.max_epochs={repeats + 1}"]
    cfg = config.compose([*EXPERIMENT, *TIMED, *overrides])
    timings: tuple[list[Timing], list[Timing]] = ([], [])
    with worker(run_ours, cfg) as ours, worker(run_reference, cfg) as reference:
        for _ in range(repeats + 1):
            for side, side_timings in zip((ours, reference), timings, strict=True):
                side.send("go")
                side_timings.append(side.recv())
    return timings[0][1:], timings[1][1:]


def run_ours(turns: Connection, cfg: DictConfig) -> None:
    """A full dlzoo run that waits for its turn before each epoch."""
    from lightning.pytorch import Callback

    from dlzoo.training import run
    from dlzoo.training import trainer as training_trainer

    class Clock(Callback):
        def on_train_epoch_start(self, *_: Any) -> None:
            turns.recv()
            self.started = now()

        def on_validation_start(self, *_: Any) -> None:
            turns.send(since(self.started))

    with (
        tempfile.TemporaryDirectory() as folder,
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        mock.patch.object(
            training_trainer, "build_trainer", functools.partial(with_callback, training_trainer.build_trainer, Clock())
        ),
    ):
        run.run(cfg, Path(folder), [])


def with_callback(build_trainer: Callable[..., Any], callback: Any, *args: Any) -> Any:
    trainer = build_trainer(*args)
    trainer.callbacks.insert(0, callback)
    return trainer


def run_reference(turns: Connection, cfg: DictConfig) -> None:
    """Stable-Baselines3, which trains for as many steps per turn."""
    model = reference(cfg, total=None)
    with contextlib.suppress(EOFError):  # the main process has closed the connection
        while turns.recv():
            started = now()
            model.learn(STEPS, reset_num_timesteps=False)
            turns.send(since(started))


def reference(cfg: DictConfig, total: int | None) -> Any:
    """Its DQN with the hyperparameters of a config; exploration is a fraction of ``total`` steps."""
    from stable_baselines3 import DQN
    from stable_baselines3.common.env_util import make_vec_env

    task, num_envs = cfg.task, cfg.data.get("num_envs", 1)
    return DQN(
        "MlpPolicy",
        make_vec_env(cfg.data.id, n_envs=num_envs, seed=cfg.seed),
        learning_rate=cfg.optimizer.lr,
        batch_size=task.batch_size,
        buffer_size=task.buffer_size,
        learning_starts=task.learning_starts,
        gamma=task.get("gamma", 0.99),
        target_update_interval=task.target_update_interval,
        train_freq=task.train_freq // num_envs,  # it counts steps of all environments as one
        gradient_steps=task.gradient_steps,
        exploration_fraction=task.epsilon_steps / total if total else 1e-9,
        exploration_final_eps=task.epsilon_end,
        max_grad_norm=cfg.trainer.gradient_clip_val,
        policy_kwargs={"net_arch": list(cfg.net.hidden)},
        seed=cfg.seed,
        device="cpu",
    )


def reference_return(seed: int) -> tuple[float, float]:
    """Mean return of the reference's final agent over 100 episodes, and its training time in seconds."""
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.evaluation import evaluate_policy

    cfg = config.compose([*EXPERIMENT, f"seed={seed}"])
    steps = cfg.trainer.max_epochs * cfg.data.get("steps_per_epoch", 5000)
    model, started = reference(cfg, total=steps), time.perf_counter()
    model.learn(steps)
    seconds = time.perf_counter() - started
    environments = make_vec_env(cfg.data.id, n_envs=10, seed=1000 + seed)
    returns, _ = evaluate_policy(model, environments, n_eval_episodes=100, return_episode_rewards=True)
    mean = statistics.fmean(cast(list[float], returns))
    print(f"reference, seed {seed}: {mean:.1f} in {seconds:.0f} s", flush=True)
    return mean, seconds


def now() -> Timing:
    return time.perf_counter(), time.process_time()


def since(started: Timing) -> Timing:
    return time.perf_counter() - started[0], time.process_time() - started[1]


# ------------------------------------------------------------------ where a step's time goes


class TimeBreakdown:
    """Exclusive seconds by name, without what is timed inside."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.inner = [0.0]

    def timed(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*args: Any, **options: Any) -> Any:
            self.inner.append(0.0)
            started = time.perf_counter()
            try:
                return method(*args, **options)
            finally:
                whole = time.perf_counter() - started
                self.seconds[name] = self.seconds.get(name, 0.0) + whole - self.inner.pop()
                self.inner[-1] += whole

        return call


def breakdown() -> dict[str, float]:
    """Microseconds per environment step by part, with one environment."""
    import torch
    from gymnasium.vector import SyncVectorEnv
    from lightning.pytorch import Callback

    from dlzoo.rl import replay_buffer as replay
    from dlzoo.tasks.rl.dqn import DQN
    from dlzoo.training import run
    from dlzoo.training import trainer as training_trainer

    breakdown_, whole = TimeBreakdown(), [0.0]

    class Clock(Callback):
        def on_train_epoch_start(self, trainer: Any, *_: Any) -> None:
            if trainer.current_epoch == 1:  # the first epoch is a warm-up
                breakdown_.seconds.clear()
            whole[0] = time.perf_counter()

        def on_validation_start(self, trainer: Any, *_: Any) -> None:
            if trainer.current_epoch == 1:
                breakdown_.seconds["Lightning, logging and the rest"] = (
                    time.perf_counter() - whole[0] - sum(breakdown_.seconds.values())
                )
                seconds_by_part.update(breakdown_.seconds)

    seconds_by_part: dict[str, float] = {}
    places: list[tuple[Any, str, str]] = [
        (SyncVectorEnv, "step", "environment"),
        (DQN, "greedy", "net: acting"),
        (replay.ReplayBuffer, "add", "replay buffer"),
        (replay.ReplayBuffer, "sample", "replay buffer"),
        (DQN, "bootstrapped", "net: targets"),
        (DQN, "update", "net: forward, loss and the loop around"),
        (torch.Tensor, "backward", "net: backward"),
        (torch.nn.utils, "clip_grad_norm_", "clipping"),
        (torch.optim.Adam, "step", "optimizer"),
    ]
    cfg = config.compose([*EXPERIMENT, *TIMED, "trainer.max_epochs=2"])
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        clocked = functools.partial(with_callback, training_trainer.build_trainer, Clock())
        stack.enter_context(mock.patch.object(training_trainer, "build_trainer", clocked))
        for owner, method, name in places:
            stack.enter_context(mock.patch.object(owner, method, breakdown_.timed(name, getattr(owner, method))))
        run.run(cfg, Path(folder), [])
    return {name: 1e6 * seconds / STEPS for name, seconds in seconds_by_part.items()}


# ------------------------------------------------------------------ the table


def section(
    timings: dict[tuple[int, int], tuple[list[Timing], list[Timing]]],
    micros_by_part: dict[str, float],
    returns: Sequence[tuple[float, float]],
    version: str,
) -> str:
    """Markdown for RESULTS.md."""
    environment = environment_info()
    lines = [
        "## DQN against Stable-Baselines3",
        "",
        "`python scripts/bench_agents.py`: CartPole-v1, two hidden layers of 256, batches of 64, on both sides;",
        f"Stable-Baselines3 {version}, {environment['threads']} thread(s), load {environment['machine']['load']:.1f} "
        f"on {environment['machine']['cores']} cores.",
        "",
        "| environments | updates per transition | ours, steps/s | reference, steps/s | ratio | ratio of CPU time |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for (num_envs, train_freq), (ours, theirs) in timings.items():
        rates = (STEPS / statistics.median(wall for wall, _ in side) for side in (ours, theirs))
        pairs = list(zip(ours, theirs, strict=True))
        ratios = (statistics.median(b[i] / a[i] for a, b in pairs) for i in (0, 1))
        cells = [
            str(num_envs),
            f"{128 / train_freq:g}",
            *(f"{rate:,.0f}" for rate in rates),
            *(f"{ratio:.2f}" for ratio in ratios),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if returns:
        means, seconds = zip(*returns, strict=True)
        spread = f" ± {statistics.stdev(means):.1f}" if len(means) > 1 else ""
        lines += [
            "",
            f"After 50,000 steps, the reference's final agent reaches {statistics.fmean(means):.1f}{spread} over 100",
            f"episodes ({len(means)} seeds, {statistics.fmean(seconds):.0f} s each); ours: `dqn_cartpole` above.",
        ]
    total = sum(micros_by_part.values())
    lines += ["", f"Breakdown of the {total:.0f} µs of a step, with one environment:", "", "| part | µs | fraction |"]
    lines += ["| --- | --- | --- |"]
    for name, micros in sorted(micros_by_part.items(), key=lambda item: -item[1]):
        lines.append(f"| {name} | {micros:.0f} | {micros / total:.0%} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    cli.execute(main, __doc__)
