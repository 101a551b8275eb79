"""Contrastive divergence, persistent chains, and what a restricted Boltzmann machine is measured by."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from picture_runs import content, resume, run, run_until, same, whole_and_parts
from small_machines import all_states, layer_of, noise
from torch import Tensor

from dlzoo.checkpoint import load as checkpoint
from dlzoo.errors import SpecError, UserError
from dlzoo.nets.rbm import RBM
from dlzoo.specs.batch import Batch
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.targets import Classes
from dlzoo.tasks.contrastive import ContrastiveDivergence, Phase
from dlzoo.tasks.rbm import RestrictedBoltzmann, pseudo_likelihood

SPEC = ImageSpec(1, 2, 3, Classes(("a", "b")))
SMALL = ("model=rbm", "data=digits", "net.num_hidden=16", "data.batch_size=256", "task.num_betas=20")


def task_of(**options: Any) -> Any:
    torch.manual_seed(0)
    return RestrictedBoltzmann(RBM(SPEC, num_hidden=4, init_std=1.0), SPEC, **options)


@pytest.mark.parametrize("kind", ["binary", "gaussian"])
def test_the_gradient_is_that_of_the_difference_of_free_energies(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is that of the negative log-likelihood, where the samples are the model's."""
    layer, task = layer_of(kind, 6, 4), task_of()
    data, samples = torch.rand(8, 6, dtype=torch.float64), torch.rand(5, 6, dtype=torch.float64)
    model = Phase(samples, layer.hidden_input(samples).sigmoid())
    monkeypatch.setattr(task, "model_phase", lambda *_: model)
    monkeypatch.setattr(task, "log_step", lambda *_, **__: None)
    loss = layer.free_energy(data).mean() - layer.free_energy(samples).mean()
    expected = torch.autograd.grad(loss, [*layer.parameters()])
    with torch.no_grad():
        task.update(layer, data, 0)
    for p, gradient in zip(layer.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, gradient)


def test_with_the_models_own_distribution_the_gradient_is_that_of_the_exact_likelihood() -> None:
    layer, data = layer_of("binary", 6, 4), torch.bernoulli(torch.full((8, 6), 0.5, dtype=torch.float64))
    states = all_states(6)
    nll = layer.free_energy(data).mean() + (-layer.free_energy(states)).logsumexp(0)
    (expected,) = torch.autograd.grad(nll, [layer.weight])
    with torch.no_grad():
        shares = (-layer.free_energy(states)).softmax(0)
        of_model = states.T @ (shares[:, None] * layer.hidden_input(states).sigmoid())
        of_data = data.T @ layer.hidden_input(data).sigmoid() / len(data)
    torch.testing.assert_close(of_model - of_data, expected)


def test_cd_starts_from_the_data_and_persistent_cd_from_its_chains() -> None:
    task = task_of()
    v = torch.bernoulli(torch.full((64, 6), 0.5))
    data = Phase(v, task.layer.hidden_input(v).sigmoid())
    with torch.no_grad():
        task.layer.hidden_bias.fill_(50)
        task.layer.weight.zero_()
        task.layer.visible_bias.fill_(50)
        assert task.model_phase(task.layer, data).visible.min() == 1
        assert task.chains is None
        persistent = task_of(num_chains=10)
        before = persistent.model_phase(persistent.layer, data).visible
        assert before.shape == (10, 6)
        assert torch.equal(persistent.chains, before)
        persistent.layer.weight.fill_(0)
        persistent.layer.visible_bias.fill_(-50)
        assert persistent.model_phase(persistent.layer, data).visible.max() == 0


def test_k_gibbs_steps_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for options, expected in (({"num_steps": 3}, 3), ({"num_steps": 3, "num_chains": 5}, 3)):
        task, steps = task_of(**options), []
        draw = type(task.layer.units).sample
        monkeypatch.setattr(
            task.layer.units,
            "sample",
            lambda a, b, draw=draw, task=task, steps=steps: steps.append(len(a)) or draw(task.layer.units, a, b),
        )
        if options.get("num_chains"):
            task.chains = torch.zeros(5, 6)
        v = torch.zeros(4, 6)
        with torch.no_grad():
            task.model_phase(task.layer, Phase(v, task.layer.hidden_input(v).sigmoid()))
        assert len(steps) == expected


def test_the_pseudo_likelihood_estimates_the_sum_of_conditional_log_probabilities() -> None:
    layer, states = layer_of("binary", 6, 4), all_states(6)
    with torch.no_grad():
        log_p = -layer.free_energy(states)
        exact = torch.zeros(len(states), dtype=torch.float64)
        for unit in range(6):
            flipped = states.clone()
            flipped[:, unit] = 1 - flipped[:, unit]
            exact += log_p - torch.logaddexp(log_p, -layer.free_energy(flipped))
        rng, estimates = noise(), []
        for _ in range(2000):
            estimates.append(pseudo_likelihood(layer, states, layer.hidden_input(states), rng))
    mean, error = torch.stack(estimates).mean(0), torch.stack(estimates).std(0) / 2000**0.5
    assert ((mean - exact).abs() <= 4.5 * error + 1e-9).all()


def metrics(folder: Path, name: str) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file)]


def test_a_machine_learns_digits_and_is_measured_exactly(tmp_path: Path) -> None:
    results = run(tmp_path, *SMALL, "optimizer.lr=0.05", "data.batch_size=32", "trainer.max_epochs=12")
    found = results["metrics"]
    assert found["test/log_likelihood"] > -24.7  # the base rates alone have -27.1
    assert found["test/log_likelihood_low"] == found["test/log_likelihood"] == found["test/log_likelihood_high"]
    assert abs(metrics(tmp_path, "val/free_energy_gap")[-1]) < 1
    pseudo = metrics(tmp_path, "val/pseudo_likelihood")
    assert pseudo[-1] > pseudo[0] + 3
    assert metrics(tmp_path, "train/loss")[-1] < metrics(tmp_path, "train/loss")[0]
    task: Any = checkpoint.load_task(tmp_path / "checkpoints" / "last.ckpt")[0]
    x = torch.rand(5, 1, 8, 8)
    assert task.encode(x).shape == (5, 16)
    assert task.reconstruct(x).shape == x.shape
    samples = task.sample(30, seed=1)
    assert samples.shape == (30, 1, 8, 8)
    assert torch.equal(samples, task.sample(30, seed=1))
    assert not torch.equal(samples, task.sample(30, seed=2))
    assert (
        float((samples.mean(0)[0, :, 2:6].mean() - samples.mean(0)[0, :, :1].mean()).detach()) > 0.2
    )  # the margin is dark


def test_gaussian_units_learn_standardised_pixels(tmp_path: Path) -> None:
    overrides = ("net.visible=gaussian", "optimizer=sgd", "optimizer.lr=0.01", "trainer.max_epochs=12")
    results = run(tmp_path, *SMALL, *overrides, "data.batch_size=32")
    losses = metrics(tmp_path, "val/loss")
    assert losses[-1] < losses[0]
    assert "test/pseudo_likelihood" not in results["metrics"]
    task: Any = checkpoint.load_task(tmp_path / "checkpoints" / "last.ckpt")[0]
    images = task.reconstruct(torch.rand(3, 1, 8, 8)).detach()
    assert 0 <= float(images.min()) <= float(images.max()) <= 1


@pytest.mark.parametrize("overrides", [(), ("task.num_chains=20", "trainer.accumulate_grad_batches=2")])
def test_a_resumed_run_equals_an_uninterrupted_one(overrides: tuple[str, ...], tmp_path: Path) -> None:
    whole, parts = whole_and_parts(tmp_path, *SMALL, *overrides, "task.momentum_epochs=2")
    for key in ("state_dict", "global_step", "optimizer_states"):
        assert same(whole[key], parts[key]), key


def test_a_mid_epoch_checkpoint_holds_the_chains(tmp_path: Path) -> None:
    overrides = (*SMALL, "task.num_chains=20", "trainer.max_epochs=2")
    run(tmp_path / "whole", *overrides)
    run_until(ContrastiveDivergence, (0, 3), tmp_path / "parts", *overrides)
    resume(tmp_path / "parts")
    whole, parts = content(tmp_path / "whole"), content(tmp_path / "parts")
    assert same(whole["state_dict"], parts["state_dict"])
    chains = parts["continuation"]["ranks"][0]["carried"]["chains"]
    assert torch.equal(chains, whole["continuation"]["ranks"][0]["carried"]["chains"])
    assert set(chains.unique().tolist()) == {0.0, 1.0}


def test_stored_chains_of_another_shape_are_refused() -> None:
    task = task_of(num_chains=3)
    assert task.carried_state_mismatch("chains", None) is None
    assert task.carried_state_mismatch("chains", torch.zeros(3, 6)) is None
    for value in (torch.zeros(4, 6), torch.zeros(3), "chains"):
        assert task.carried_state_mismatch("chains", value) == "3 chains of 6 units"


def test_momentum_rises_and_biases_do_not_decay(tmp_path: Path) -> None:
    run(tmp_path, *SMALL, "task.momentum_epochs=1", "trainer.max_epochs=1")
    groups = content(tmp_path)["optimizer_states"][0]["param_groups"]
    assert [group["momentum"] for group in groups] == [0.5, 0.5]
    assert [group["weight_decay"] for group in groups] == [2e-4, 0.0]
    resume(tmp_path, "trainer.max_epochs=2")
    assert [group["momentum"] for group in content(tmp_path)["optimizer_states"][0]["param_groups"]] == [0.9, 0.9]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("net.visible=gausian",), "net.visible=gausian is unknown; did you mean 'gaussian'"),
        (("net.visible=gaussian", "data.standardize=false"), "set data.standardize=true"),
        (("net.visible=gaussian", "task.binarize=dynamic"), "task.binarize=dynamic makes pixels binary"),
        (("net.num_hidden=0",), "net.num_hidden=0 is too small"),
        (("task.num_steps=0",), "task.num_steps=0 must lie between 1"),
        (("task.num_ais_chains=1",), "task.num_ais_chains=1 must lie between 2"),
        (("optimizer=sgd", "task.initial_momentum=0.4"), "task.initial_momentum=0.4 .*optimizer with momentum"),
        (("data=iris",), "rbm takes images, but data=iris gives a table"),
    ],
)
def test_mistakes_end_in_a_sentence(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises((UserError, SpecError), match=message):
        run(tmp_path, *SMALL, *words)


def test_pixels_are_sampled_with_their_brightness() -> None:
    task = task_of()
    x = torch.full((2000, 1, 2, 3), 0.3)
    v = task.states(Batch(x, torch.zeros(2000)), noise())
    assert set(v.unique().tolist()) == {0.0, 1.0}
    assert float(v.mean()) == pytest.approx(0.3, abs=0.02)
    assert torch.equal(task_of(binarize="none").states(Batch(x, torch.zeros(2000)), noise()), x.flatten(1))


def test_chains_start_from_the_images_and_filters_are_images() -> None:
    task = task_of()
    assert task.filters().shape == (4, 1, 2, 3)
    torch.testing.assert_close(task.filters()[1].flatten(), task.layer.weight[:, 1])
    chain = task.gibbs_chains(torch.zeros(7, 1, 2, 3), seed=0)
    first: Tensor = next(chain)
    assert first.shape == next(chain).shape == (7, 1, 2, 3)
    assert torch.equal(first, next(task.gibbs_chains(torch.zeros(7, 1, 2, 3), seed=0)))
