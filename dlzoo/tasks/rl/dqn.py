"""DQN: a Q-network trained on replayed transitions towards a target network's values.

V. Mnih et al., "Human-level control through deep reinforcement learning", Nature 518, 2015. Options: the double
estimator (H. van Hasselt, A. Guez, D. Silver, AAAI 2016), n-step returns (R. Sutton 1988; Hessel et al.,
"Rainbow", 2018), prioritised replay (Schaul et al., ICLR 2016), soft target updates (Lillicrap et al.,
2016). Dueling networks are an option of the net.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, Unpack

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT

from dlzoo.errors import UserError, at_least, between
from dlzoo.nets.base import Net
from dlzoo.rl.environments import Environments, Transitions
from dlzoo.rl.replay_buffer import MultiStep, PrioritizedBuffer, ReplayBuffer, Rows, Sample
from dlzoo.specs.environments import EnvSpec
from dlzoo.tasks.base import SIDECAR_ARRAYS
from dlzoo.tasks.rl.epsilon_greedy import EpsilonGreedyAgent, ExplorationOptions

MAX_SAMPLE_BYTES = 32 * 2**20
"""Largest size of transitions that are sampled at once."""


class Minibatch(NamedTuple):
    """The minibatch of a gradient step."""

    observation: Tensor  # (B, ...) as net input
    action: Tensor  # (B,) int64
    target: Tensor  # (B,)
    weight: Tensor | None  # (B,)
    rows: np.ndarray  # (B,) buffer indices


class DQN(EpsilonGreedyAgent):
    """For Q-networks. Steps are environment steps, summed over all environments.

    Args:
        batch_size: transitions per gradient step.
        buffer_size: capacity of the replay buffer, in transitions.
        learning_starts: steps before the first update.
        train_freq: steps between updates.
        gradient_steps: gradient steps per update.
        target_update_interval: steps between updates of the target network.
        tau: soft update coefficient of the target network; 1 copies the weights.
        loss: loss of the temporal difference; Huber is linear beyond 1, as in Mnih et al.'s clipping.
        double: double DQN: the online network chooses the next action, the target network evaluates it.
        num_steps_return: n of n-step returns.
        prioritized: prioritized replay: sample transitions with a large temporal difference more often.
        alpha: priority exponent (0: uniform sampling).
        beta_start: initial importance-sampling exponent; annealed to 1 over ``beta_steps`` steps.
        beta_steps: environment steps over which that exponent is annealed.
        keep_replay: store the buffer alongside each checkpoint, so that a run can be resumed exactly.
    """

    def __init__(
        self,
        net: Net,
        spec: EnvSpec,
        *,
        batch_size: int = 32,
        buffer_size: int = 100_000,
        learning_starts: int = 1000,
        train_freq: int = 4,
        gradient_steps: int = 1,
        target_update_interval: int = 1000,
        tau: float = 1.0,
        loss: Literal["huber", "mse"] = "huber",
        double: bool = False,
        num_steps_return: int = 1,
        prioritized: bool = False,
        alpha: float = 0.6,
        beta_start: float = 0.4,
        beta_steps: int = 100_000,
        keep_replay: bool = True,
        **options: Unpack[ExplorationOptions],
    ) -> None:
        super().__init__(net, spec, **options)
        at_least(
            1,
            "task",
            batch_size=batch_size,
            buffer_size=buffer_size,
            learning_starts=learning_starts,
        )
        at_least(1, "task", train_freq=train_freq, target_update_interval=target_update_interval, beta_steps=beta_steps)
        at_least(1, "task", num_steps_return=num_steps_return)
        between(1, 10_000, "task", gradient_steps=gradient_steps)  # no signal interrupts an update
        between(0, 1, "task", tau=tau, alpha=alpha, beta_start=beta_start)
        self.batch_size = batch_size
        self.buffer_size = buffer_size
        self.learning_starts = learning_starts
        self.train_freq = train_freq
        self.gradient_steps = gradient_steps
        self.target_update_interval = target_update_interval
        self.tau = tau
        self.loss = F.huber_loss if loss == "huber" else F.mse_loss
        self.double_q = double
        self.num_steps_return = num_steps_return
        self.prioritized = prioritized
        self.alpha = alpha
        self.beta_start = beta_start
        self.beta_steps = beta_steps
        self.keep_replay = keep_replay
        self.target_net = frozen_copy(self.net)
        self.num_updates = 0
        self.learnt_at = 0
        """The step up to which updates are done; 0 before the first."""
        self.synchronized_at = 0
        """The step of the last target network update."""
        self.buffer: ReplayBuffer | None = None
        self.returns: MultiStep | None = None
        self._latest: tuple[Tensor, Tensor] | None = None

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        replay = (self.prioritized, "task.prioritized=true")
        return super().option_uses() | dict.fromkeys(("alpha", "beta_start", "beta_steps"), replay)

    def param_groups(self) -> ParamsT:
        return self.net.parameters()

    # ------------------------------------------------------------------ experience

    def make_buffer(self) -> ReplayBuffer:
        """An empty replay buffer. Images are stored as bytes."""
        spec = self.spec
        dtype = np.uint8 if spec.is_image else np.float32
        if self.prioritized:
            return PrioritizedBuffer(self.buffer_size, spec.shape, dtype, alpha=self.alpha)
        return ReplayBuffer(self.buffer_size, spec.shape, dtype)

    def begin(self, environments: Environments) -> None:
        if self.buffer is None:
            self.buffer = self.make_buffer()
        self.returns = MultiStep(environments.num, self.num_steps_return, self.gamma)

    def observe(self, transitions: Transitions) -> None:
        assert self.returns is not None
        self.store(self.returns.push(transitions))

    def store(self, rows: Rows) -> None:
        assert self.buffer is not None
        self.buffer.add(rows)

    def end(self) -> None:
        assert self.returns is not None
        if (rows := self.returns.flush()) is not None:
            self.store(rows)

    # ------------------------------------------------------------------ learning

    def learn(self) -> None:
        if self.num_steps < self.learning_starts:
            return
        if not self.learnt_at:
            rounds, self.learnt_at = 1, self.num_steps
        else:  # a step of several environments may trigger several updates
            rounds = (self.num_steps - self.learnt_at) // self.train_freq
            self.learnt_at += rounds * self.train_freq
        if rounds == 0:
            return
        if self.num_steps - self.synchronized_at >= self.target_update_interval:
            self.synchronized_at = self.num_steps
            self.synchronize()
        for minibatch in self.minibatches(rounds * self.gradient_steps):
            self.update(minibatch)

    @torch.no_grad()
    def synchronize(self) -> None:
        """Update the target network."""
        for target, online in zip(self.target_net.parameters(), self.net.parameters(), strict=True):
            target.lerp_(online, self.tau)

    def minibatches(self, num_updates: int) -> Iterator[Minibatch]:
        """One minibatch for each gradient step.

        If targets depend only on the target network and priorities are fixed, all are sampled and evaluated at once:
        one gather and one large matrix product instead of many small ones.
        """
        buffer, num = self.buffer, self.batch_size
        assert buffer is not None
        if isinstance(buffer, PrioritizedBuffer):
            buffer.beta = self.beta_start + (1 - self.beta_start) * min(self.num_steps / self.beta_steps, 1.0)
        chunk_size = (
            1 if self.double_q or self.prioritized else max(1, MAX_SAMPLE_BYTES // (num * buffer.bytes_per_row))
        )
        for start in range(0, num_updates, chunk_size):
            count = min(chunk_size, num_updates - start)
            sample = buffer.sample(count * num, self.rng)
            x, target = self.as_input(sample.observation), self.bootstrapped(sample)
            action, weight = sample.action.to(self.device), sample.weight
            for rows in (slice(i * num, (i + 1) * num) for i in range(count)):
                row_weights = None if weight is None else weight[rows].to(self.device)
                yield Minibatch(x[rows], action[rows], target[rows], row_weights, sample.rows[rows])

    @torch.no_grad()
    def bootstrapped(self, sample: Sample) -> Tensor:
        """reward + discount * value of the next observation (n,); the discount is 0 where the episode terminated."""
        next_observation = self.standardize(self.as_input(sample.next_observation))
        values = self.target_net(next_observation)
        if self.double_q:
            value = values.gather(1, self.net(next_observation).argmax(1, keepdim=True)).squeeze(1)
        else:
            value = values.amax(1)
        return sample.reward.to(self.device) + sample.discount.to(self.device) * value

    def update(self, minibatch: Minibatch) -> None:
        """One gradient step."""
        values = self.net(self.standardize(minibatch.observation)).gather(1, minibatch.action[:, None]).squeeze(1)
        if minibatch.weight is None:
            loss = self.loss(values, minibatch.target)
        else:
            loss = (minibatch.weight * self.loss(values, minibatch.target, reduction="none")).mean()
        self.trainer.optimizers[0].zero_grad()
        self.backward_part(loss)
        self.step_optimizer(advance_schedules=False)
        self.num_updates += 1
        self.add_mean("loss", loss, len(values))
        self._latest = (values.detach(), minibatch.target)
        if isinstance(self.buffer, PrioritizedBuffer):
            self.buffer.update(minibatch.rows, (values.detach() - minibatch.target).cpu().numpy())

    def extra_metrics(self) -> dict[str, float]:
        metrics = super().extra_metrics() | {"updates": self.num_updates}
        if self.buffer is not None:
            metrics["buffer"] = self.buffer.size
        if self._latest is not None:
            values, target = self._latest
            metrics |= {"q": float(values.mean()), "td_error": float((values - target).abs().mean())}
            metrics["loss_step"] = float(self.loss(values, target))
        return metrics

    # ------------------------------------------------------------------ checkpointing

    def counters(self) -> dict[str, int]:
        names = ("num_updates", "learnt_at", "synchronized_at")
        return super().counters() | {name: getattr(self, name) for name in names}

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        super().on_save_checkpoint(checkpoint)
        if self.keep_replay and self.buffer is not None:
            checkpoint[SIDECAR_ARRAYS] = self.buffer.state() | {"num_steps": np.array(self.num_steps)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.buffer = self.make_buffer()
        arrays = checkpoint.get(SIDECAR_ARRAYS)
        if not self.keep_replay:
            self.learning_starts += self.num_steps  # the buffer is refilled before learning resumes
            self.learnt_at = 0
            return
        if arrays is None or int(arrays["num_steps"]) != self.num_steps:
            what = "is missing" if arrays is None else f"is that of step {arrays['num_steps']}, not {self.num_steps}"
            raise UserError(
                f"the replay buffer stored with the checkpoint {what}; resume from last.ckpt, or start with an empty "
                "buffer: task.keep_replay=false"
            )
        action, num_actions = arrays["action"], self.num_actions
        if not ((action >= 0) & (action < num_actions)).all():
            raise UserError(
                f"the replay buffer stored with the checkpoint holds actions other than 0 to {num_actions - 1}"
            )
        self.buffer.restore(arrays)


def frozen_copy(net: nn.Module) -> nn.Module:
    """A frozen copy."""
    return copy.deepcopy(net).requires_grad_(False)
