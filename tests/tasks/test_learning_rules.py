"""Learning rules without a loss, step by step against hand calculations: Rosenblatt, Watkins, and exploration."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.profilers import PassThroughProfiler
from torch import Tensor

from dlzoo.config.introspection import arguments
from dlzoo.errors import UserError
from dlzoo.nets.perceptron import Perceptron
from dlzoo.nets.q_network import QNetwork
from dlzoo.nets.q_table import QTable
from dlzoo.optim.lr_schedules import UNLIMITED, Plan
from dlzoo.rl.environments import Transitions
from dlzoo.specs.environments import EnvSpec, StatesSpec
from dlzoo.specs.inputs import Column, TableSpec
from dlzoo.specs.targets import Actions, Classes
from dlzoo.tasks.perceptron import PerceptronRule
from dlzoo.tasks.rl.dqn import DQN
from dlzoo.tasks.rl.q_learning import QLearning


class Plainly:
    """What a step needs of a strategy."""

    root_device = torch.device("cpu")

    def optimizer_step(self, optimizer: Any, closure: Any) -> None:
        optimizer.step()


# Rosenblatt


def perceptron(num_classes: int, monkeypatch: pytest.MonkeyPatch, mean: float = 0.0) -> tuple[Any, dict[str, Any]]:
    """A task that learns at the rate 0.5, and what it tracks."""
    classes = Classes(tuple("abc"[:num_classes]))
    spec = TableSpec((Column("x"), Column("y")), classes, mean=(mean, mean), std=(1.0, 1.0))
    task = PerceptronRule(Perceptron(spec), spec)
    optimizer, tracked = torch.optim.SGD(task.net.parameters(), lr=0.5), dict[str, Any]()
    monkeypatch.setattr(task, "count_steps", lambda num: None)
    task._trainer = trainer_with(optimizers=[optimizer], strategy=Plainly(), is_last_batch=False)
    monkeypatch.setattr(task, "log_step", lambda count, **means: tracked.update(means, count=count))
    return task, tracked


def test_one_unit_is_corrected_where_it_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """w <- w + rate * (target - output) * x. Nothing fires at first, so only the two rows of the second class count."""
    task, tracked = perceptron(2, monkeypatch)
    x = torch.tensor([[1.0, 2.0], [3.0, 5.0], [7.0, 7.0]])
    task.training_step((x, torch.tensor([1, 1, 0])), 0)
    assert task.net.linear.weight.tolist() == [[0.5 * 4, 0.5 * 7]]
    assert task.net.linear.bias.tolist() == [0.5 * 2]
    assert {name: float(value) for name, value in tracked.items()} == pytest.approx(
        {"loss": 2 / 3, "accuracy": 1 / 3, "count": 3}
    )
    task.training_step((x, torch.tensor([1, 1, 0])), 1)  # now all fire, the third wrongly
    assert task.net.linear.weight.tolist() == [[2 - 0.5 * 7, 3.5 - 0.5 * 7]]
    assert task.net.linear.bias.tolist() == [0.5]


def test_a_margin_also_corrects_what_is_narrowly_right(monkeypatch: pytest.MonkeyPatch) -> None:
    task, tracked = perceptron(2, monkeypatch)
    with torch.no_grad():
        task.net.linear.weight.copy_(torch.tensor([[1.0, 0.0]]))
    x = torch.tensor([[2.0, 0.0], [3.0, 0.0], [-2.0, 1.0], [-4.0, 0.0]])
    y = torch.tensor([1, 1, 0, 0])
    task.training_step((x, y), 0)
    assert task.net.linear.weight.tolist() == [[1.0, 0.0]], "all are right"
    task.margin = 3.0
    task.training_step((x, y), 1)
    assert task.net.linear.weight.tolist() == [[1.0 + 0.5 * (2 + 2), -0.5]], "3 is not closer to zero than the margin"
    assert task.net.linear.bias.tolist() == [0.0]
    assert float(tracked["accuracy"]) == 1.0


def test_units_decide_without_probabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    task, _ = perceptron(3, monkeypatch)
    with torch.no_grad():
        task.net.linear.bias.copy_(torch.tensor([-1.0, 0.1, 0.0]))
    assert task.predict(torch.zeros(2, 2)).tolist() == [[0.0, 1.0, 0.0]] * 2
    assert not task.predicted_target.classes.has_probabilities
    assert task.predict(torch.full((1, 2), float("nan"))).isnan().all()


def test_each_of_several_classes_has_a_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    task, tracked = perceptron(3, monkeypatch)
    task.training_step((torch.tensor([[1.0, 2.0], [4.0, 0.0]]), torch.tensor([2, 0])), 0)
    assert task.net.linear.weight.tolist() == [[2.0, 0.0], [0.0, 0.0], [0.5, 1.0]]
    assert task.net.linear.bias.tolist() == [0.5, 0.0, 0.5]
    assert (float(tracked["loss"]), float(tracked["accuracy"])) == (pytest.approx(1 / 3), 0.0)


def test_the_rule_uses_standardised_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    task, _ = perceptron(2, monkeypatch, mean=1.0)
    task.training_step((torch.tensor([[2.0, 5.0]]), torch.tensor([1])), 0)
    assert task.net.linear.weight.tolist() == [[0.5, 2.0]]


def test_manual_optimization_without_loss_options(monkeypatch: pytest.MonkeyPatch) -> None:
    task, _ = perceptron(2, monkeypatch)
    assert not task.automatic_optimization
    assert {*arguments(PerceptronRule)} == {"net", "spec", "margin", "optimizer", "scheduler"}, "what it would ignore"


def test_rows_are_weighted(monkeypatch: pytest.MonkeyPatch) -> None:
    task, _ = perceptron(2, monkeypatch)
    x, target = torch.tensor([[1.0, 2.0], [3.0, 5.0]]), torch.tensor([1, 1])
    task.training_step((x, target, torch.tensor([2.0, 0.0])), 0)
    assert task.net.linear.weight.tolist() == [[0.5 * 2, 0.5 * 4]]
    assert task.net.linear.bias.tolist() == [0.5 * 2]


def test_unit_targets_are_binary_or_one_hot(monkeypatch: pytest.MonkeyPatch) -> None:
    assert perceptron(2, monkeypatch)[0].unit_targets(torch.tensor([0, 1]), 1).tolist() == [[0], [1]]
    assert perceptron(3, monkeypatch)[0].unit_targets(torch.tensor([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]


# Watkins


def q_learning(**options: Any) -> QLearning:
    spec = StatesSpec("Corridor", 4, Actions(("left", "right")))
    return QLearning(QTable(spec), spec, **options)


def step(state: int, action: int, reward: float, following: int, terminated: bool = False) -> Transitions:
    truncated = False
    return Transitions(*(np.array([v]) for v in (0, state, action, reward, following, terminated, truncated)))


def test_a_value_moves_towards_the_reward_and_what_follows() -> None:
    """Q(s, a) <- Q(s, a) + rate * (reward + gamma * max Q(s', .) - Q(s, a))."""
    task = q_learning(gamma=0.5)
    task.begin(None)  # type: ignore[arg-type]
    task.rate = 0.25
    with torch.no_grad():
        task.net.table.copy_(torch.tensor([[1.0, 2.0], [8.0, 4.0], [0.0, 0.0], [0.0, 0.0]]))
    task.observe(step(0, 1, 3.0, 1))
    expected = 2 + 0.25 * (3 + 0.5 * 8 - 2)
    assert task.table.tolist() == [[1.0, expected], [8.0, 4.0], [0.0, 0.0], [0.0, 0.0]]
    task.observe(step(0, 0, 3.0, 1, terminated=True))
    assert task.table[0].tolist() == [1 + 0.25 * (3 - 1), expected], "nothing follows a terminal state"
    assert task._errors == [5.0, 2.0]
    assert task.greedy(np.array([0, 1])).tolist() == [1, 0]
    task.observe(step(1, 0, 0.0, 2))
    assert task._errors[2] == 8.0, "errors have no sign"


class Corridor:
    """From state 0 each action earns 1 and leads to 0 again."""

    def __init__(self) -> None:
        self.observations = np.array([0])
        self.finished = [(7.0, 3)]

    def step(self, actions: np.ndarray) -> Transitions:
        return step(0, int(actions[0]), 1.0, 0)


def test_a_block_of_steps_learns_at_the_rate_of_the_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one action: 0 + (1 + 0 - 0) / 4, then 1/4 + (1 + 1/8 - 1/4) / 4."""
    task = q_learning(gamma=0.5, epsilon_start=0.0, epsilon_end=0.0)
    optimizer = torch.optim.SGD(task.net.parameters(), lr=0.25)
    monkeypatch.setattr(task, "count_steps", lambda num: None)
    task._trainer = trainer_with(
        optimizers=[optimizer], max_steps=-1, is_last_batch=False, lr_scheduler_configs=[], num_training_batches=2
    )
    task.training_step((Corridor(), 2), 0)
    assert task.num_steps == task.num_asked == 2
    assert task.table[0].tolist() == [0.25 + 0.875 / 4, 0.0]
    assert task.train_means["td_error"].read() == (1 + 0.875) / 2
    task.training_step((Corridor(), 0), 1)
    assert task.train_means["td_error"].read() == (1 + 0.875) / 2, "no step, no error"
    assert task.train_means["return"].read() == 7
    task.training_step((Corridor(), 1), 1)
    assert task.train_means["td_error"].count == 3


def test_epsilon_is_annealed_linearly() -> None:
    task = q_learning(epsilon_start=0.9, epsilon_end=0.1, epsilon_steps=200)
    results = []
    for steps in (0, 50, 100, 200, 1000):
        task.num_steps = steps
        results.append(task.epsilon)
    assert results == pytest.approx([0.9, 0.7, 0.5, 0.1, 0.1])
    assert task.extra_metrics() == {"epsilon": pytest.approx(0.1)}
    assert (q_learning().epsilon, q_learning().gamma, q_learning().epsilon_steps) == (1.0, 0.99, 10_000)


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_the_fraction_of_random_actions_is_epsilon(epsilon: float) -> None:
    """A random action is the other one in half of the cases."""
    task = q_learning(epsilon_start=epsilon, epsilon_end=epsilon)
    with torch.no_grad():
        task.net.table[:, 1] = 1.0
    actions = np.concatenate([task.act(np.zeros(100, dtype=int)) for _ in range(100)])
    assert (actions == 0).mean() == pytest.approx(epsilon / 2, abs=0.02)
    assert {*actions.tolist()} <= {0, 1}
    if 0 < epsilon < 1:
        share = (task.act(np.zeros(1000, dtype=int)) == 0).mean()
        assert 0.3 * epsilon < share < 0.7 * epsilon, "each environment draws its own"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": 1.1}, r"task\.gamma=1\.1 must lie between 0 and 1"),
        ({"epsilon_start": -0.1}, r"task\.epsilon_start=-0\.1"),
        ({"epsilon_end": 2.0}, r"task\.epsilon_end=2\.0"),
        ({"epsilon_steps": 0}, r"task\.epsilon_steps=0"),
    ],
)
def test_options_that_are_not_probabilities(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        q_learning(**options)


def test_the_bounds_are_allowed() -> None:
    q_learning(gamma=1.0, epsilon_start=1.0, epsilon_end=0.0, epsilon_steps=1)
    q_learning(gamma=0.0, epsilon_start=0.0)


# Play


def trainer_with(**answers: Any) -> Any:
    common: dict[str, Any] = {
        "world_size": 1, "accumulate_grad_batches": 1, "precision": "32-true", "gradient_clip_algorithm": None,
        "gradient_clip_val": None, "log_every_n_steps": 1, "global_step": 0,
        "lr_scheduler_configs": [], "profiler": PassThroughProfiler(),
        "strategy": SimpleNamespace(root_device=torch.device("cpu")), "loggers": [],
        "num_training_batches": 7.0, "max_epochs": 3, "estimated_stepping_batches": None, "current_epoch": 0,
    }  # fmt: skip
    return SimpleNamespace(**common | answers)


def test_agents_clip_gradients_themselves() -> None:
    spec = EnvSpec("CartPole-v1", (4,), Actions(("0", "1")))
    task: Any = DQN(QNetwork(spec, hidden=[8]), spec)
    trainer = trainer_with(gradient_clip_val=0.5, gradient_clip_algorithm="norm", precision="bf16-mixed")
    task.setup_trainer(trainer)
    assert (task.clip, trainer.gradient_clip_val, trainer.gradient_clip_algorithm) == ((0.5, "norm"), None, None)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"world_size": 2}, r"trainer\.devices=2: agents train on one device only"),
        ({"accumulate_grad_batches": 2}, r"trainer\.accumulate_grad_batches"),
        ({"precision": "16-mixed"}, r"trainer\.precision=16-mixed"),
        ({"gradient_clip_val": 0.5}, r"gradient_clip_val: a Q-table is updated without a gradient"),
        ({"strategy": SimpleNamespace(root_device=torch.device("cuda"))}, "Q-tables are trained on the CPU"),
    ],
)
def test_unsupported_trainer_options_of_agents(answers: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        q_learning().setup_trainer(trainer_with(**answers))


@pytest.mark.parametrize(("epochs", "total"), [(3, 21), (0, 0), (None, UNLIMITED), (-1, UNLIMITED)])
def test_a_schedule_s_steps_are_blocks(epochs: int | None, total: int) -> None:
    plans: list[Plan] = []

    def scheduler(optimizer: Any, plan: Plan) -> list[dict[str, Any]]:
        plans.append(plan)
        return [{"scheduler": "s", "interval": "epoch", "monitor": plan.monitor}]

    task = q_learning(optimizer=lambda p: torch.optim.SGD(p, lr=0.1), scheduler=scheduler)
    task._trainer = trainer_with(max_epochs=epochs)
    _, schedules = task.configure_optimizers()
    assert plans == [Plan(total, 7, "val/return", "max")]
    assert schedules == [{"scheduler": "s", "interval": "epoch"}], "the agent steps them itself"


def test_episodes_of_all_batches_are_one_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Returns 1, 2, 6: their mean is 3, their variance of a sample (4 + 1 + 9) / 2."""
    task = q_learning()
    task._trainer = trainer_with()
    logged: dict[str, float] = {}
    monkeypatch.setattr(task, "log_dict", lambda metrics, **_: logged.update(metrics))
    task._episodes = [(np.array([1.0, 2.0]), np.array([10, 20])), (np.array([6.0]), np.array([60]))]
    task.on_validation_epoch_end()
    extremes = {"val/return_min": 1, "val/return_max": 6}
    assert logged == pytest.approx({"val/return": 3, "val/return_std": 7**0.5, "val/length": 30, **extremes})
    task._episodes.append((np.array([5.0]), np.array([50])))
    task.on_test_epoch_end()
    assert logged["test/return"] == 5
    assert logged["test/return_std"] == 0


def test_network_inputs() -> None:
    task = q_learning()
    assert task.as_input(np.array([3, 1])).dtype == torch.int64
    task.spec = EnvSpec("Screen-v0", (3,), Actions(("0", "1")))  # of vectors or images
    shown: Tensor = task.as_input(np.array([[0, 51, 255]], dtype=np.uint8))
    torch.testing.assert_close(shown, torch.tensor([[0.0, 0.2, 1.0]]))
    assert task.as_input(np.array([[2.0]])).tolist() == [[2.0]]
    assert task.as_input(np.array([[2.0]])).dtype == torch.float
