"""Collaborative filtering: softmax units of rated items, against exact sums and against simple methods."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from picture_runs import content, resume, run, run_until, same

from dlzoo.commands import export
from dlzoo.distributed.noise import GeneratorNoise
from dlzoo.errors import UserError
from dlzoo.layers.boltzmann import BoltzmannLayer
from dlzoo.layers.visible_units import SoftmaxUnits
from dlzoo.metrics import ratings as methods
from dlzoo.nets.ratings_rbm import RatingsRBM
from dlzoo.specs.ratings import ItemRatings, RatingsSpec
from dlzoo.tasks.ratings_rbm import CollaborativeFiltering

SMALL = ("model=ratings_rbm", "data=ratings", "data.num_users=200", "data.num_items=30", "net.num_hidden=20")
SPEC = RatingsSpec(ItemRatings(("a", "b", "c")), (1.0, 2.0, 5.0))


def layer(num_items: int = 2, num_levels: int = 3, num_hidden: int = 3) -> BoltzmannLayer:
    torch.manual_seed(0)
    made = BoltzmannLayer(SoftmaxUnits(num_levels), num_items * num_levels, num_hidden, init_std=1.0)
    with torch.no_grad():
        made.visible_bias.normal_()
        made.hidden_bias.normal_()
    return made.double()


def test_partition_function_and_conditionals_are_exact_sums() -> None:
    """Over all levels of two items, and all states of three hidden units."""
    machine = layer()
    units: Any = machine.units
    levels = torch.tensor([*itertools.product((1, 2, 3), repeat=2)])
    v = units.states(levels).double()
    hidden = torch.tensor([*itertools.product((0.0, 1.0), repeat=3)], dtype=torch.float64)
    energy = -(v @ machine.visible_bias)[:, None] - hidden @ machine.hidden_bias - v @ machine.weight @ hidden.T
    torch.testing.assert_close(machine.free_energy(v), -(-energy).logsumexp(1))
    log_z = (-energy).logsumexp((0, 1))
    by_hidden = hidden @ machine.hidden_bias + units.log_partition(machine.visible_input(hidden), machine.visible_bias)
    torch.testing.assert_close(by_hidden.logsumexp(0), log_z)
    given = (-energy[:, 5]).softmax(0)
    torch.testing.assert_close(units.mean(machine.visible_input(hidden[5:6]))[0], given @ v)


def test_levels_are_sampled_as_often_as_they_should_be() -> None:
    units = SoftmaxUnits(3)
    inputs = torch.tensor([[0.0, 1.0, -1.0, 2.0, 0.0, 0.0]]).expand(20_000, -1)
    v = units.sample(inputs, GeneratorNoise(torch.Generator().manual_seed(0)))
    assert units.groups(v).sum(-1).unique().tolist() == [1.0]
    torch.testing.assert_close(v.mean(0), units.mean(inputs)[0], atol=0.012, rtol=0)
    torch.testing.assert_close(
        units.mean(units.bias_for(torch.tensor([0.1, 0.2, 0.1]))), torch.tensor([0.25, 0.5, 0.25]), atol=2e-3, rtol=0
    )


def test_items_without_a_rating_take_no_part() -> None:
    """Neither in the hidden units nor in the gradient, whatever the machine thinks of them."""
    task: Any = CollaborativeFiltering(RatingsRBM(SPEC, num_hidden=4), SPEC)
    task.log_step = lambda *_, **__: None
    task.step_optimizer = lambda: None
    x = torch.tensor([[1.0, 0.0, 3.0], [2.0, 0.0, 0.0]])
    with torch.no_grad():
        task.layer.visible_bias.normal_()
        task.update(task.layer, task.inputs(x), 1)
    assert task.layer.weight.grad[3:6].abs().max() == 0
    assert task.layer.visible_bias.grad[3:6].abs().max() == 0
    assert task.layer.visible_bias.grad[:3].abs().max() > 0
    before = task.layer.hidden_input(task.inputs(x))
    with torch.no_grad():
        task.layer.weight[3:6] = 99.0
    assert torch.equal(task.layer.hidden_input(task.inputs(x)), before)


def test_the_expected_rating_is_in_units_of_the_scale() -> None:
    task: Any = CollaborativeFiltering(RatingsRBM(SPEC, num_hidden=2, init_std=0.0), SPEC)
    with torch.no_grad():
        task.layer.visible_bias.copy_(torch.tensor([0.2, 0.3, 0.5] * 3).log())
    expected = 0.2 * 1 + 0.3 * 2 + 0.5 * 5
    assert task.predict(torch.zeros(2, 3)).flatten().tolist() == pytest.approx([expected] * 6)


def test_it_beats_means(tmp_path: Path) -> None:
    overrides = (*SMALL, "data.density=0.6", "trainer.max_epochs=15", "callbacks=[checkpoint,ratings]")
    results = run(tmp_path, *overrides)["metrics"]
    assert results["test/rmse"] < 0.8 * results["baseline/rmse_mean"]
    assert results["baseline/rank_factorization"] >= 3
    assert results["baseline/rmse_factorization"] < 0.7 * results["baseline/rmse_biases"]
    assert (tmp_path / "ratings.png").is_file()
    with (tmp_path / "recommendations.csv").open() as file:
        rows = [*csv.DictReader(file)]
    assert [row["user"] for row in rows[:5]] == ["user 0"] * 5
    assert all(1 <= float(row["expected_rating"]) <= 5 for row in rows)


def test_matrix_factorization_finds_a_low_rank() -> None:
    draw = torch.Generator().manual_seed(0)
    users, items = (torch.randn(n, 2, generator=draw, dtype=torch.float64) for n in (80, 30))
    matrix = 3 + users @ items.T
    holes = torch.rand(80, 30, generator=draw)
    train, val, test = (
        torch.where((holes >= low) & (holes < high), matrix, torch.nan)
        for low, high in ((0, 0.6), (0.6, 0.7), (0.7, 1))
    )
    predicted, rank = methods.factorization(train, val)
    assert 2 <= rank <= 4, "that of the matrix, and what the biases take away"
    assert methods.rmse(predicted, test) < 0.35 < methods.rmse(methods.biases(train), test)
    means = methods.item_means(torch.tensor([[1.0, torch.nan], [3.0, torch.nan]], dtype=torch.float64))
    assert means.tolist() == [[2, 2], [2, 2]], "the mean of all ratings, of an item without any"


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    run(tmp_path / "whole", *SMALL)
    run_until(CollaborativeFiltering, (1, 3), tmp_path / "parts", *SMALL)
    resume(tmp_path / "parts")
    assert same(content(tmp_path / "whole")["state_dict"], content(tmp_path / "parts")["state_dict"])


def test_an_export_is_verified_and_mistakes_are_sentences(tmp_path: Path) -> None:
    run(tmp_path, *SMALL)
    export.command([f"ckpt={tmp_path / 'checkpoints' / 'last.ckpt'}", f"output={tmp_path / 'net.onnx'}"])
    assert (tmp_path / "net.onnx").is_file()
    for overrides, message in (
        ((*SMALL, "task.num_chains=10"), "persistent chains have all visible units"),
        (("model=ratings_rbm", "data=iris"), "ratings_rbm takes ratings, but data=iris gives a table"),
        (("model=mlp", "data=ratings"), "mlp takes .*, but data=ratings gives ratings"),
    ):
        with pytest.raises(UserError, match=message):
            run(tmp_path, *overrides)
