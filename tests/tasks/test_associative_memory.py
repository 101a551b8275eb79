"""Hopfield networks: storage, energy, capacity, and what a run makes of them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from picture_runs import content, resume, run, run_until, same
from torch import Tensor

from dlzoo.checkpoint import load as checkpoint
from dlzoo.commands import export, predict
from dlzoo.distributed.noise import PerRowNoise
from dlzoo.errors import UserError
from dlzoo.metrics import recall as metrics
from dlzoo.nets.hopfield import Hopfield, hebbian, pseudo_inverse
from dlzoo.nets.modern_hopfield import ModernHopfield
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.targets import Classes, Values
from dlzoo.tasks.associative_memory import Remembering
from dlzoo.visualization import image_grid as tiles
from dlzoo.visualization.memories import marked

TEN = Classes(tuple("0123456789"))
SPEC = ImageSpec(1, 10, 10, TEN)
FULL = ("callbacks=default", "~callbacks.graph", "callbacks.recall.num_units=50")


def random_patterns(num: int, units: int = 100, seed: int = 0) -> Tensor:
    return (torch.rand(num, units, generator=torch.Generator().manual_seed(seed)) < 0.5).float() * 2 - 1


def memory(num: int, units: int = 100, **options: Any) -> Hopfield:
    net = Hopfield(ImageSpec(1, 1, units, TEN), num_patterns=num, **options)
    net.store(random_patterns(num, units))
    return net


# ------------------------------------------------------------------ the textbook


def test_hebbs_rule_by_loops() -> None:
    patterns = random_patterns(3, 7).double()
    for i, j in itertools.product(range(7), repeat=2):
        expected = 0.0 if i == j else sum(float(x[i] * x[j]) for x in patterns) / 7
        assert float(hebbian(patterns)[i, j]) == pytest.approx(expected)


def test_the_pseudo_inverse_makes_any_independent_patterns_stable() -> None:
    """Forty patterns that are much alike, in 100 units: far beyond Hebb's rule."""
    patterns = torch.where(torch.rand(40, 100, generator=torch.Generator().manual_seed(1)) < 0.15, 1.0, -1.0)
    for rule, is_stable in ((pseudo_inverse, True), (hebbian, False)):
        weight = rule(patterns.double())
        assert torch.equal(weight.diag(), torch.zeros(100).double())
        assert bool(((patterns.double() @ weight).sign() == patterns).all()) == is_stable


@pytest.mark.parametrize("num", [5, 14, 40])
def test_the_energy_never_rises_in_asynchronous_recall(num: int) -> None:
    """After each part of a sweep, below the capacity and above it; and it falls at first."""
    net = memory(num)
    start = random_patterns(30, seed=9)
    energies = torch.stack([net.energy(state) for state in (start, *net.states(start, 20))])
    assert float(energies.diff(dim=0).max()) < 1e-5
    assert (energies[-1] < energies[0]).all()
    weight = net.weight.double().detach()
    by_hand = -sum(weight[i, j] * start[0, i] * start[0, j] for i in range(100) for j in range(100)) / 2
    assert float(energies[0, 0]) == pytest.approx(float(by_hand))


def test_recall_ends_in_a_state_where_every_unit_has_the_sign_of_its_input() -> None:
    net = memory(14)
    end = net.recall(random_patterns(30, seed=9))
    inputs = end @ net.weight
    assert ((inputs * end) >= -1e-5).all()
    assert torch.equal(net.recall(end), end)


def test_synchronous_recall_can_cycle_and_raise_the_energy() -> None:
    """Two units that inhibit each other, and are alike."""
    net = Hopfield(ImageSpec(1, 1, 2, TEN), num_patterns=1, update="synchronous")
    net.store(torch.tensor([[1.0, -1.0]]))
    states = list(itertools.islice(net.states(torch.ones(1, 2)), 3))
    assert [state.tolist() for state in states] == [[[-1, -1]], [[1, 1]], [[-1, -1]]]
    alone = memory(14, update="synchronous")
    start = random_patterns(30, seed=9)
    torch.testing.assert_close(alone.recall(start)[:1], alone.recall(start[:1]))


def test_patterns_are_recalled_below_the_capacity_and_none_above() -> None:
    loads = (0.05, 0.1, 0.3)

    def make(num: int) -> Hopfield:
        return Hopfield(ImageSpec(1, 1, 400, TEN), num_patterns=num)

    recalled = metrics.by_load(make, [round(400 * load) for load in loads], 400, 0.2, 0, max_patterns=40)
    assert recalled[0] == 1
    assert recalled[1] > 0.85
    assert recalled[2] == 0
    assert 0.1 < metrics.knee(loads, recalled) < 0.3


def test_the_modern_network_holds_more_patterns_than_units() -> None:
    net = ModernHopfield(ImageSpec(1, 1, 64, TEN), num_patterns=500)
    net.store(random_patterns(500, 64))
    assert float(metrics.recall(net, 0.2, 0).recalled) > 0.98
    classical = memory(500, 64)
    assert float(metrics.recall(classical, 0.2, 0, max_patterns=50).recalled) == 0


def test_the_modern_energy_never_rises_and_is_bounded() -> None:
    for beta in (0.01, 0.1, 1.0):
        net = ModernHopfield(SPEC, num_patterns=30, beta=beta, num_updates=8)
        net.store(random_patterns(30))
        start = random_patterns(20, seed=9)
        net.requires_grad_(False)
        energies = torch.stack([net.energy(state) for state in (start, *net.states(start))])
        assert float(energies.diff(dim=0).max()) <= 1e-6
        assert float(energies.min()) >= -1e-6


def test_a_low_beta_averages_over_all_patterns() -> None:
    net = ModernHopfield(SPEC, num_patterns=30, beta=1e-6)
    net.store(random_patterns(30))
    torch.testing.assert_close(
        net.recall(random_patterns(1, seed=9))[0], net.patterns.mean(0).detach(), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("cls", [Hopfield, ModernHopfield])
def test_an_image_is_recalled_alone_as_among_others(cls: Any) -> None:
    net = cls(SPEC, num_patterns=12)
    net.store(random_patterns(12))
    x = torch.rand(8, 1, 10, 10, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(net(x)[:1], net(x[:1]))


def test_exactly_a_fraction_of_the_units_is_flipped() -> None:
    states = random_patterns(9)
    changed = metrics.flipped(states, 0.2, PerRowNoise(0, torch.arange(9))) != states
    assert changed.sum(1).tolist() == [20] * 9
    assert len(changed.unique(dim=0)) == 9


def test_energies_that_rise_are_counted() -> None:
    result = metrics.Recall(torch.tensor([0.95, 0.5]), torch.tensor([[0.0, 0.0], [-1.0, 0.1], [-1.0, 0.0]]))
    assert result.num_rises == 1
    assert float(result.recalled) == 0.5


# ------------------------------------------------------------------ runs


def test_a_run_stores_different_patterns_of_each_class(tmp_path: Path) -> None:
    results = run(tmp_path, "model=hopfield", "data=digits", "net.rule=pseudo_inverse", "task.flip=0.1")
    assert results["steps"] == 1
    task: Any = checkpoint.load_task(tmp_path / "checkpoints" / "last.ckpt")[0]
    assert len(task.net.patterns.unique(dim=0)) == 10
    assert results["metrics"]["test/overlap"] > 0.95 > results["metrics"]["baseline/overlap_none"]
    assert results["metrics"]["test/energy_rises"] == 0


def test_duplicates_are_stored_once() -> None:
    task = Remembering(Hopfield(SPEC, num_patterns=3), ImageSpec(1, 10, 10, Values(("y",))))
    rows = torch.cat([random_patterns(4), torch.zeros(4, 1)], 1)
    task.choose(rows[[0, 0, 1, 1]])
    task.choose(rows[[1, 2, 3]])
    assert torch.equal(task.waiting, rows[:3])


@pytest.mark.parametrize("model", ["hopfield", "modern_hopfield"])
def test_a_mid_epoch_checkpoint_holds_the_patterns_so_far(model: str, tmp_path: Path) -> None:
    overrides = (f"model={model}", "data=digits", "net.num_patterns=60", "data.batch_size=16", "trainer.max_epochs=1")
    run(tmp_path / "whole", *overrides)
    run_until(Remembering, (0, 3), tmp_path / "parts", *overrides)
    assert len(content(tmp_path / "parts")["continuation"]["ranks"][0]["carried"]["waiting"]) == 45, (
        "48 rows, at most 6 of each class"
    )
    resume(tmp_path / "parts")
    assert same(content(tmp_path / "whole")["state_dict"], content(tmp_path / "parts")["state_dict"])


def test_pictures_of_recall(tmp_path: Path) -> None:
    run(tmp_path, "model=hopfield", "data=digits", *FULL)
    assert {"recall.png", "recall.gif", "recall_limits.png", "reconstructions.png"} <= {
        p.name for p in tmp_path.iterdir()
    }
    assert not (tmp_path / "interpolation.png").exists()
    text = (tmp_path / "warnings.txt").read_text()
    assert "10 patterns in 64 units: the memory holds about 8 random ones" in text
    assert tiles.read_png(tmp_path / "recall.png").shape[2] == 3


def test_wrong_units_are_red() -> None:
    right = torch.tensor([[[[1.0, 0.0, 1.0]]]])
    shown = marked(torch.tensor([[[[1.0, 1.0, 0.0]]]]), right)[0, :, 0]
    assert shown[:, 0].tolist() == pytest.approx([0.9] * 3)
    assert shown[0, 1] > 2 * shown[1, 1]
    assert torch.equal(shown[:, 1], shown[:, 2])


def test_predict_recalls_an_image(tmp_path: Path) -> None:
    run(tmp_path / "run", "model=modern_hopfield", "data=digits")
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    task: Any = checkpoint.load_task(path)[0]
    stored = task.decode(task.net.patterns.detach())[4]
    tiles.write_png(tiles.pixels(task.corrupt(stored[None])[0]), tmp_path / "digit.png")
    predict.command([f"ckpt={path}", f"input={tmp_path / 'digit.png'}", f"pictures={tmp_path / 'recalled'}"])
    recalled = torch.from_numpy(tiles.read_png(tmp_path / "recalled" / "digit.png").copy())[:, :, 0] / 255
    torch.testing.assert_close(recalled, stored[0], atol=0.01, rtol=0)


@pytest.mark.parametrize("words", [("model=hopfield", "net.update=synchronous"), ("model=modern_hopfield",)])
def test_recall_in_fixed_steps_is_exported(words: tuple[str, ...], tmp_path: Path) -> None:
    run(tmp_path, *words, "data=digits")
    export.command([f"ckpt={tmp_path / 'checkpoints' / 'last.ckpt'}", f"output={tmp_path / 'memory.onnx'}"])
    assert (tmp_path / "memory.onnx").exists()


def test_asynchronous_recall_is_not_exported(tmp_path: Path) -> None:
    run(tmp_path, "model=hopfield", "data=digits")
    with pytest.raises(UserError, match=r"train with net.update=synchronous"):
        export.command([f"ckpt={tmp_path / 'checkpoints' / 'last.ckpt'}", f"output={tmp_path / 'memory.onnx'}"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("net.num_patterns=2000",), "net.num_patterns=2000, but an epoch .* only 12.. different .* 200 of each class"),
        (("net.rule=pseudo_inverse", "net.num_patterns=64"), "64 units hold at most 63 patterns"),
        (("net.rule=hebb",), "net.rule=hebb is unknown; did you mean 'hebbian'"),
        (("task.flip=0.7",), "task.flip=0.7 must lie between 0 and 0.5"),
        (("optimizer=adam",), "optimizer: Remembering learns without an optimizer"),
        (("model=modern_hopfield", "net.beta=0"), "net.beta=0.* must be above 0"),
        (("data=iris",), "takes images, but data=iris gives a table"),
    ],
)
def test_mistakes(overrides: tuple[str, ...], message: str, tmp_path: Path) -> None:
    words = ("model=hopfield", "data=digits", *overrides)
    with pytest.raises(UserError, match=message):
        run(tmp_path, *words)


def test_too_many_weights_are_refused() -> None:
    with pytest.raises(UserError, match="a Hopfield network of 150,528 units"):
        Hopfield(ImageSpec(3, 224, 224, TEN))


@pytest.mark.parametrize("value", [torch.zeros(3, 7), torch.zeros(3), (torch.zeros(3, 101),)])
def test_what_a_checkpoint_carries_must_be_patterns(value: Any) -> None:
    task = Remembering(Hopfield(SPEC), SPEC)
    assert task.carried_state_mismatch("waiting", torch.zeros(3, 101)) is None
    assert task.carried_state_mismatch("waiting", None) is None
    assert task.carried_state_mismatch("waiting", value) is not None
