"""Reads files of `torch.save` that may come from a stranger, after a scan that builds no object.

``torch.load(weights_only=True)`` runs no code, but a kilobyte can keep it busy forever: the hash of a tuple of two
equal tuples, each of two equal tuples, and so on, visits every path; a `bytearray` allocates what it is told to.
It also fails with errors of any type. So the pickle is first run on a stack of sizes (`pickletools` describes the
opcodes), where only what `torch.save` writes for plain containers and tensors may be called.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from struct import error as StructError
from typing import BinaryIO, Final

import torch
from torch.serialization import MAP_LOCATION

from dlzoo.errors import first_line
from dlzoo.utils import archives
from dlzoo.utils.untrusted import MAX_DEPTH, MAX_NODES

OLD_PICKLES = 5
"""Pickles at the start of a file in the old format: magic number, protocol, system, content, keys of the storages."""

CALLABLE = {
    *(f"torch._utils._rebuild_{kind}" for kind in ("parameter", "tensor", "tensor_v2", "tensor_v3", "qtensor")),
    "torch._utils._rebuild_sparse_tensor", "torch._utils._rebuild_meta_tensor_no_storage",
    "torch.serialization._get_layout", "torch.Size", "torch.device",
}  # fmt: skip
"""Functions that allocate no more than the sizes of their arguments."""
COPIES = {"builtins.set": list, "__builtin__.set": list, "collections.Counter": dict}
"""Constructors of containers, with the container that they copy."""
ORDERED = "collections.OrderedDict"


class Node:
    """What is known of a value: of a container, its parts are only counted."""

    __slots__ = ("depth", "kind", "size")

    def __init__(self, kind: object = None) -> None:
        self.kind = kind
        """``list``, ``dict`` or `ORDERED`; `METADATA` of a dict with that key alone; of a tuple of one part, a tuple of
        that part's kind; the name of a global; or None."""
        self.size, self.depth = 1, 0

    def add(self, parts: Iterable[Node]) -> None:
        for part in parts:
            self.size += part.size
            if part.depth >= self.depth:
                self.depth = part.depth + 1
        if self.depth > MAX_DEPTH:
            raise pickle.UnpicklingError(f"nested more than {MAX_DEPTH} levels deep")


ATOM: Final = Node()
"""A number, a text, a tensor, a storage: never changed."""


METADATA: Final = Node()
"""The text ``_metadata``, the only attribute that PyTorch gives to an `OrderedDict`, a state dict; any other could hide
its methods."""


FAILURES = (
    TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError, AssertionError, OSError,
    EOFError, MemoryError, StructError,
)  # fmt: skip
"""The errors of PyTorch's readers for a damaged file."""


def load(path: Path, map_location: MAP_LOCATION = "cpu", *, mmap: bool = False) -> object:
    """The plain data in a file written by `torch.save`.

    Args:
        mmap: do not read the tensors.

    Raises:
        pickle.UnpicklingError: it contains more than plain data, or data that expand without bound.
        ValueError: it is damaged, or is no such file.
    """
    try:
        scan_file(path)
        return torch.load(path, map_location=map_location or "cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError:
        raise
    except FAILURES as error:
        raise ValueError(first_line(error)) from None


def is_archive(path: Path) -> bool:
    """Whether PyTorch reads a file as an archive; others, which may still end like one, have its old format."""
    with path.open("rb") as file:
        return file.read(len(archives.MAGIC)) == archives.MAGIC


def scan_file(path: Path) -> None:
    """Raise `pickle.UnpicklingError` if a file of `torch.save` contains more than plain data of bounded size."""
    if is_archive(path):
        scan(io.BytesIO(torch._C.PyTorchFileReader(str(path)).get_record("data.pkl")))
    else:
        with path.open("rb") as file:
            for _ in range(OLD_PICKLES):
                scan(file)


def scan(file: BinaryIO) -> None:
    """Run a pickle on sizes, up to its end.

    Raises:
        pickle.UnpicklingError: an opcode or a name that `torch.save` does not write, or an expansion without bound.
        ValueError, LookupError: it is damaged.
    """
    machine, read = _Machine(file), file.read
    while True:
        code = read(1)
        if code == pickle.STOP:
            machine.stack.pop()
            return
        try:
            run = OPCODES[code]
        except KeyError:
            raise pickle.UnpicklingError(f"unknown opcode {code!r}") if code else ValueError("cut off") from None
        run(machine)


class _Machine:
    """The stack machine of a pickle, with a `Node` for each value."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.read = file, file.read
        self.stack: list[Node] = []
        self.marked: list[list[Node]] = []
        self.memo: dict[bytes, Node] = {}
        self.repeated = 0

    def skip(self, size: int) -> None:
        if len(self.read(size)) < size:
            raise ValueError("cut off")

    def text(self, width: int) -> None:
        size = int.from_bytes(self.read(width), "little")
        content = self.read(size)
        if len(content) < size:
            raise ValueError("cut off")
        self.stack.append(METADATA if content == b"_metadata" else ATOM)

    def mark(self) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Node]:
        parts, self.stack = self.stack, self.marked.pop()
        return parts

    def put(self, width: int) -> None:
        self.memo[self.read(width).ljust(4, b"\0")] = self.stack[-1]

    def get(self, width: int) -> None:
        node = self.memo[self.read(width).ljust(4, b"\0")]
        if node.size > 1:
            self.repeated += node.size
            if self.repeated > MAX_NODES:
                raise pickle.UnpicklingError(f"expands to more than {MAX_NODES:,} values (it repeats its own parts)")
        self.stack.append(node)

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise ValueError("damaged: a tuple without parts")
        parts = self.stack[-count:]
        del self.stack[-count:]
        self.push_tuple(parts)

    def push_tuple(self, parts: list[Node]) -> None:
        node = Node((parts[0].kind,) if len(parts) == 1 else None)
        node.add(parts)
        self.stack.append(node)

    def add(self, parts: list[Node]) -> None:
        container = self.stack[-1]
        if container.kind not in (list, dict, ORDERED):
            raise pickle.UnpicklingError("parts of something other than a list or dict")
        is_metadata = len(parts) == 2 and parts[0] is METADATA and (container.kind, container.size) == (dict, 1)
        container.add(parts)
        if is_metadata:
            container.kind = METADATA

    def global_(self) -> None:
        module, name = (self.file.readline()[:-1].decode() for _ in range(2))
        whole = f"{module}.{name}"
        known = whole in CALLABLE or whole in COPIES or whole == ORDERED
        if not known and not isinstance(getattr(torch, name, None) if module == "torch" else None, torch.dtype):
            is_storage = module in ("torch", "torch.storage") and name.endswith("Storage")
            if not is_storage:
                raise pickle.UnpicklingError(f"{whole[:100]} is not plain data")
        self.stack.append(Node(whole))

    def reduce(self) -> None:
        args, function = self.stack.pop(), self.stack.pop().kind
        if function == ORDERED and args.size == 1:
            self.stack.append(Node(ORDERED))
        elif function in COPIES and args.kind == (COPIES[function],):
            copied = Node()
            copied.add([args])
            self.stack.append(copied)
        elif function in CALLABLE:
            self.stack.append(ATOM)
        else:
            raise pickle.UnpicklingError(f"a call of {str(function)[:100]} that torch.save does not write")

    def build(self) -> None:
        """The attribute of an `OrderedDict`."""
        state, container = self.stack.pop(), self.stack[-1]
        if state.kind is not METADATA or container.kind is not ORDERED:
            raise pickle.UnpicklingError("attributes that torch.save does not write")
        container.add([state])

    def persistent(self) -> None:
        """A storage, by the tuple that names it."""
        self.stack.pop()
        self.stack.append(ATOM)


def _value(size: int) -> Callable[[_Machine], None]:
    """A value whose argument has a fixed number of bytes."""

    def run(machine: _Machine) -> None:
        if size:
            machine.skip(size)
        machine.stack.append(ATOM)

    return run


OPCODES: dict[bytes, Callable[[_Machine], None]] = {
    pickle.PROTO: lambda m: m.skip(1),
    pickle.NONE: _value(0), pickle.NEWTRUE: _value(0), pickle.NEWFALSE: _value(0),
    pickle.BININT: _value(4), pickle.BININT1: _value(1), pickle.BININT2: _value(2), pickle.BINFLOAT: _value(8),
    pickle.LONG1: lambda m: m.text(1), pickle.SHORT_BINSTRING: lambda m: m.text(1),
    pickle.BINUNICODE: lambda m: m.text(4),
    pickle.EMPTY_LIST: lambda m: m.stack.append(Node(list)), pickle.EMPTY_DICT: lambda m: m.stack.append(Node(dict)),
    pickle.EMPTY_SET: lambda m: m.stack.append(Node()), pickle.EMPTY_TUPLE: lambda m: m.stack.append(Node()),
    pickle.TUPLE1: lambda m: m.tuple_of(1), pickle.TUPLE2: lambda m: m.tuple_of(2),
    pickle.TUPLE3: lambda m: m.tuple_of(3), pickle.TUPLE: lambda m: m.push_tuple(m.pop_mark()),
    pickle.MARK: _Machine.mark,
    pickle.APPEND: lambda m: m.add([m.stack.pop()]), pickle.APPENDS: lambda m: m.add(m.pop_mark()),
    pickle.SETITEM: lambda m: m.add([m.stack.pop(-2), m.stack.pop()]), pickle.SETITEMS: lambda m: m.add(m.pop_mark()),
    pickle.BINPUT: lambda m: m.put(1), pickle.LONG_BINPUT: lambda m: m.put(4),
    pickle.BINGET: lambda m: m.get(1), pickle.LONG_BINGET: lambda m: m.get(4),
    pickle.GLOBAL: _Machine.global_, pickle.REDUCE: _Machine.reduce, pickle.BUILD: _Machine.build,
    pickle.BINPERSID: _Machine.persistent,
}  # fmt: skip
"""Those that the reader of ``weights_only=True`` knows, without the one that creates objects of any class."""
