"""Partition functions, against the sum over all states of both layers."""

from __future__ import annotations

import math

import pytest
import torch
from small_machines import all_states, energy, layer_of

from dlzoo.layers.visible_units import KINDS
from dlzoo.metrics.partition import (
    betas,
    estimated_log_partition,
    exact_log_partition,
    interval,
    log_partition,
)


def test_the_exact_value_is_the_sum_over_all_states() -> None:
    layer = layer_of("binary", 6, 5)
    whole = (-energy(layer, all_states(6), all_states(5))).flatten().logsumexp(0)
    assert exact_log_partition(layer) == pytest.approx(float(whole.detach()), rel=1e-12)


def test_the_exact_value_of_more_states_than_a_chunk_is_that_of_the_visible_ones() -> None:
    layer = layer_of("binary", 4, 14)
    assert exact_log_partition(layer) == pytest.approx(float((-layer.free_energy(all_states(4))).logsumexp(0).detach()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_annealed_importance_sampling_agrees_with_the_exact_value_within_its_error_bars(kind: str, seed: int) -> None:
    layer = layer_of(kind, 15, 12, scale=0.5 if kind == "binary" else 0.25)
    exact = exact_log_partition(layer)
    estimate = estimated_log_partition(layer, num_chains=200, num_betas=300, seed=seed)
    assert estimate.low <= exact <= estimate.high
    assert estimate.high - estimate.low < 0.8  # error bars that say something
    assert estimate.low <= estimate.value <= estimate.high


def test_small_machines_are_summed_exactly() -> None:
    layer = layer_of("binary", 6, 5)
    exact = exact_log_partition(layer)
    assert log_partition(layer, num_chains=2, num_betas=3, seed=0) == (exact, exact, exact)
    large = layer_of("binary", 6, 21, scale=0.1)
    assert log_partition(large, num_chains=50, num_betas=50, seed=0).low < exact_log_partition(large)


def test_the_interval_is_three_standard_errors_of_the_mean_weight() -> None:
    weights = torch.tensor([0.5, 1.0, 1.5, 1.0], dtype=torch.float64)
    error = float(weights.std()) / 2
    value, low, high = interval(weights.log() + 1000, base=2.0)
    assert value == pytest.approx(1002)
    assert high == pytest.approx(1002 + math.log(1 + 3 * error))
    assert low == pytest.approx(1002 + math.log(1 - 3 * error))
    assert (
        interval(torch.tensor([0.0, 50.0], dtype=torch.float64), 0.0).low == -math.inf
    )  # one chain has all the weight


@pytest.mark.parametrize("num", [3, 10, 1000])
def test_temperatures_rise_from_the_base_rates_to_the_machine(num: int) -> None:
    values = betas(num)
    assert values[0] == 0
    assert values[-1] == 1
    assert values == sorted(values)
