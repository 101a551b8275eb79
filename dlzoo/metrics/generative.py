"""How good a set of made pictures is, by the features and logits that a ruler (ruler.py) reads from them."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor, nn

CHUNK = 1000


class Reading(NamedTuple):
    """Features (N, F) and logits (N, K) of N pictures."""

    features: Tensor
    logits: Tensor


def measures(made: Reading, real: Reading, *, sure: float = 0.9) -> dict[str, float]:
    """Fréchet distance, inception score, confident share, precision and recall of made pictures beside real ones.

    Args:
        sure: probability of a class from which on a picture counts as confidently recognised.
    """
    precision, recall = precision_recall(made.features, real.features)
    return {
        "frechet": frechet(made.features, real.features),
        "inception_score": inception_score(made.logits),
        "confident_share": float((made.logits.softmax(1).amax(1) > sure).float().mean()),
        "precision": precision,
        "recall": recall,
    }


def class_shares(logits: Tensor) -> Tensor:
    """The share of each class among the pictures, (K,)."""
    return logits.argmax(1).bincount(minlength=logits.shape[1]) / len(logits)


def frechet(made: Tensor, real: Tensor) -> float:
    """Between Gaussians fitted to both: M. Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a
    Local Nash Equilibrium", NeurIPS 2017."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    given = nn.Identity()  # the features are read already
    given.num_features = made.shape[1]  # type: ignore[assignment]
    metric = FrechetInceptionDistance(feature=given, sync_on_compute=False)  # one rank measures alone
    metric.update(real.double(), real=True)
    metric.update(made.double(), real=False)
    return float(metric.compute())


def inception_score(logits: Tensor) -> float:
    """exp of the mean KL(p(y | x) || p(y)), between 1 and the number of classes: T. Salimans et al., "Improved
    Techniques for Training GANs", NeurIPS 2016."""
    from torchmetrics.image.inception import InceptionScore

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # it shuffles the pictures, and the order of a sum is its last digit
        warnings.filterwarnings("ignore", "Metric `InceptionScore` will save all")
        warnings.filterwarnings("ignore", r"std\(\): degrees of freedom")  # of one split
        metric = InceptionScore(feature=nn.Identity(), splits=1, sync_on_compute=False)
        metric.update(logits)
        return float(metric.compute()[0])


def precision_recall(made: Tensor, real: Tensor, k: int = 3) -> tuple[float, float]:
    """The shares of made pictures among real ones, and of real pictures among made ones: T. Kynkäänniemi et al.,
    "Improved Precision and Recall Metric for Assessing Generative Models", NeurIPS 2019. A picture is among others if
    it is no farther from one of them than that one's k-th neighbour."""
    return among(made, real, k), among(real, made, k)


def among(points: Tensor, others: Tensor, k: int) -> float:
    k = min(k, len(others) - 1)
    # the smallest distance is that of a point from itself
    radii = torch.cat([torch.cdist(part, others).kthvalue(k + 1, dim=1).values for part in others.split(CHUNK)])
    inside = [(torch.cdist(part, others) <= radii).any(1) for part in points.split(CHUNK)]
    return float(torch.cat(inside).float().mean())
