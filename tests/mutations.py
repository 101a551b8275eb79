"""Mutations of files by their structure, and what a command makes of each: run in a forked process, under audit.

A mutation changes one node of a nested value: it is removed, or becomes of another kind, length, shape or size. A
command survives it when it ends by itself with an exit code of its own, without a traceback, and touches nothing
outside of its folder.
"""

from __future__ import annotations

import contextlib
import copy
import math
import os
import random
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from audit import audited
from killing import FORKS

FORKS.set_forkserver_preload([
    "dlzoo.commands.train", "dlzoo.config.instantiate", "dlzoo.training.interruption", "dlzoo.commands.evaluate",
    "dlzoo.commands.report", "dlzoo.commands.compare", "dlzoo.visualization.plots", "kornia", "sklearn.datasets",
])  # fmt: skip

Place = tuple[Any, ...]

ABSENT = object()
"""The result of a mutation that removes the node."""


def nested() -> Any:
    value: Any = []
    for _ in range(200):
        value = [value]
    return value


def longer(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return torch.cat([value.reshape(-1), value.reshape(-1), value.new_zeros(3)])
    if isinstance(value, list | tuple):
        return [*value, *value, *(value[:1] or [0])]
    return value * 2 + type(value)("x") if isinstance(value, str) else {**value, "more": 1, 7: 2}


def shorter(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.reshape(-1)[: value.numel() // 2]
    return value[: len(value) // 2] if isinstance(value, list | tuple | str) else dict([*value.items()][1:])


SIZED = (torch.Tensor, list, tuple, str, dict)
MUTATIONS: dict[str, tuple[Callable[[Any], bool], Callable[[Any], Any]]] = {
    "removed": (lambda _: True, lambda _: ABSENT),
    "None": (lambda value: value is not None, lambda _: None),
    "a string": (lambda _: True, lambda _: "../../x; \x1b[31m${oc.env:HOME}"),
    "a list": (lambda _: True, lambda _: [1, "a", None]),
    "a mapping": (lambda _: True, lambda _: {"a": 1, 0: [2]}),
    "nested lists": (lambda _: True, lambda _: nested()),
    "true": (lambda value: value is not True, lambda _: True),
    "negative": (lambda _: True, lambda _: -3),
    "huge": (lambda _: True, lambda _: 10**30),
    "large": (lambda _: True, lambda _: 2**40),
    "fraction": (lambda _: True, lambda _: 0.37),
    "NaN": (lambda _: True, lambda _: math.nan),
    "infinite": (lambda _: True, lambda _: -math.inf),
    "tensor": (lambda _: True, lambda _: torch.zeros(2, 3)),
    "longer": (lambda value: isinstance(value, SIZED), longer),
    "shorter": (lambda value: isinstance(value, SIZED) and _size(value) > 0, shorter),
    "dtype": (lambda value: isinstance(value, torch.Tensor), lambda value: value.to(torch.int16)),
    "complex": (lambda value: isinstance(value, torch.Tensor), lambda value: value.to(torch.complex64)),
    "one more axis": (lambda value: isinstance(value, torch.Tensor), lambda value: value[None]),
    "transposed": (lambda value: isinstance(value, torch.Tensor) and value.ndim > 1, lambda value: value.mT.clone()),
    "one value": (
        lambda value: isinstance(value, torch.Tensor) and value.ndim > 0,
        lambda value: value.new_zeros(1).expand(value.shape),  # saved with one element behind all of them
    ),
    "sparse": (
        lambda value: isinstance(value, torch.Tensor) and value.ndim > 0,
        lambda value: value.float().to_sparse(),
    ),
    "no storage": (
        lambda value: isinstance(value, torch.Tensor),
        lambda value: torch.empty_like(value, device="meta"),
    ),
    "zero": (lambda value: type(value) in (int, float) and value != 0, lambda value: type(value)(0)),
    "sign": (lambda value: type(value) in (int, float) and value > 0, lambda value: -value),
    "many": (lambda value: type(value) is int, lambda _: 10**7),
    "empty": (lambda value: isinstance(value, list | tuple | str) and len(value) > 0, lambda value: value[:0]),
    "last of another kind": (
        lambda value: isinstance(value, list) and len(value) > 1,
        lambda value: [*value[:-1], "x" if not isinstance(value[-1], str) else 1],
    ),
    "half a character": (lambda value: isinstance(value, str), lambda _: "\ud800"),
    "NaN in it": (
        lambda value: isinstance(value, torch.Tensor) and value.is_floating_point(),
        lambda value: torch.full_like(value, math.nan),
    ),
}  # fmt: skip
"""Name: (which values it can be made of, what it makes of them)."""


def _size(value: Any) -> int:
    return value.numel() if isinstance(value, torch.Tensor) else len(value)


def nodes(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """All nodes below the root, containers too."""
    if place:
        yield place, value
    if isinstance(value, dict):
        for key, part in value.items():
            yield from nodes(part, (*place, key))
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value[:20]):  # lists of numbers (a random state has 625) are all alike
            yield from nodes(part, (*place, i))


def mutated(value: Any, place: Place, change: Callable[[Any], Any]) -> Any:
    """A copy in which the node at this place is another; what does not change is shared."""
    key, *rest = place
    inner = change(value[key]) if not rest else mutated(value[key], tuple(rest), change)
    if isinstance(value, dict):
        changed: Any = {k: v for k, v in value.items() if k != key} if inner is ABSENT else {**value, key: inner}
        return changed
    parts = [*value]
    parts[key : key + 1] = [] if inner is ABSENT else [inner]
    return tuple(parts) if isinstance(value, tuple) else parts


@dataclass(frozen=True)
class Mutation:
    place: Place
    name: str

    def __call__(self, value: Any) -> Any:
        return mutated(value, self.place, MUTATIONS[self.name][1])

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.place))}: {self.name}"


def mutations(value: Any, names: Sequence[str] = tuple(MUTATIONS)) -> list[Mutation]:
    """All of a nested value."""
    return [Mutation(place, name) for place, node in nodes(value) for name in names if MUTATIONS[name][0](node)]


def chosen(every: Sequence[Mutation], num: int, seed: int = 0) -> list[Mutation]:
    """So many, spread evenly over the areas (the first two steps of their places) and drawn at random within each."""
    draw = random.Random(seed)
    areas: dict[Place, list[Mutation]] = {}
    for mutation in every:
        areas.setdefault(mutation.place[:2], []).append(mutation)
    for area in areas.values():
        draw.shuffle(area)
    found: list[Mutation] = []
    while len(found) < min(num, len(every)):
        for area in areas.values():
            if area and len(found) < num:
                found.append(area.pop())
    return found


@dataclass(frozen=True)
class Ending:
    """Of a command: its exit code (negative: a signal; None: it did not end), what it said, what it touched."""

    code: int | None
    text: str
    violations: list[str]

    @property
    def is_well(self) -> bool:
        says_why = self.code == 0 or "error: " in self.text
        return self.code in (0, 1, 2) and "Traceback" not in self.text and not self.violations and says_why

    def __str__(self) -> str:
        return f"exit code {self.code}, {self.violations}\n{self.text[-1500:]}"


def call(folder: Path, module: str, words: Sequence[str], timeout: float = 120) -> Ending:
    """``python -m module words`` in a folder, in a process of its own, that may write there alone."""
    log, seen = folder / "log.txt", folder / "seen.txt"
    for path in (log, seen):
        path.unlink(missing_ok=True)
    process = FORKS.Process(target=_body, args=(folder, module, [*words]))
    process.start()
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        process.join()
        return Ending(None, log.read_text(errors="replace"), [])
    violations = seen.read_text().splitlines() if seen.is_file() else ["it did not come to its end"]
    return Ending(process.exitcode, log.read_text(errors="replace"), violations)


def _body(folder: Path, module: str, words: Sequence[str]) -> None:
    os.chdir(folder)
    tempfile.tempdir = str(folder)
    torch.set_num_threads(1)
    with (folder / "log.txt").open("w") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        main = import_module(module).main
        sys.argv = [module, *words]
        with audited(folder, os.environ.get("DLZOO_CACHE_DIR", folder), programs={"git"}) as violations:
            try:
                main()
            except Exception:
                traceback.print_exc()
                sys.exit(1)
            finally:
                (folder / "seen.txt").write_text("".join(f"{line}\n" for line in violations))


def fresh(template: Path, folder: Path) -> None:
    """The folder becomes a copy of the template."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(template, folder)


def write(path: Path, content: Any) -> None:
    """A checkpoint, as a stranger would write it: whole, and with the digest of what is in it."""
    from dlzoo.utils import archives as durable

    durable.write(path, lambda file: torch.save(copy.copy(content), file))
