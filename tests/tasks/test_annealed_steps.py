"""Chains of a Boltzmann machine, whose number and length a checkpoint sets."""

from __future__ import annotations

import pytest

from dlzoo.errors import UserError
from dlzoo.metrics.partition import is_enumerable
from dlzoo.nets.dbn import DeepBeliefNet
from dlzoo.nets.rbm import RBM
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.targets import Classes
from dlzoo.tasks.dbn import DeepBelief
from dlzoo.tasks.rbm import RestrictedBoltzmann

CLASSES = Classes(("a", "b"))
SPEC = ImageSpec(1, 4, 4, CLASSES)


@pytest.mark.parametrize(
    ("num_betas", "num_ais_chains", "said"),
    [
        (10_000_000, 2, "must lie between 3 and 100,000"),
        (100_000, 1_000_000, "must be 2,000,000 or less"),
        (21, 1_000_000, "must be 2,000,000 or less"),
    ],
)
def test_a_test_ends(num_betas: int, num_ais_chains: int, said: str) -> None:
    net = RBM(SPEC, num_hidden=21)
    with pytest.raises(UserError, match=said):
        RestrictedBoltzmann(net, SPEC, num_betas=num_betas, num_ais_chains=num_ais_chains)


def test_a_test_of_a_large_machine_ends() -> None:
    spec = ImageSpec(3, 128, 128, CLASSES)
    net = RBM(spec, num_hidden=40)
    RestrictedBoltzmann(net, spec)
    with pytest.raises(UserError, match=r"must be 559,240 or less: each is a Gibbs step of a chain, of 1,966,080"):
        RestrictedBoltzmann(net, spec, num_betas=10_000)


def test_the_numbers_of_the_paper_are_allowed() -> None:
    spec = ImageSpec(1, 28, 28, CLASSES)
    RestrictedBoltzmann(RBM(spec, num_hidden=500), spec, num_betas=14_500, num_ais_chains=100)


def test_states_of_a_small_machine_on_large_images_are_not_enumerated() -> None:
    assert is_enumerable(RBM(ImageSpec(1, 28, 28, CLASSES), num_hidden=20).layer)
    assert not is_enumerable(RBM(ImageSpec(3, 64, 64, CLASSES), num_hidden=20).layer)


def test_a_sample_ends() -> None:
    with pytest.raises(UserError, match=r"task.sample_steps=1000000000 must lie between 1 and 20,000"):
        RestrictedBoltzmann(RBM(SPEC, num_hidden=2), SPEC, sample_steps=10**9)
    with pytest.raises(UserError, match=r"task.sample_steps=1000000000 must lie between 1 and 20,000"):
        DeepBelief(DeepBeliefNet(SPEC, hidden=[2, 2]), SPEC, sample_steps=10**9)
