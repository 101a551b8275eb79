"""Huffman codes against their definition."""

from __future__ import annotations

import heapq

import pytest
import torch

from dlzoo.layers.huffman import huffman


def optimal_cost(counts: list[int]) -> int:
    """The sum of the weights of all inner nodes: what the best code of this text costs in bits."""
    heap, cost = sorted(counts), 0
    while len(heap) > 1:
        weight = heapq.heappop(heap) + heapq.heappop(heap)
        cost += weight
        heapq.heappush(heap, weight)
    return cost


@pytest.mark.parametrize("seed", range(4))
def test_codes_are_optimal_and_no_code_begins_another(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    counts = (torch.randint(1, 10, (23,), generator=draw) ** (1 + seed)).double()
    tree = huffman(counts)
    assert int((tree.lengths * counts).sum()) == optimal_cost([int(c) for c in counts.tolist()])
    codes = ["".join(map(str, row[:n].tolist())) for row, n in zip(tree.codes, tree.lengths.tolist(), strict=True)]
    assert not any(a != b and b.startswith(a) for a in codes for b in codes)
    assert len({*codes}) == len(counts)


def test_equal_codes_so_far_mean_equal_nodes() -> None:
    tree = huffman(torch.arange(1, 12))
    node_of: dict[str, int] = {}
    for nodes, codes, length in zip(*(part.tolist() for part in tree), strict=True):
        for step in range(length):
            prefix = "".join(map(str, codes[:step]))
            assert node_of.setdefault(prefix, nodes[step]) == nodes[step]
    assert sorted(node_of.values()) == [*range(10)]
    assert node_of[""] == 9


@pytest.mark.parametrize(("counts", "lengths"), [([5], [0]), ([5, 1], [1, 1]), ([0, 0, 0, 0], [2, 2, 2, 2])])
def test_few_words_and_words_that_never_occur(counts: list[int], lengths: list[int]) -> None:
    assert huffman(torch.tensor(counts)).lengths.tolist() == lengths


def test_powers_of_two_need_a_level_each() -> None:
    assert huffman(torch.tensor([2.0**i for i in range(40)])).lengths.max() == 39
