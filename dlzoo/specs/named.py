"""Several inputs, and several targets, each by its name.

Batches then hold a dict of tensors in place of one (dlzoo/specs/batch.py), in the order of the names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import Tensor

from dlzoo.errors import UserError
from dlzoo.specs.base import Difference, Port, Spec, Target, listed
from dlzoo.specs.batch import TensorOrDict, first_tensor
from dlzoo.specs.targets import Answer


def check_names(key: str, names: tuple[str, ...], num: int) -> None:
    """`UserError` unless there are ``num`` names, all different, of letters, digits and underscores.

    >>> check_names("data.inputs", ("left", "right"), 2)
    >>> check_names("data.inputs", ("left/right",), 1)
    Traceback (most recent call last):
    dlzoo.errors.UserError: data.inputs: 'left/right' is no name; use letters, digits and underscores
    """
    for name in names:
        if not name.isidentifier():
            raise UserError(f"{key}: {name!r} is no name; use letters, digits and underscores")
    if not names or len(set(names)) < len(names) or len(names) != num:
        raise UserError(f"{key}: {len(names)} names for {num} parts; each part has a name of its own")


@dataclass(frozen=True)
class Targets(Answer):
    """Several targets of a row, each by its name: classes, labels or values, given as a dict of what each says."""

    what: ClassVar[str] = "several targets"
    units: ClassVar[tuple[str, ...]] = ()

    names: tuple[str, ...]
    parts: tuple[Answer, ...]

    @classmethod
    def of(cls, parts: Mapping[str, Target]) -> Self:
        return cls(tuple(parts), tuple(parts.values()))  # type: ignore[arg-type]

    def check(self) -> None:
        check_names("the stored spec, Targets.names", self.names, len(self.parts))
        if any(part.named is not None for part in self.parts):
            raise UserError("the stored spec, Targets.parts: a named target is one target")

    @property
    def by_name(self) -> dict[str, Target]:
        return dict(zip(self.names, self.parts, strict=True))

    @property
    def named(self) -> Targets:
        return self

    @property
    def num_outputs(self) -> int:
        """Of a net with one output, which then holds those of each target side by side."""
        return sum(part.num_outputs for part in self.parts)

    def split(self, output: TensorOrDict) -> dict[str, Tensor]:
        """The output of each target: of a dict by name as it is, of (B, num_outputs) its part.

        Raises:
            UserError: the names, or the number of outputs, are not those of the targets.
        """
        if isinstance(output, dict):
            if output.keys() != set(self.names):
                raise UserError(
                    f"the net's outputs are {', '.join(output)}, but the targets {', '.join(self.names)}: give each "
                    "target an output of its name"
                )
            return {name: output[name] for name in self.names}
        if output.shape[-1] != self.num_outputs:
            raise UserError(
                f"the net has {output.shape[-1]} outputs, but the targets {', '.join(self.names)} need "
                f"{self.num_outputs}: return these side by side, or a dict by name"
            )
        sizes = [part.num_outputs for part in self.parts]
        return dict(zip(self.names, output.split(sizes, dim=-1), strict=True))

    def example(self, n: int) -> dict[str, Tensor]:
        return {name: first_tensor(part.example(n)) for name, part in self.by_name.items()}

    def ports(self) -> tuple[Port, ...]:
        return _named_ports(self.by_name)

    def metadata(self) -> dict[str, object]:
        return {"targets": {name: part.metadata() for name, part in self.by_name.items()}}

    def describe(self, start: int = 0) -> str:
        return "; ".join(f"{name}: {part.describe()}" for name, part in self.by_name.items())

    def difference(self, other: Target) -> Difference:
        others = other.named.by_name if other.named is not None else {}
        if tuple(others) != self.names:
            return self.describe(), other.describe()
        for name, part in self.by_name.items():
            if differ := part.difference(others[name]):
                return f"{name}: {differ[0]}", f"{name}: {differ[1]}"
        return None

    def fit(self, y: Mapping[str, Tensor]) -> Targets:
        return Targets.of({name: part.fit(y[name]) for name, part in self.by_name.items()})

    def strata(self, y: Mapping[str, Tensor]) -> Tensor | None:
        """The class of the first target that has classes."""
        found = (part.strata(y[name]) for name, part in self.by_name.items())
        return next((strata for strata in found if strata is not None), None)


@dataclass(frozen=True)
class NamedSpec(Spec):
    """Several inputs of a row, each by its name and with statistics of its own. All parts have the one target."""

    what: ClassVar[str] = "several named inputs"
    mean: ClassVar[tuple[float, ...]] = ()  # the parts have theirs
    std: ClassVar[tuple[float, ...]] = ()

    names: tuple[str, ...]
    parts: tuple[Spec, ...]
    target: Target

    @classmethod
    def of(cls, parts: Mapping[str, Spec], target: Target) -> Self:
        return cls(tuple(parts), tuple(part.with_target(target) for part in parts.values()), target)

    def check(self) -> None:
        check_names("the stored spec, NamedSpec.names", self.names, len(self.parts))
        if any(part.target != self.target or part.named is not None for part in self.parts):
            raise UserError("the stored spec, NamedSpec.parts: a named input is one input, with the target of all")

    @property
    def by_name(self) -> dict[str, Spec]:
        return dict(zip(self.names, self.parts, strict=True))

    @property
    def named(self) -> NamedSpec:
        return self

    def with_target(self, target: Target) -> Self:
        return replace(self, parts=tuple(part.with_target(target) for part in self.parts), target=target)

    def with_parts(self, parts: Mapping[str, Spec]) -> Self:
        """The same with other inputs of these names."""
        return replace(self, parts=tuple(parts[name] for name in self.names))

    def ports(self) -> tuple[Port, ...]:
        return _named_ports(self.by_name)

    def metadata(self) -> dict[str, object]:
        target = self.target.metadata()
        parts = {name: part.metadata() for name, part in self.by_name.items()}
        return target | {"parts": {n: {k: v for k, v in own.items() if k not in target} for n, own in parts.items()}}

    def describe(self) -> str:
        return f"{len(self.names)} inputs: {listed(tuple(f'{n} ({p.describe()})' for n, p in self.by_name.items()))}"

    def input_difference(self, other: Self) -> Difference:
        if self.names != other.names:
            return self.describe(), other.describe()
        for name, part in self.by_name.items():
            another = other.by_name[name]
            if type(part) is not type(another):
                return f"{name}: {part.describe()}", f"{name}: {another.describe()}"
            if differ := part.input_difference(another):
                return f"{name}: {differ[0]}", f"{name}: {differ[1]}"
        return None

    def example(self, n: int) -> tuple[dict[str, Tensor], TensorOrDict]:
        return {name: first_tensor(part.example(n)[0]) for name, part in self.by_name.items()}, self.target.example(n)


def _named_ports(parts: Mapping[str, Spec] | Mapping[str, Target]) -> tuple[Port, ...]:
    """One port for each part, by the part's name; free sizes other than the batch's are the part's own."""
    ports = []
    for name, part in parts.items():
        (port,) = part.ports()
        shape = tuple(f"{name}_{size}" if type(size) is str and size != "batch" else size for size in port.shape)
        ports.append(replace(port, name=name, shape=shape))
    return tuple(ports)
