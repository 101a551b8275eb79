"""Losses by name. Each takes (output, target) and returns one value per sample, (B,), so that the task can apply class
weights and sample weights in a single weighted mean.

For classes the output is logits (B, K) and the target labels (B,) int64 or probabilities (B, K), as after mixing; a
one-hot target is equivalent to its label. Losses with a term per class or per value are averaged over these terms, as
in Keras, so that published learning rates apply; `cross_entropy` and `kl` are sums by nature.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlzoo.errors import UserError, pick

ClassLossName = Literal[
    "cross_entropy",
    "binary_cross_entropy",
    "focal",
    "hinge",
    "squared_hinge",
    "cosine_similarity",
    "mse",
    "mae",
    "kl",
]
ValueLossName = Literal["mse", "mae", "huber", "log_cosh", "poisson", "cosine_similarity", "kl"]
Loss = Callable[[Tensor, Tensor], Tensor]
ClassLoss = ClassLossName | nn.Module
ValueLoss = ValueLossName | nn.Module
"""By name, or a module of the user that takes (output, target) and returns one value per sample."""


def class_loss(name: ClassLoss, *, label_smoothing: float = 0.0, gamma: float = 2.0) -> Loss:
    """A loss for classes.

    Args:
        name: or a module, which gets logits (B, K) and probabilities (B, K).
        label_smoothing: fraction of the target that is spread evenly over all classes (Szegedy et al. 2016).
        gamma: focusing parameter of ``focal``; 0 makes it binary_cross_entropy.
    """
    if not 0 <= label_smoothing < 1:
        raise UserError(f"task.label_smoothing={label_smoothing} must be at least 0 and below 1")
    if gamma < 0:
        raise UserError(f"task.gamma={gamma} must not be negative")
    if isinstance(name, nn.Module):
        return partial(_soften, partial(_of_rows, name), label_smoothing)
    table: dict[str, Loss] = {
        "cross_entropy": partial(_cross_entropy, label_smoothing=label_smoothing),
        "binary_cross_entropy": partial(_mean, F.binary_cross_entropy_with_logits),
        "focal": partial(_focal, gamma=gamma),
        "hinge": partial(_hinge, power=1),
        "squared_hinge": partial(_hinge, power=2),
        "cosine_similarity": _cosine,
        "mse": partial(_on_probabilities, F.mse_loss),
        "mae": partial(_on_probabilities, F.l1_loss),
        "kl": _kl,
    }
    loss = pick(name, table, "task.loss")
    return loss if name == "cross_entropy" else partial(_soften, loss, label_smoothing)


def value_loss(name: ValueLoss, *, delta: float = 1.0) -> Loss:
    """A loss for values: output (B, D) and target (B, D).

    ``poisson`` takes the output as log-rates and ``kl`` as logits of a distribution over the D values, each row of the
    target summing to 1; `value_link` turns such outputs into predicted values.

    Args:
        name: or a module, which gets (B, D) and (B, D).
        delta: threshold of ``huber`` above which errors count linearly (P. J. Huber, 1964).
    """
    if delta <= 0:
        raise UserError(f"task.delta={delta} must be above 0")
    if isinstance(name, nn.Module):
        return partial(_match, partial(_of_rows, name), "")
    table: dict[str, Loss] = {
        "mse": partial(_mean, F.mse_loss),
        "mae": partial(_mean, F.l1_loss),
        "huber": partial(_mean, partial(F.huber_loss, delta=delta)),
        "log_cosh": _log_cosh,
        "poisson": partial(_mean, partial(F.poisson_nll_loss, log_input=True)),
        "cosine_similarity": _cosine,
        "kl": _kl,
    }
    return partial(_match, pick(name, table, "task.loss"), name)


def value_link(name: ValueLoss) -> Callable[[Tensor], Tensor]:
    """The map from a net's output (B, D) to the predicted values, for metrics and predictions."""
    links: dict[str, Callable[[Tensor], Tensor]] = {"poisson": torch.exp, "kl": partial(torch.softmax, dim=1)}
    return nn.Identity() if isinstance(name, nn.Module) else links.get(name, nn.Identity())


def _of_rows(loss: nn.Module, output: Tensor, target: Tensor) -> Tensor:
    """Check that a loss of the user returns one value per row: their mean is weighted by the task."""
    losses = loss(output, target)
    if losses.shape != output.shape[:1]:
        raise UserError(
            f"task.loss._target_: {type(loss).__name__} returns {tuple(losses.shape)} for {len(output)} rows; a loss "
            f"returns one value per row, ({len(output)},): without reduction, as the mean over the rows is taken later"
        )
    return losses


def _soften(loss: Loss, label_smoothing: float, output: Tensor, target: Tensor) -> Tensor:
    """Apply a loss to one-hot or smoothed probabilities."""
    output, num_classes = widen(output), output.shape[1]
    t = (F.one_hot(target, num_classes) if target.ndim == 1 else target).to(output.dtype)
    if label_smoothing:
        t = t * (1 - label_smoothing) + label_smoothing / num_classes
    return loss(output, t)


def _match(loss: Loss, name: str, output: Tensor, target: Tensor) -> Tensor:
    """Check the shapes: (B, 1) against (B,) would broadcast to (B, B) and fit the mean of the batch."""
    if output.shape != target.shape:
        raise ValueError(f"output {tuple(output.shape)} and target {tuple(target.shape)} must both be (B, D)")
    if name in ("cosine_similarity", "kl") and output.shape[1] < 2:
        raise UserError(f"task.loss={name} compares vectors, but the target is a single value; use mse, mae or huber")
    return loss(widen(output), target)


def widen(output: Tensor) -> Tensor:
    """Cast half precision to float32, as autocast does for PyTorch's losses."""
    return output.float() if output.dtype in (torch.float16, torch.bfloat16) else output


def _mean(each: Callable[..., Tensor], output: Tensor, target: Tensor) -> Tensor:
    return each(output, target, reduction="none").mean(1)


def _cross_entropy(output: Tensor, target: Tensor, *, label_smoothing: float) -> Tensor:
    output = widen(output)
    if target.ndim > 1:
        target = target.to(output.dtype)
    return F.cross_entropy(output, target, reduction="none", label_smoothing=label_smoothing)


def _focal(z: Tensor, t: Tensor, *, gamma: float) -> Tensor:
    """Binary cross-entropy of each class times (1 - p of the truth)^gamma: T.-Y. Lin et al., "Focal Loss for Dense
    Object Detection", ICCV 2017, equation 4, without the alpha: class weights do that. A soft target mixes the losses
    of both answers."""
    log_yes, log_no = F.logsigmoid(z), F.logsigmoid(-z)
    # Powers are computed from logs: p ** gamma has an infinite slope at p = 0 for gamma below 1.
    yes, no = (gamma * log_no).exp() * log_yes, (gamma * log_yes).exp() * log_no
    return -torch.lerp(no, yes, t).mean(1)


def _hinge(z: Tensor, t: Tensor, *, power: int) -> Tensor:
    """max(0, 1 - y z)^power with y = 1 for the class and -1 for the others; soft targets mix the losses of both."""
    return torch.lerp((1 + z).relu() ** power, (1 - z).relu() ** power, t).mean(1)


def _cosine(output: Tensor, target: Tensor) -> Tensor:
    """1 - cos of the angle between the vectors; for classes between logits and one-hot target, as in B. Barz,
    J. Denzler, "Deep Learning on Small Datasets without Pre-Training using Cosine Loss", WACV 2020."""
    return 1 - F.cosine_similarity(output, target, dim=1)


def _on_probabilities(each: Callable[..., Tensor], z: Tensor, t: Tensor) -> Tensor:
    """With squares, the score of G. W. Brier, "Verification of Forecasts Expressed in Terms of Probability", 1950,
    divided by K."""
    return _mean(each, z.softmax(1), t)


def _kl(z: Tensor, t: Tensor) -> Tensor:
    """KL(target || softmax(z)) in nats."""
    return F.kl_div(z.log_softmax(1), t, reduction="none").sum(1)


def _log_cosh(output: Tensor, target: Tensor) -> Tensor:
    """log(cosh(error)), without the overflow of cosh."""
    error = output - target
    return (torch.logaddexp(error, -error) - math.log(2)).mean(1)


def pinball(quantiles: Tensor, target: Tensor, levels: Sequence[float]) -> Tensor:
    """The mean pinball loss of quantiles (…, Q) for a target (…): R. Koenker, G. Bassett, "Regression Quantiles", 1978.

    >>> round(pinball(torch.tensor([[1.0, 3.0]]), torch.tensor([2.0]), (0.1, 0.9)).item(), 3)
    0.1

    Raises:
        ValueError: the shapes do not match: they would be broadcast.
    """
    if quantiles.shape != (*target.shape, len(levels)):
        raise ValueError(f"quantiles are {tuple(quantiles.shape)}, but must be {(*target.shape, len(levels))}")
    error = target[..., None] - widen(quantiles)
    level = error.new_tensor(levels)
    return torch.maximum(level * error, (level - 1) * error).mean()
