"""Energies, free energies and Gibbs sampling of a Boltzmann layer, against the sums over all states."""

from __future__ import annotations

import pytest
import torch
from small_machines import all_states, energy, layer_of, noise

from dlzoo.layers.boltzmann import BoltzmannLayer
from dlzoo.layers.visible_units import KINDS, BinaryUnits, GaussianUnits, UnitName

KIND_NAMES = tuple(KINDS)


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_the_free_energy_sums_over_the_hidden_states(kind: UnitName) -> None:
    layer = layer_of(kind, 5, 4)
    v = torch.randn(7, 5, dtype=torch.float64) if kind == "gaussian" else all_states(5)
    expected = -(-energy(layer, v, all_states(4))).logsumexp(1)
    torch.testing.assert_close(layer.free_energy(v), expected)


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_hidden_probabilities_are_those_of_the_energy(kind: UnitName) -> None:
    layer, h = layer_of(kind, 5, 4), all_states(4)
    v = all_states(5)
    joint = (-energy(layer, v, h)).softmax(1)
    torch.testing.assert_close(layer.hidden_input(v).sigmoid(), joint @ h)


def test_visible_probabilities_are_those_of_the_energy() -> None:
    layer, v, h = layer_of("binary", 5, 4), all_states(5), all_states(4)
    joint = (-energy(layer, v, h)).softmax(0)
    torch.testing.assert_close(layer.units.mean(layer.visible_input(h)), joint.T @ v)


def test_gaussian_units_have_the_density_of_the_energy() -> None:
    layer, h = layer_of("gaussian", 1, 2), all_states(2)
    v = torch.linspace(-30, 30, 60_001, dtype=torch.float64)[:, None]
    weights = (-energy(layer, v, h)).exp()
    total = weights.sum(0) * 1e-3
    torch.testing.assert_close((v.T @ weights * 1e-3 / total)[0], layer.units.mean(layer.visible_input(h))[:, 0])
    own = layer.units.log_partition(layer.visible_input(h), layer.visible_bias) + h @ layer.hidden_bias
    torch.testing.assert_close(own, total.log())
    samples = layer.units.sample(torch.full((100_000, 1), 3.0), noise())
    assert float(samples.mean()) == pytest.approx(3, abs=0.02)
    assert float(samples.var()) == pytest.approx(1, abs=0.02)


def test_gibbs_sampling_visits_each_state_as_often_as_its_probability_says() -> None:
    """Within three standard errors; a chain's states count every tenth step, by when they are nearly independent."""
    layer, states = layer_of("binary", 3, 2, scale=0.5).float(), all_states(3).float()
    with torch.no_grad():
        expected = (-layer.free_energy(states)).softmax(0)
        chains, rng, num = layer.base_sample(4000, noise()), noise(1), 0
        counts = torch.zeros(8)
        for step in range(1, 101):
            chains = layer.sample_visible(layer.sample_hidden(chains, rng), rng)
            if step % 10 == 0:
                counts += torch.bincount((chains @ torch.tensor([4.0, 2.0, 1.0])).long(), minlength=8)
                num += len(chains)
    error = (expected * (1 - expected) / num).sqrt()
    assert ((counts / num - expected).abs() <= 3 * error).all()


def test_annealed_samples_follow_the_machine() -> None:
    """Whose two modes a chain from the base rates would not leave."""
    layer = BoltzmannLayer(BinaryUnits(), 6, 1)
    with torch.no_grad():
        layer.weight.fill_(6)
        layer.visible_bias.fill_(-3)
        layer.hidden_bias.fill_(-18)
        v = layer.annealed_sample(2000, 200, noise())
    assert float(v.mean()) == pytest.approx(0.5, abs=0.1)
    assert float((v.mean(1) - 0.5).abs().mean()) > 0.4


def test_the_base_rates_are_the_means_of_the_data() -> None:
    mean = torch.tensor([0.1, 0.5, 0.9])
    layer = BoltzmannLayer(BinaryUnits(), 3, 2)
    layer.set_base_rates(mean)
    torch.testing.assert_close(layer.units.mean(layer.base_bias), mean)
    torch.testing.assert_close(layer.visible_bias.detach(), layer.base_bias)
    assert layer.units.bias_for(torch.tensor([0.0, 1.0])).isfinite().all()
    assert torch.equal(GaussianUnits().bias_for(mean), mean)
