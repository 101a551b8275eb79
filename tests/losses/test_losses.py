"""Losses against textbook formulas, computed one sample and one class at a time."""

from __future__ import annotations

import math
import pickle
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Categorical, Poisson, kl_divergence

from dlzoo.errors import UserError
from dlzoo.losses.functional import ClassLossName, ValueLossName, class_loss, value_link, value_loss

CLASS_LOSSES = get_args(ClassLossName)
VALUE_LOSSES = get_args(ValueLossName)
LABELS = torch.tensor([0, 2, 1, 2, 0])


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


LOGITS = 2 * randn(5, 3)
SOFT = randn(5, 3, seed=1).softmax(1)


def softmax(z: list[float]) -> list[float]:
    total = sum(math.exp(v) for v in z)
    return [math.exp(v) / total for v in z]


def sigmoid(v: float) -> float:
    return 1 / (1 + math.exp(-v))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def cos(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def on_labels(yes, no):
    """The textbook form for a label k: one term for the class, one for each other class, averaged."""
    return lambda z, k: mean([yes(v) if i == k else no(v) for i, v in enumerate(z)])


# logits of one sample, its label -> loss
BY_LABEL = {
    "cross_entropy": lambda z, k: -math.log(softmax(z)[k]),
    "binary_cross_entropy": on_labels(lambda v: -math.log(sigmoid(v)), lambda v: -math.log(1 - sigmoid(v))),
    "focal": on_labels(
        lambda v: -((1 - sigmoid(v)) ** 2) * math.log(sigmoid(v)), lambda v: -(sigmoid(v) ** 2) * math.log(sigmoid(-v))
    ),
    "hinge": on_labels(lambda v: max(0, 1 - v), lambda v: max(0, 1 + v)),
    "squared_hinge": on_labels(lambda v: max(0, 1 - v) ** 2, lambda v: max(0, 1 + v) ** 2),
    "cosine_similarity": lambda z, k: 1 - z[k] / math.hypot(*z),
    "mse": lambda z, k: mean([(p - (i == k)) ** 2 for i, p in enumerate(softmax(z))]),
    "mae": lambda z, k: mean([abs(p - (i == k)) for i, p in enumerate(softmax(z))]),
    "kl": lambda z, k: -math.log(softmax(z)[k]),
}
MIXES = {"cross_entropy", "binary_cross_entropy", "focal", "hinge", "squared_hinge"}  # linear in the target
# logits of one sample, its probabilities -> loss
BY_PROBABILITY = {
    "cosine_similarity": lambda z, t: 1 - cos(z, t),
    "mse": lambda z, t: mean([(p - q) ** 2 for p, q in zip(softmax(z), t, strict=True)]),
    "mae": lambda z, t: mean([abs(p - q) for p, q in zip(softmax(z), t, strict=True)]),
    "kl": lambda z, t: sum(q * math.log(q / p) for p, q in zip(softmax(z), t, strict=True)),
}


@pytest.mark.parametrize("name", CLASS_LOSSES)
def test_class_loss_of_labels_and_of_one_hot(name: ClassLossName) -> None:
    expected = [BY_LABEL[name](z, k) for z, k in zip(LOGITS.tolist(), LABELS.tolist(), strict=True)]
    loss = class_loss(name)
    torch.testing.assert_close(loss(LOGITS, LABELS), torch.tensor(expected, dtype=torch.double))
    torch.testing.assert_close(loss(LOGITS, F.one_hot(LABELS, 3).double()), loss(LOGITS, LABELS))


@pytest.mark.parametrize("name", CLASS_LOSSES)
def test_class_loss_of_soft_targets(name: ClassLossName) -> None:
    loss = class_loss(name)
    if name in MIXES:
        each = torch.stack([loss(LOGITS, torch.full((5,), k)) for k in range(3)], 1)
        expected = (SOFT * each).sum(1)
    else:
        rows = zip(LOGITS.tolist(), SOFT.tolist(), strict=True)
        expected = torch.tensor([BY_PROBABILITY[name](z, t) for z, t in rows], dtype=torch.double)
    torch.testing.assert_close(loss(LOGITS, SOFT), expected)


@pytest.mark.parametrize("name", CLASS_LOSSES)
def test_label_smoothing_is_a_soft_target(name: ClassLossName) -> None:
    smoothed = class_loss(name, label_smoothing=0.3)
    plain = class_loss(name)
    torch.testing.assert_close(smoothed(LOGITS, LABELS), plain(LOGITS, 0.7 * F.one_hot(LABELS, 3).double() + 0.1))
    torch.testing.assert_close(smoothed(LOGITS, SOFT), plain(LOGITS, 0.7 * SOFT + 0.1))


@pytest.mark.parametrize("name", CLASS_LOSSES)
@pytest.mark.parametrize("dtype", [torch.double, torch.float, torch.bfloat16])
def test_class_loss_has_a_finite_gradient_at_extreme_logits(name: ClassLossName, dtype: torch.dtype) -> None:
    z = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [0.0, 0.0, 0.0]], dtype=dtype, requires_grad=True)
    for target in (torch.tensor([0, 0, 1]), torch.tensor([1, 1, 2]), torch.full((3, 3), 1 / 3, dtype=torch.float)):
        for gamma in (0.0, 0.5, 2.0):
            value = class_loss(name, gamma=gamma)(z, target)
            (slope,) = torch.autograd.grad(value.sum(), z)
            assert value.isfinite().all()
            assert slope.isfinite().all()
            assert value.shape == (3,)
            assert value.dtype == (torch.double if dtype == torch.double else torch.float)  # bfloat16 is widened


def test_focal_with_gamma_zero_is_binary_cross_entropy() -> None:
    plain = class_loss("binary_cross_entropy")(LOGITS, SOFT)
    torch.testing.assert_close(class_loss("focal", gamma=0)(LOGITS, SOFT), plain)
    assert (class_loss("focal", gamma=5)(LOGITS, SOFT) < class_loss("focal", gamma=1)(LOGITS, SOFT)).all()


def log_cosh(output: list[float], target: list[float]) -> float:
    return mean([math.log(math.cosh(a - b)) for a, b in zip(output, target, strict=True)])


def huber(output: list[float], target: list[float], delta: float) -> float:
    errors = [abs(a - b) for a, b in zip(output, target, strict=True)]
    return mean([e * e / 2 if e <= delta else delta * (e - delta / 2) for e in errors])


# output and target of one sample -> loss
BY_VALUE = {
    "mse": lambda a, b: mean([(x - y) ** 2 for x, y in zip(a, b, strict=True)]),
    "mae": lambda a, b: mean([abs(x - y) for x, y in zip(a, b, strict=True)]),
    "huber": lambda a, b: huber(a, b, 1.0),
    "log_cosh": log_cosh,
    "poisson": lambda a, b: mean([math.exp(x) - y * x for x, y in zip(a, b, strict=True)]),
    "cosine_similarity": lambda a, b: 1 - cos(a, b),
    "kl": lambda a, b: sum(q * math.log(q / p) for p, q in zip(softmax(a), b, strict=True)),
}


@pytest.mark.parametrize("name", VALUE_LOSSES)
def test_value_loss_is_its_formula(name: ValueLossName) -> None:
    targets = {"poisson": SOFT.mul(9).round(), "kl": SOFT}
    target = targets.get(name, 2 * randn(5, 3, seed=2))
    expected = [BY_VALUE[name](a, b) for a, b in zip(LOGITS.tolist(), target.tolist(), strict=True)]
    torch.testing.assert_close(value_loss(name)(LOGITS, target), torch.tensor(expected, dtype=torch.double))


@pytest.mark.parametrize("delta", [0.1, 3.0])
def test_huber_changes_at_delta(delta: float) -> None:
    target = 2 * randn(5, 3, seed=2)
    expected = [huber(a, b, delta) for a, b in zip(LOGITS.tolist(), target.tolist(), strict=True)]
    torch.testing.assert_close(
        value_loss("huber", delta=delta)(LOGITS, target), torch.tensor(expected, dtype=torch.double)
    )


@pytest.mark.parametrize("error", [-1e4, 1e4])
def test_log_cosh_of_large_errors_is_the_absolute_error_minus_log_2(error: float) -> None:
    output = torch.tensor([[error]], requires_grad=True)
    loss = value_loss("log_cosh")(output, torch.zeros(1, 1))
    loss.sum().backward()
    assert loss.item() == pytest.approx(1e4 - math.log(2))
    assert output.grad is not None
    assert output.grad.item() == math.copysign(1, error)


def test_links_map_outputs_of_poisson_and_kl_to_predictions() -> None:
    counts = SOFT.mul(9).round()
    likelihood = Poisson(value_link("poisson")(LOGITS)).log_prob(counts).mean(1)
    constant = torch.lgamma(counts + 1).mean(1)  # which the loss leaves out
    torch.testing.assert_close(value_loss("poisson")(LOGITS, counts), -likelihood - constant)
    divergence = kl_divergence(Categorical(SOFT), Categorical(value_link("kl")(LOGITS)))
    torch.testing.assert_close(value_loss("kl")(LOGITS, SOFT), divergence)
    assert value_link("mse")(LOGITS) is LOGITS


def test_value_loss_refuses_a_target_that_would_broadcast() -> None:
    with pytest.raises(ValueError, match=r"must both be \(B, D\)"):
        value_loss("mse")(torch.zeros(4, 1), torch.zeros(4))


@pytest.mark.parametrize("name", ["cosine_similarity", "kl"])
def test_losses_of_vectors_refuse_a_single_value(name: ValueLossName) -> None:
    with pytest.raises(UserError, match=f"task.loss={name}"):
        value_loss(name)(torch.zeros(4, 1), torch.zeros(4, 1))


def test_two_values_are_a_vector() -> None:
    output, target = torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([[4.0, 3.0], [0.5, 0.5]])
    assert value_loss("cosine_similarity")(output, target)[0].item() == pytest.approx(1 - 24 / 25)
    assert value_loss("kl")(output, target)[1].item() == pytest.approx(0)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: class_loss("hnge"), "task.loss=hnge is unknown; did you mean 'hinge'"),
        (lambda: value_loss("hinge"), "task.loss=hinge"),
        (lambda: class_loss("focal", gamma=-1), "task.gamma=-1"),
        (lambda: class_loss("mse", label_smoothing=1.0), "task.label_smoothing=1.0"),
        (lambda: value_loss("huber", delta=0), "task.delta=0"),
    ],
)
def test_errors_of_options_name_their_key(make, key: str) -> None:
    with pytest.raises(UserError, match=key):
        make()


def test_losses_can_be_pickled() -> None:
    losses = [class_loss(n, gamma=1, label_smoothing=0.1) for n in CLASS_LOSSES] + [value_loss(n) for n in VALUE_LOSSES]
    for loss in losses:
        copy = pickle.loads(pickle.dumps(loss))
        assert torch.equal(copy(LOGITS, SOFT), loss(LOGITS, SOFT))
