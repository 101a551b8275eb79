"""Quality measures of generated images, from the features and logits of a reference classifier."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor, nn

CHUNK = 1000


class ClassifierOutput(NamedTuple):
    """Features (N, F) and logits (N, K) of N images."""

    features: Tensor
    logits: Tensor


def measures(generated: ClassifierOutput, real: ClassifierOutput, *, threshold: float = 0.9) -> dict[str, float]:
    """Fréchet distance, inception score, confident fraction, precision and recall of generated versus real images.

    Args:
        threshold: class probability above which an image counts as confidently classified.
    """
    precision, recall = precision_recall(generated.features, real.features)
    return {
        "frechet": frechet(generated.features, real.features),
        "inception_score": inception_score(generated.logits),
        "confident_share": float((generated.logits.softmax(1).amax(1) > threshold).float().mean()),
        "precision": precision,
        "recall": recall,
    }


def class_fractions(logits: Tensor) -> Tensor:
    """The fraction of each class among the images, (K,)."""
    return logits.argmax(1).bincount(minlength=logits.shape[1]) / len(logits)


def frechet(generated: Tensor, real: Tensor) -> float:
    """Fréchet distance between Gaussians fitted to both: M. Heusel et al., "GANs Trained by a Two Time-Scale Update
    Rule Converge to a Local Nash Equilibrium", NeurIPS 2017."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    identity = nn.Identity()  # the features are computed already
    identity.num_features = generated.shape[1]  # type: ignore[assignment]
    metric = FrechetInceptionDistance(feature=identity, sync_on_compute=False)  # only one rank computes it
    metric.update(real.double(), real=True)
    metric.update(generated.double(), real=False)
    return float(metric.compute())


def inception_score(logits: Tensor) -> float:
    """exp of the mean KL(p(y | x) || p(y)), between 1 and the number of classes: T. Salimans et al., "Improved
    Techniques for Training GANs", NeurIPS 2016."""
    from torchmetrics.image.inception import InceptionScore

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # it shuffles the images, and summation order affects the last digit
        warnings.filterwarnings("ignore", "Metric `InceptionScore` will save all")
        warnings.filterwarnings("ignore", r"std\(\): degrees of freedom")  # because of the single split
        metric = InceptionScore(feature=nn.Identity(), splits=1, sync_on_compute=False)
        metric.update(logits)
        return float(metric.compute()[0])


def precision_recall(generated: Tensor, real: Tensor, k: int = 3) -> tuple[float, float]:
    """The fraction of generated images inside the manifold of real ones, and vice versa: T. Kynkäänniemi et al.,
    "Improved Precision and Recall Metric for Assessing Generative Models", NeurIPS 2019. An image is inside the
    manifold of others if it is no farther from one of them than that one's k-th nearest neighbour."""
    return fraction_inside(generated, real, k), fraction_inside(real, generated, k)


def fraction_inside(points: Tensor, others: Tensor, k: int) -> float:
    k = min(k, len(others) - 1)
    # k + 1, since the nearest neighbour of a point is itself
    radii = torch.cat([torch.cdist(part, others).kthvalue(k + 1, dim=1).values for part in others.split(CHUNK)])
    inside = [(torch.cdist(part, others) <= radii).any(1) for part in points.split(CHUNK)]
    return float(torch.cat(inside).float().mean())
