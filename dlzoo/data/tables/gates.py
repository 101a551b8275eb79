"""Truth tables of logic gates: the smallest problems that one layer can solve (all but two) or not.

A single threshold unit learns every gate here except XOR and XNOR, which are not linearly separable (M. Minsky,
S. Papert, "Perceptrons", 1969). Training, validation and test rows are the same truth table, which is all there is: the
metrics show what was learnt, not generalisation.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from torch import Tensor

from dlzoo.data.base import InMemoryData
from dlzoo.data.loaders import Arrays
from dlzoo.errors import between, pick
from dlzoo.specs.base import Spec, Target
from dlzoo.specs.inputs import Column, TableSpec
from dlzoo.specs.targets import Classes

GateName = Literal[
    "and", "or", "nand", "nor", "xor", "xnor", "not", "identity",
    "AND", "OR", "NAND", "NOR", "XOR", "XNOR", "NOT", "IDENTITY",
]  # fmt: skip

TWO_INPUTS: dict[str, Callable[[int, int], int]] = {
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "nand": lambda a, b: 1 - (a & b),
    "nor": lambda a, b: 1 - (a | b),
    "xor": lambda a, b: a ^ b,
    "xnor": lambda a, b: 1 - (a ^ b),
}
ONE_INPUT: dict[str, Callable[[int], int]] = {"not": lambda a: 1 - a, "identity": lambda a: a}
GATES: dict[str, Callable[..., int]] = {**TWO_INPUTS, **ONE_INPUT}


class Gates(InMemoryData):
    """A gate's inputs (B, 2) or (B, 1), 0.0 or 1.0, and its output as the class "0" or "1".

    Args:
        gate: name of the gate.
        repeats: occurrences of each row in a training epoch; once in validation and test.
    """

    kind: ClassVar[type[Spec]] = TableSpec

    def __init__(
        self,
        *,
        gate: GateName = "xor",
        repeats: int = 100,
        batch_size: int = 4,
        seed: int = 0,
        placement: Literal["auto", "device", "host"] = "auto",
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, placement=placement)
        between(1, 1_000_000, "data", repeats=repeats)
        self.output = pick(gate.lower(), GATES, "data.gate")
        self.num_inputs = 1 if gate.lower() in ONE_INPUT else 2
        self.repeats = repeats

    def declare(self) -> TableSpec:
        return TableSpec(tuple(Column(name) for name in "ab"[: self.num_inputs]), Classes(("0", "1")))

    def load(self, split: Literal["train", "test"]) -> Arrays:
        """The truth table in binary order: 00, 01, 10, 11."""
        inputs = list(itertools.product((0, 1), repeat=self.num_inputs))
        return Arrays(torch.tensor(inputs).float(), torch.tensor([self.output(*row) for row in inputs]))

    def split(self, rows: Arrays, target: Target) -> tuple[Tensor, Tensor]:
        table = torch.arange(rows.num_rows)
        return table.repeat(self.repeats), table
