"""Losses and metrics of supervised tasks against values computed by hand."""

from __future__ import annotations

from math import exp, log
from typing import Any

import pytest
import torch
from torch import Tensor

from dlzoo.errors import UserError
from dlzoo.losses.objectives import ClassObjective, LabelObjective, Objective, ValueObjective, objective_for
from dlzoo.specs.targets import Classes, Labels, NextTokens, Values

TWO = Classes(("cat", "dog"), counts=(30, 10))
THREE = Classes(("a", "b", "c"))
LOGITS = torch.tensor([[0.0, log(3)], [log(3), 0.0], [0.0, 0.0], [0.0, log(7)]])
"""Probabilities of the second class: 3/4, 1/4, 1/2, 7/8."""
LABELS = torch.tensor([1, 1, 0, 0])


def weights_of(objective: ClassObjective) -> list[float]:
    assert isinstance(objective.class_weights, Tensor)
    return objective.class_weights.tolist()


# Class weights


def test_balanced_weights_are_inverse_to_the_counts() -> None:
    """n / (K n_k): the rare class counts more, and the mean weight of a training row is 1."""
    objective = ClassObjective(TWO, class_weights="balanced")
    assert weights_of(objective) == pytest.approx([40 / (2 * 30), 40 / (2 * 10)])
    assert objective.weights(torch.tensor([0, 1, 1]), None).tolist() == pytest.approx([2 / 3, 2, 2])


def test_balanced_classes_contribute_equally() -> None:
    """Each class's rows together have the weight n / K."""
    counts = (5, 17, 1)
    weights = weights_of(ClassObjective(Classes(("a", "b", "c"), counts), class_weights="balanced"))
    assert [w * n for w, n in zip(weights, counts, strict=True)] == pytest.approx([23 / 3] * 3)


def test_a_class_without_rows_counts_as_one_with_one() -> None:
    weights = weights_of(ClassObjective(Classes(("a", "b"), (9, 0)), class_weights="balanced"))
    assert weights == pytest.approx([10 / (2 * 9), 10 / 2])


def test_given_weights_are_used_unchanged() -> None:
    objective = ClassObjective(TWO, class_weights=[1, 4])
    assert weights_of(objective) == [1.0, 4.0]
    assert "class_weights" not in objective.state_dict(), "they come from the config"


def test_weights_of_a_mixed_target_are_mixed() -> None:
    objective = ClassObjective(TWO, class_weights=[1, 4])
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.75, 0.25]])
    assert objective.weights(target, None).tolist() == [1.0, 4.0, 1.75]


def test_class_weights_and_sample_weights_multiply() -> None:
    each = torch.tensor([1.0, 2.0, 3.0])
    labels = torch.tensor([0, 1, 0])
    assert ClassObjective(TWO, class_weights=[1, 4]).weights(labels, each).tolist() == [1.0, 8.0, 3.0]
    assert ClassObjective(TWO).weights(labels, each) is each
    assert ClassObjective(TWO).weights(labels, None) is None


@pytest.mark.parametrize(
    ("target", "given", "message"),
    [
        (Classes(("cat", "dog")), "balanced", "class_weights=balanced needs the class counts"),
        (TWO, [1.0], r"task\.class_weights has 1 values, but there are 2 classes: cat, dog"),
        (TWO, [1.0, 2.0, 3.0], "has 3 values"),
    ],
)
def test_wrong_numbers_of_weights_are_rejected(target: Classes, given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ClassObjective(target, class_weights=given)


# Classes


def test_the_criterion_of_classes_is_one_loss_for_each_row() -> None:
    expected = [log(4 / 3), log(4), log(2), log(8)]  # -log of the label's probability; of row 2: 3/4 is the first's
    found = ClassObjective(TWO).criterion(LOGITS, torch.tensor([1, 1, 0, 0]))
    torch.testing.assert_close(found, torch.tensor(expected))


def test_loss_options_are_passed_on() -> None:
    smooth = ClassObjective(TWO, label_smoothing=0.5).criterion(LOGITS[:1], LABELS[:1])
    assert smooth.item() == pytest.approx(0.75 * log(4 / 3) + 0.25 * log(4))
    row, p = torch.tensor([[log(3), 0.0]]), 3 / 4  # sigmoids 3/4 and 1/2
    for options, gamma in (({"gamma": 3.0}, 3), ({}, 2)):  # Lin et al. found 2 best
        focal = ClassObjective(TWO, loss="focal", **options).criterion(row, torch.tensor([0]))
        assert focal.item() == pytest.approx(((1 - p) ** gamma * -log(p) + 0.5**gamma * log(2)) / 2)


def test_one_logit_is_that_of_the_second_class() -> None:
    objective, z = ClassObjective(TWO), torch.tensor([[log(3)], [-log(3)]])
    torch.testing.assert_close(objective.probabilities(z), torch.tensor([[1 / 4, 3 / 4], [3 / 4, 1 / 4]]))
    assert objective.predictions(z).tolist() == [1, 0]
    torch.testing.assert_close(objective.criterion(z, torch.tensor([1, 1])), torch.tensor([log(4 / 3), log(4)]))
    assert objective.reported(z).tolist() == objective.logits(z).tolist()
    assert objective.reported(z).shape == (2, 2)


def test_probabilities_and_predictions() -> None:
    objective = ClassObjective(THREE)
    z = torch.tensor([[0.0, log(2), log(5)], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(objective.probabilities(z)[0], torch.tensor([1 / 8, 2 / 8, 5 / 8]))
    assert objective.predictions(z).tolist() == [2, 0]
    assert objective.reported(z) is z


def test_metrics_of_classes() -> None:
    """Labels 0 0 0 1 2, predictions 0 0 1 1 0. F1 of the classes: 2 * 2 / (3 + 3), 2 * 1 / (1 + 2), 0."""
    metrics = ClassObjective(THREE).metrics()
    found = metrics(torch.tensor([0, 0, 1, 1, 0]), torch.tensor([0, 0, 0, 1, 2]))
    assert {name: value.item() for name, value in found.items()} == pytest.approx(
        {"accuracy": 3 / 5, "f1": (2 / 3 + 2 / 3 + 0) / 3}
    )


def test_training_accuracy_also_of_mixed_targets() -> None:
    objective = ClassObjective(TWO)  # predictions 1, 0, 0, 1
    assert objective.train_measures(LOGITS, torch.tensor([1, 1, 0, 1]))["accuracy"].item() == pytest.approx(3 / 4)
    mixed = torch.tensor([[0.4, 0.6], [0.9, 0.1], [0.7, 0.3], [0.8, 0.2]])
    assert objective.train_measures(LOGITS, mixed)["accuracy"].item() == pytest.approx(3 / 4)


# Values


def test_metrics_of_values_are_in_the_target_s_units() -> None:
    """Errors 1, 1, 4 around a mean of 2: squares 18 against 8 in all."""
    found = ValueObjective(Values(("y",))).metrics()(
        torch.tensor([[1.0], [1.0], [8.0]]), torch.tensor([[0.0], [2.0], [4.0]])
    )
    assert {name: value.item() for name, value in found.items()} == pytest.approx(
        {"rmse": (18 / 3) ** 0.5, "mae": 2.0, "r2": 1 - 18 / 8}
    )


def test_values_have_a_loss_per_row_and_no_weights() -> None:
    objective = ValueObjective(Values(("x", "y")))
    output, target = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[1.0, 4.0], [3.0, 1.0]])
    assert objective.criterion(output, target).tolist() == [2.0, 5.0]
    assert objective.weights(target, None) is None
    assert objective.weights(target, target) is target
    assert objective.train_measures(output, target) == {}
    for options, delta in (({"delta": 2.0}, 2), ({}, 1)):
        huber = ValueObjective(Values(("y",)), loss="huber", **options)
        assert huber.criterion(torch.tensor([[5.0]]), torch.tensor([[0.0]])).item() == delta * (5 - delta / 2)


def test_predictions_of_values_apply_the_link() -> None:
    rates = ValueObjective(Values(("n",)), loss="poisson")
    assert rates.predictions(torch.tensor([[2.0]])).item() == pytest.approx(exp(2))
    assert rates.reported(torch.tensor([[2.0]])).item() == pytest.approx(exp(2))
    half = ValueObjective(Values(("y",))).predictions(torch.tensor([[2.5]], dtype=torch.bfloat16))
    assert (half.item(), half.dtype) == (2.5, torch.float)


@pytest.mark.parametrize(
    ("objective", "monitor"),
    [(ClassObjective(TWO), ("val/loss", "min")), (ValueObjective(Values(("y",))), ("val/rmse", "min"))],
)
def test_monitored_metrics(objective: ClassObjective | ValueObjective, monitor: tuple[str, str]) -> None:
    assert objective.monitor == monitor


# Labels

SPAM = Labels(("spam", "urgent"))
ANSWERS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
LABEL_LOGITS = torch.tensor([[log(3), -log(3)], [-log(3), -log(3)], [log(7), log(7)]])


def test_the_loss_of_labels_is_the_mean_binary_cross_entropy() -> None:
    """Each label counts on its own; a softmax over both would give other numbers."""
    loss = LabelObjective(SPAM).criterion(LABEL_LOGITS, ANSWERS)
    assert loss.tolist() == pytest.approx([-log(3 / 4), (-log(3 / 4) - log(1 / 4)) / 2, -log(7 / 8)])


def test_what_labels_are_measured_by() -> None:
    objective = objective_for(SPAM, gamma=2.0, delta=1.0, label_smoothing=0.1)
    assert objective.answers(LABEL_LOGITS)[0].tolist() == pytest.approx([3 / 4, 1 / 4])
    metrics = objective.metrics()
    metrics.update(*objective.measured(LABEL_LOGITS, ANSWERS))
    found = {name: value.item() for name, value in metrics.compute().items()}
    assert found == pytest.approx(
        {"accuracy": 5 / 6, "spam/accuracy": 1, "urgent/accuracy": 2 / 3, "exact_match": 2 / 3, "f1": (1 + 2 / 3) / 2}
    )
    assert objective.train_measures(LABEL_LOGITS, ANSWERS)["accuracy"].item() == pytest.approx(5 / 6)


def test_options_that_labels_have_no_use_for_are_refused() -> None:
    with pytest.raises(UserError, match="class_weights are for classes, but this data gives labels"):
        objective_for(SPAM, class_weights="balanced")
    with pytest.raises(UserError, match=r"task\.loss=hinge is not for labels; they take binary_cross_entropy or focal"):
        objective_for(SPAM, loss="hinge")


def test_a_new_kind_of_target_brings_its_objective() -> None:
    class Ranks(Values):
        pass

    class RankObjective(ValueObjective, target=Ranks):
        pass

    assert type(objective_for(Ranks(("y",)))) is RankObjective
    assert type(objective_for(Values(("y",)))) is ValueObjective
    with pytest.raises(UserError, match="no objective is known for next tokens"):
        objective_for(NextTokens(3))
    assert issubclass(RankObjective, Objective)


# What is reported


def scaled_values(*columns: list[float], log: bool = False) -> tuple[Values, Tensor]:
    y = torch.tensor(columns).T
    names = tuple(f"y{i}" for i in range(len(columns)))
    return Values(names).scaled(y, log=log), y


@pytest.mark.parametrize("log", [False, True])
def test_values_are_learned_with_mean_0_and_deviation_1_and_come_back(log: bool) -> None:
    target, y = scaled_values([90.0, 250.0, 530.0], [1.0, 2.0, 6.0], log=log)
    objective = ValueObjective(target)
    z = objective.scaled(y)
    torch.testing.assert_close(z.mean(0), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(z.std(0, correction=0), torch.ones(2))
    torch.testing.assert_close(objective.answers(z), y)
    assert not objective.state_dict(), "the scaling is the spec's"


def test_values_that_are_not_scaled_stay_as_they_are() -> None:
    y = torch.tensor([[90.0], [250.0]])
    objective = ValueObjective(Values(("y",)))
    assert objective.scaled(y) is y
    assert not objective.has_units
    assert objective.answers(y).tolist() == y.tolist()


@pytest.mark.parametrize("loss", ["mse", "mae"])
def test_losses_of_scaled_values_are_reported_in_their_units(loss: Any) -> None:
    target, y = scaled_values([90.0, 250.0, 530.0], [1.0, 2.0, 6.0])
    objective = ValueObjective(target, loss=loss)
    output = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    error = objective.predictions(output) - y
    torch.testing.assert_close(objective.in_units(output, y), (error**2 if loss == "mse" else error.abs()).mean(1))
    z = (y - y.mean(0)) / y.std(0, correction=0)
    error = output - z
    torch.testing.assert_close(objective.criterion(output, y), (error**2 if loss == "mse" else error.abs()).mean(1))


def test_the_threshold_of_huber_counts_standard_deviations() -> None:
    target, y = scaled_values([0.0, 200.0])  # mean 100, standard deviation 100
    objective = ValueObjective(target, loss="huber", delta=0.5)
    output = torch.tensor([[-1.0 + 3.0], [1.0]])  # errors of 3 and 0 deviations
    assert objective.criterion(output, y).tolist() == pytest.approx([0.5 * (3 - 0.25), 0.0])
    assert objective.in_units(output, y).tolist() == pytest.approx([0.5 * (3 - 0.25) * 100**2, 0.0])


def test_predictions_of_a_logarithm_are_values() -> None:
    target, y = scaled_values([1.0, exp(2)], log=True)
    objective = ValueObjective(target)
    assert objective.answers(torch.tensor([[-1.0], [1.0]])).flatten().tolist() == pytest.approx(y.flatten().tolist())


@pytest.mark.parametrize("loss", ["poisson", "kl", "cosine_similarity"])
def test_counts_distributions_and_directions_are_not_scaled(loss: Any) -> None:
    target, y = scaled_values([1.0, 3.0, 8.0], [2.0, 2.0, 5.0])
    output = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    same = ValueObjective(Values(target.names), loss=loss)
    torch.testing.assert_close(ValueObjective(target, loss=loss).criterion(output, y), same.criterion(output, y))
    with pytest.raises(UserError, match=r"data\.target_transform=log"):
        ValueObjective(Values(("a", "b")).scaled(y, log=True), loss=loss)


def test_label_smoothing_and_class_weights_are_not_in_what_is_reported() -> None:
    objective = ClassObjective(TWO, label_smoothing=0.1, class_weights="balanced")
    usual = ClassObjective(TWO)
    assert not objective.is_plain
    torch.testing.assert_close(objective.plain(LOGITS, LABELS), usual.criterion(LOGITS, LABELS))
    assert not torch.allclose(objective.criterion(LOGITS, LABELS), usual.criterion(LOGITS, LABELS))
