"""Huffman codes of a vocabulary: the binary tree of hierarchical softmax.

D. A. Huffman, "A Method for the Construction of Minimum-Redundancy Codes", 1952.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Tree(NamedTuple):
    """The path of each of V words from the root to its leaf, padded to the longest of P steps.

    nodes: (V, P) int64, the inner nodes passed, from 0 to V - 2; codes: (V, P) int8, 1 for the right child; lengths:
    (V,) int64. The root is the last inner node.
    """

    nodes: Tensor
    codes: Tensor
    lengths: Tensor


def huffman(counts: Tensor) -> Tree:
    """The Huffman tree of word counts (V,).

    >>> huffman(torch.tensor([8, 4, 2, 1])).lengths.tolist()
    [1, 2, 3, 3]
    """
    num_words = len(counts)
    order = counts.argsort(stable=True).tolist()
    leaves = [(max(int(count), 1), word) for count, word in zip(counts[order].tolist(), order, strict=True)]
    parent, side = [0] * (2 * num_words), [0] * (2 * num_words)
    inner: list[int] = []  # weights of inner nodes, which are created in ascending order
    next_leaf = next_inner = 0
    for node in range(num_words - 1):
        weight = 0
        for child_side in (0, 1):
            takes_leaf = next_leaf < num_words and (
                next_inner >= len(inner) or leaves[next_leaf][0] <= inner[next_inner]
            )
            if takes_leaf:
                child_weight, child = leaves[next_leaf]
                next_leaf += 1
            else:
                child_weight, child = inner[next_inner], num_words + next_inner
                next_inner += 1
            parent[child], side[child] = node, child_side
            weight += child_weight
        inner.append(weight)
    return _paths(num_words, parent, side)


def _paths(num_words: int, parent: list[int], side: list[int]) -> Tree:
    root = num_words - 2
    paths: list[list[tuple[int, int]]] = [[] for _ in range(2 * num_words)]  # (node, side) from the root, of all nodes
    for node in [*range(num_words + root - 1, num_words - 1, -1), *range(num_words if root >= 0 else 0)]:
        above = parent[node]
        paths[node] = [*paths[num_words + above], (above, side[node])]
    lengths = torch.tensor([len(path) for path in paths[:num_words]], dtype=torch.long)
    is_step = torch.arange(max(int(lengths.max()), 1)) < lengths[:, None]
    steps = torch.tensor([step for path in paths[:num_words] for step in path], dtype=torch.long).view(-1, 2)
    nodes, codes = torch.zeros(is_step.shape, dtype=torch.long), torch.zeros(is_step.shape, dtype=torch.int8)
    nodes[is_step], codes[is_step] = steps[:, 0], steps[:, 1].to(torch.int8)
    return Tree(nodes, codes, lengths)
