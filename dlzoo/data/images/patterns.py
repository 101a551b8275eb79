"""Small sets of black-and-white patterns, for memories and for models of a whole distribution.

``random`` patterns are those of the theory of the Hopfield network (D. J. Amit, H. Gutfreund, H. Sompolinsky, Physical
Review Letters 55, 1985). ``encoder`` is the problem of D. H. Ackley, G. E. Hinton, T. J. Sejnowski, "A Learning
Algorithm for Boltzmann Machines", Cognitive Science 9, 1985, whose hidden units must carry which one of the units above
is on to those below. ``bars`` are the bars and stripes of D. J. C. MacKay, "Information Theory, Inference, and Learning
Algorithms", 2003. ``xor`` is the truth table of XOR, no pair of whose columns is correlated.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from dlzoo.data.base import InMemoryData
from dlzoo.data.generated import check_size
from dlzoo.data.loaders import Arrays
from dlzoo.errors import UserError, at_least, between, pick
from dlzoo.specs.base import Target
from dlzoo.specs.inputs import ImageSpec
from dlzoo.specs.targets import Classes

PatternKind = Literal["random", "encoder", "bars", "xor"]

MAX_BARS = 8
"""Rows and columns of bars: there are 2 (2^n - 1) of them."""


def _random(size: int, num: int, seed: int) -> Tensor:
    return torch.rand(num, size, size, generator=torch.Generator().manual_seed(seed)) < 0.5


def _encoder(size: int, num: int, seed: int) -> Tensor:
    """One unit of the first row is on, and the one below it."""
    return torch.eye(size)[:, None].expand(-1, 2, -1)


def _bars(size: int, num: int, seed: int) -> Tensor:
    """Every choice of rows, and every choice of columns; all and none count once."""
    chosen = torch.tensor([*itertools.product((0.0, 1.0), repeat=size)])
    rows = chosen[:, :, None].expand(-1, -1, size)
    return torch.cat([rows, rows[1:-1].transpose(1, 2)])


def _xor(size: int, num: int, seed: int) -> Tensor:
    """a, b and a xor b in one row."""
    return torch.tensor([[[a, b, a ^ b]] for a, b in itertools.product((0, 1), repeat=2)])


KINDS: dict[str, Callable[[int, int, int], Tensor]] = {
    "random": _random,
    "encoder": _encoder,
    "bars": _bars,
    "xor": _xor,
}


class Patterns(InMemoryData):
    """Images (B, 1, H, W) of black and white pixels, each pattern a class of its own.

    Training, validation and test rows are the same patterns, which are all there are: the metrics show what was
    learnt, not generalisation.

    Args:
        kind: ``random``: size x size pixels, each white with probability 1/2, drawn by the run's seed; ``encoder``: two
            rows of ``size`` pixels, one of which is white in both; ``bars``: size x size pixels, in white rows or white
            columns; ``xor``: 1 x 3 pixels, the truth table of XOR.
        size: None: 16 for random patterns, 4 for the encoder and 3 for bars.
        num_patterns: of the random ones; None: 10.
        repeats: occurrences of each pattern in a training epoch; once in validation and test.
    """

    def __init__(
        self,
        *,
        kind: PatternKind = "random",
        size: int | None = None,
        num_patterns: int | None = None,
        repeats: int = 1,
        batch_size: int = 128,
        seed: int = 0,
        placement: Literal["auto", "device", "host"] = "auto",
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, placement=placement)
        self.draw = pick(kind, KINDS, "data.kind")
        if kind != "random" and num_patterns is not None:
            raise UserError(
                f"data.num_patterns={num_patterns} does not fit data.kind={kind}: their number is fixed: omit it"
            )
        if kind == "xor" and size is not None:
            raise UserError(f"data.size={size} does not fit data.kind=xor, which has three pixels: omit it")
        at_least(1, "data", repeats=repeats)
        between(1, 1_000_000, "data", num_patterns=num_patterns)
        between(2, 4096, "data", size=size)
        if kind == "bars":
            between(2, MAX_BARS, "data", size=size)
        self.size = size or {"random": 16, "encoder": 4}.get(kind, 3)
        self.num_patterns = num_patterns or 10
        self.repeats = repeats
        if kind == "random":
            check_size(self.size**2, num_patterns=self.num_patterns, repeats=repeats)
        else:
            check_size(2 * self.size if kind == "encoder" else len(self.patterns()), size=self.size, repeats=repeats)

    def declare(self) -> ImageSpec:
        num, height, width = self.patterns().shape
        return ImageSpec(1, height, width, Classes(tuple(map(str, range(num)))))

    def patterns(self) -> Tensor:
        """(P, H, W) uint8, 0 or 255."""
        return self.draw(self.size, self.num_patterns, self.seed).to(torch.uint8) * 255

    def load(self, split: Literal["train", "test"]) -> Arrays:
        patterns = self.patterns()
        return Arrays(patterns[:, None], torch.arange(len(patterns)))

    def split(self, rows: Arrays, target: Target) -> tuple[Tensor, Tensor]:
        each = torch.arange(rows.num_rows)
        return each.repeat(self.repeats), each
