"""How well clusters agree with classes that they were found without, from the counts (K, C) of rows, in float64."""

from __future__ import annotations

import torch
from torch import Tensor


def agreement(table: Tensor) -> dict[str, Tensor]:
    """All measures by name."""
    return {
        "nmi": normalized_mutual_information(table),
        "cluster_accuracy": matching_accuracy(table),
        "purity": purity(table),
        "adjusted_rand": adjusted_rand_index(table),
    }


def normalized_mutual_information(table: Tensor) -> Tensor:
    """NMI of clusters and classes: 0 if they are independent, 1 if each determines the other."""
    joint = table / table.sum().clamp(min=1)
    outer = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    shared = torch.special.xlogy(joint, joint / outer.clamp(min=1e-300)).sum()
    entropies = [-torch.special.xlogy(p, p).sum() for p in (joint.sum(0), joint.sum(1))]
    mean = (entropies[0] + entropies[1]) / 2
    return shared / mean if mean > 0 else torch.ones(())


def matching_accuracy(table: Tensor) -> Tensor:
    """The accuracy of the best one-to-one matching of clusters and classes."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(table.numpy(), maximize=True)
    return table[rows, columns].sum() / table.sum().clamp(min=1)


def purity(table: Tensor) -> Tensor:
    """The share of rows whose class is the most frequent one of their cluster; it rises with the number of clusters.

    >>> float(purity(torch.tensor([[3.0, 1.0], [0.0, 4.0]])))
    0.875
    """
    return table.max(1).values.sum() / table.sum().clamp(min=1)


def adjusted_rand_index(table: Tensor) -> Tensor:
    """The share of pairs of rows on which clusters and classes agree, corrected so that random clusters have 0 and
    equal ones 1 (L. Hubert, P. Arabie, "Comparing Partitions", Journal of Classification 2, 1985)."""

    def pairs(counts: Tensor) -> Tensor:
        return (counts * (counts - 1) / 2).sum()

    together, clusters, classes = pairs(table), pairs(table.sum(1)), pairs(table.sum(0))
    expected = clusters * classes / pairs(table.sum()).clamp(min=1)
    largest = (clusters + classes) / 2
    return (together - expected) / (largest - expected) if largest != expected else torch.ones(())
