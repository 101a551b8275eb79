"""What training, validation and test steps get: a batch of inputs with their targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeAlias

from torch import Tensor
from typing_extensions import TypeVar

TensorOrDict: TypeAlias = Tensor | dict[str, Tensor]
"""One tensor, or several by name."""

T = TypeVar("T", bound=TensorOrDict | None)
X = TypeVar("X", bound=TensorOrDict, default=Tensor, covariant=True)
Y = TypeVar("Y", bound=TensorOrDict, default=Tensor, covariant=True)


class Batch(NamedTuple, Generic[X, Y]):
    """Rows of a split. Inputs and targets are one tensor each, or a dict of tensors by name where there are several."""

    inputs: X
    target: Y
    weight: Tensor | None = None
    """(B,) float, a factor on each row's loss."""

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch[X, Y]:
        """The same with each tensor changed."""
        changed = map_tensors(change, self.inputs), map_tensors(change, self.target), map_tensors(change, self.weight)
        return Batch(*changed)

    @property
    def num_rows(self) -> int:
        return len(first_tensor(self.inputs))


NamedBatch: TypeAlias = Batch[TensorOrDict, TensorOrDict]
"""A batch that may have several inputs or targets by name."""


def map_tensors(change: Callable[[Tensor], Tensor], tree: T) -> T:
    """A tensor, a dict of tensors by name, or None, with each tensor changed."""
    changed: Any = tree
    if isinstance(tree, dict):
        changed = {name: change(t) for name, t in tree.items()}
    elif tree is not None:
        changed = change(tree)
    return changed


def part_of(tree: TensorOrDict, name: str) -> Tensor:
    """A dict's part of this name; with an empty name the tensor itself, see `Spec.by_name` and `Target.by_name`."""
    if isinstance(tree, dict):
        return tree[name]
    assert not name
    return tree


def first_tensor(tree: TensorOrDict) -> Tensor:
    """A tensor itself, or the first one of a dict."""
    return next(iter(tree.values())) if isinstance(tree, dict) else tree


def tensors(tree: object) -> list[Tensor]:
    """All tensors of a batch or a part of one: of a tensor, a dict by name, or tuples and lists of these."""
    if isinstance(tree, Tensor):
        return [tree]
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, tuple | list) else ()
    return [tensor for part in parts for tensor in tensors(part)]
