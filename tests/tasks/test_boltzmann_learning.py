"""Boltzmann machines against enumeration: probabilities, gradients, samples; and learning."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from picture_runs import content, run, same, whole_and_parts
from torch import Tensor

from dlzoo.checkpoint import load as checkpoint
from dlzoo.commands import export, sample
from dlzoo.distributed.noise import GeneratorNoise
from dlzoo.errors import UserError
from dlzoo.nets.boltzmann_machine import BoltzmannMachine, all_states, numbers
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.targets import Classes
from dlzoo.tasks.boltzmann_learning import BoltzmannLearning, empirical_entropy, independent_entropy

AB = Classes(("a", "b"))
SMALL = ImageSpec(1, 2, 2, AB)
XOR = ("model=boltzmann_machine", "data=patterns", "data.kind=xor")


def machine(spec: ImageSpec = SMALL, seed: int = 0, **options: Any) -> BoltzmannMachine:
    torch.manual_seed(seed)
    net = BoltzmannMachine(spec, **{"num_hidden": 2, "init_std": 1.0} | options).double()
    with torch.no_grad():
        net.bias.copy_(torch.randn(net.num_units))
    return net.requires_grad_(False)


def unnormalised(net: BoltzmannMachine, state: tuple[int, ...], temperature: float) -> float:
    """e^(-E / T), by loops over pairs and units."""
    pairs = itertools.combinations(range(len(state)), 2)
    score = sum(float(net.weight[i, j]) * state[i] * state[j] for i, j in pairs)
    score += sum(float(b) * s for b, s in zip(net.bias, state, strict=True))
    return math.exp(score / temperature)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_probabilities_are_those_of_the_energy(temperature: float) -> None:
    net = machine()
    states = list(itertools.product((0, 1), repeat=6))
    weights = {state: unnormalised(net, state, temperature) for state in states}
    z = sum(weights.values())
    joint = net.log_probabilities(temperature).exp()
    assert joint.flatten().tolist() == pytest.approx([weights[state] / z for state in states])
    for visible in itertools.product((0, 1), repeat=4):
        expected = sum(weight for state, weight in weights.items() if state[:4] == visible) / z
        assert float(net.log_likelihood(torch.tensor([visible]), temperature).exp()) == pytest.approx(expected)


def test_energies_and_states() -> None:
    net = machine()
    states = all_states(6, torch.device("cpu"))
    assert torch.equal(numbers(states), torch.arange(64))
    joint = net.log_probabilities().flatten()
    torch.testing.assert_close(joint - joint[0], net.energy(states[:1]) - net.energy(states))


def test_a_unit_is_on_with_the_probability_of_its_input() -> None:
    """p(s_i = 1) = sigmoid((sum_j w_ij s_j + b_i) / T): the ratio of two states that differ in one unit."""
    net, temperature = machine(), 1.7
    joint = net.log_probabilities(temperature).flatten().exp()
    for number, unit in ((5, 0), (40, 3), (63, 5)):
        state = all_states(6, torch.device("cpu"))[number]
        on, off = state.clone(), state.clone()
        on[unit], off[unit] = 1, 0
        share = joint[numbers(on[None])] / (joint[numbers(on[None])] + joint[numbers(off[None])])
        field = net.fields(state[None])[0, unit]
        torch.testing.assert_close(share[0], (field / temperature).sigmoid())


@pytest.mark.parametrize(("temperature", "hidden"), [(1.0, 2), (2.0, 2), (1.0, 0)])
def test_sampled_frequencies_are_within_three_standard_errors(temperature: float, hidden: int) -> None:
    net, num = machine(num_hidden=hidden), 100_000
    noise = GeneratorNoise(torch.Generator().manual_seed(100))
    start = (noise.uniform((num, net.num_units), torch.device("cpu")) < 0.5).double()
    *_, last = net.gibbs(start, [temperature] * 30, noise)
    exact = net.log_probabilities(temperature).logsumexp(1).exp()
    found = numbers(last[:, :4]).bincount(minlength=16) / num
    error = (exact * (1 - exact) / num).sqrt()
    assert ((found - exact).abs() <= 3 * error).all()


def test_clamped_units_stay_and_the_others_follow_their_conditional() -> None:
    net, num = machine(), 20_000
    visible = torch.tensor([1.0, 0.0, 1.0, 1.0]).double()
    noise = GeneratorNoise(torch.Generator().manual_seed(2))
    start = torch.cat([visible, torch.zeros(2)]).double().expand(num, -1).contiguous()
    *_, last = net.gibbs(start, [1.0] * 40, noise, clamped=True)
    assert torch.equal(last[:, :4], start[:, :4])
    exact = net.log_probabilities()[numbers(visible[None])][0].softmax(0)
    found = numbers(last[:, 4:]).bincount(minlength=4) / num
    assert ((found - exact).abs() <= 3 * (exact * (1 - exact) / num).sqrt()).all()


def as_task(net: BoltzmannMachine, spec: ImageSpec = SMALL, **options: Any) -> Any:
    task = BoltzmannLearning(net, spec, **options)
    task.check_finite = lambda values: None  # type: ignore[method-assign]
    return task


def test_the_exact_phases_give_the_gradient_of_the_log_likelihood() -> None:
    net = machine(groups=2).requires_grad_()
    visible = torch.tensor([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 1.0, 1.0]]).double()
    net.log_likelihood(visible).sum().backward()
    assert net.weight.grad is not None
    assert net.bias.grad is not None
    pairs, means, free_pairs, free_means = as_task(net).exact_phases(visible)
    # a weight stands in the matrix twice, so that the gradient with respect to each of both is half of it
    torch.testing.assert_close(((pairs - free_pairs) * net.mask).detach(), 2 * net.weight.grad * net.mask)
    torch.testing.assert_close((means - free_means).detach(), net.bias.grad)


def test_sampled_phases_approach_the_exact_ones() -> None:
    net = machine()
    visible = torch.tensor([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0]]).double().repeat(2000, 1)
    task = as_task(net, statistics="sampled", num_sweeps=20)
    noise = GeneratorNoise(torch.Generator().manual_seed(3))
    for found, exact in zip(task.sampled_phases(visible, noise), task.exact_phases(visible), strict=True):
        found = found - found.diag().diag() if found.ndim == 2 else found
        exact = exact - exact.diag().diag() if exact.ndim == 2 else exact
        torch.testing.assert_close(found / 4000, exact / 4000, atol=0.015, rtol=0)


def test_groups_of_visible_units_are_connected_by_hidden_ones_only() -> None:
    net = BoltzmannMachine(ImageSpec(1, 2, 4, AB), num_hidden=2, groups=2)
    assert not net.weight[:4, 4:8].any()
    assert net.weight[:4, 8:].all()
    assert net.weight[8, 9] != 0
    assert torch.equal(net.weight, net.weight.T)
    assert not net.weight.diag().any()


def test_entropies() -> None:
    rows = torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    assert float(empirical_entropy(rows)) == pytest.approx(1.5 * math.log(2))
    assert float(independent_entropy(rows)) == pytest.approx(
        math.log(2) - 0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    )


# ------------------------------------------------------------------ runs


@pytest.mark.parametrize(("hidden", "epochs", "low", "high"), [(2, 100, 0.0, 0.2), (0, 10, 0.69, 0.8)])
def test_xor_needs_hidden_units(hidden: int, epochs: int, low: float, high: float, tmp_path: Path) -> None:
    metrics = run(tmp_path, *XOR, f"net.num_hidden={hidden}", "optimizer.lr=0.3", f"trainer.max_epochs={epochs}")[
        "metrics"
    ]
    assert low <= metrics["test/kl"] < high
    assert metrics["test/nll"] == pytest.approx(metrics["test/kl"] + math.log(4), abs=1e-5)
    assert metrics["baseline/kl_independent"] == pytest.approx(math.log(2), abs=1e-5)


SAMPLED = ("task.statistics=sampled", "task.noisy_clamping=true", "task.fixed_steps=true", "optimizer=sgd")


@pytest.mark.parametrize("words", [(), SAMPLED], ids=["exact", "sampled"])
def test_a_resumed_run_equals_an_uninterrupted_one(words: tuple[str, ...], tmp_path: Path) -> None:
    whole, parts = whole_and_parts(tmp_path, *XOR, *words, "data.repeats=5", "data.batch_size=7")
    for key in ("state_dict", "global_step", "optimizer_states"):
        assert same(whole[key], parts[key]), key


def test_each_weight_changes_by_the_learning_rate_in_fixed_steps(tmp_path: Path) -> None:
    run(tmp_path, *XOR, *SAMPLED, "optimizer.lr=0.25", "net.init_std=0", "trainer.max_epochs=1", "data.repeats=5")
    weight: Tensor = content(tmp_path)["state_dict"]["net.weight"]
    assert {*weight.abs().unique().tolist()} <= {0.0, 0.25}
    assert weight.any()
    assert torch.equal(weight, weight.T)


def test_more_units_are_learnt_from_samples(tmp_path: Path) -> None:
    few = ("data.train_per_class=10", "task.annealing=[2,1]", "task.num_sweeps=2", "net.num_hidden=4")
    metrics = run(tmp_path, "model=boltzmann_machine", "data=digits", "task.statistics=sampled", *few)["metrics"]
    assert metrics["test/loss"] < 64 * math.log(2)
    assert "test/kl" not in metrics


def test_pictures_and_samples(tmp_path: Path) -> None:
    run(tmp_path / "run", *XOR, "callbacks=default", "~callbacks.graph", "trainer.max_epochs=2")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"distribution.png", "weights.png", "samples.png", "samples.gif"} <= names
    assert "interpolation.png" not in names
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    sample.command([f"ckpt={path}", "n=5", f"output={tmp_path / 'samples'}"])
    assert len([*(tmp_path / "samples").glob("0*.png")]) == 5
    with pytest.raises(UserError, match=r"a Boltzmann machine's images are samples .* nothing to export"):
        export.command([f"ckpt={path}", f"output={tmp_path / 'a.onnx'}"])


def test_samples_depend_on_their_seed_and_have_the_distribution(tmp_path: Path) -> None:
    run(tmp_path, *XOR, "net.init_std=1", "trainer.max_epochs=1")
    task: Any = checkpoint.load_task(tmp_path / "checkpoints" / "last.ckpt")[0]
    with torch.no_grad():
        images = task.sample(4000, seed=1)
        assert torch.equal(images, task.sample(4000, seed=1))
        assert not torch.equal(images, task.sample(4000, seed=2))
        exact = task.image_probabilities()
    found = task.image_numbers(images).bincount(minlength=8) / 4000
    assert ((found - exact).abs() < 0.05).all()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("data=digits",), "task.statistics=exact enumerates .* 64 visible and 2 hidden .* task.statistics=sampled"),
        (("data=fashion_mnist", "net.num_hidden=4000"), "a Boltzmann machine of 4,784 units is too large"),
        (("data=patterns", "data.kind=xor", "net.groups=2"), "net.groups=2 does not divide the 3 visible units"),
        (("data=patterns", "data.kind=xor", "task.annealing=[1,0]"), r"task.annealing=\[1, 0\].* must be above 0"),
        (
            ("data=patterns", "data.kind=xor", "task.annealing=[]"),
            "task.annealing has 0 temperatures: give 1 to 10,000",
        ),
        (("data=patterns", "data.kind=xor", "task.temperature=-1"), "a temperature must be above 0"),
        (("data=patterns", "data.kind=xor", "task.num_sweeps=0"), "task.num_sweeps=0 must lie between 1 and 10,000"),
    ],
)
def test_mistakes(overrides: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        run(tmp_path, "model=boltzmann_machine", *overrides)
