"""What training, validation and test steps get: a batch of inputs with their targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Rows of a split. Inputs and targets are one tensor each, or a dict of tensors by name where there are several."""

    inputs: Any
    target: Any
    weight: Tensor | None = None
    """(B,) float, a factor on each row's loss."""

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The same with each tensor changed."""
        return Batch(*(map_tensors(change, part) for part in self))

    @property
    def num_rows(self) -> int:
        return len(first_tensor(self.inputs))


def map_tensors(change: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """A tensor, a dict of tensors by name, or None, with each tensor changed."""
    if tree is None:
        return None
    return {name: change(t) for name, t in tree.items()} if type(tree) is dict else change(tree)


def first_tensor(tree: Any) -> Tensor:
    """A tensor itself, or the first one of a dict."""
    return next(iter(tree.values())) if type(tree) is dict else tree


def tensors(tree: Any) -> list[Tensor]:
    """All tensors of a batch or a part of one: of a tensor, a dict by name, or tuples and lists of these."""
    if isinstance(tree, Tensor):
        return [tree]
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, tuple | list) else ()
    return [tensor for part in parts for tensor in tensors(part)]
