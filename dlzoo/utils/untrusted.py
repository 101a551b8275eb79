"""Reads untrusted YAML and JSON within limits, and reports violations as a `UserError`.

A kilobyte of YAML with nested aliases can expand to more nodes than fit in memory, and a megabyte of opening brackets
exceeds Python's recursion limit. So a text is scanned as a stream of events, in constant memory, before it is parsed.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

from dlzoo.errors import UserError, one_line
from dlzoo.utils.files import open_regular

MAX_BYTES = 16 << 20
"""Size limit of a file."""
MAX_NODES = 200_000
"""Node limit of a document, with all aliases expanded."""
MAX_DEPTH = 60
MAX_DIGITS = 400
"""Length limit of a number: Python converts none of more than 4,300 digits to text, not even for an error message."""
MAX_REFERENCES = 5_000
"""Beginnings of references, ``${``, in a document: OmegaConf takes a quarter of a millisecond to parse each."""
MAX_PARSED = 100_000
"""Characters of all texts with references in a document."""
NUMBER = re.compile(r"[-+]?(0[xb][\da-f_]+|[\d_:.]+)", re.IGNORECASE)


def read_text(path: Path, max_bytes: int = MAX_BYTES) -> str:
    """A text file of bounded size.

    Raises:
        UserError: it cannot be read, is not a regular file, is too large, or is not UTF-8.
    """
    try:
        with open_regular(path) as file:
            content = file.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise UserError(f"{path} has more than {max_bytes:,} bytes; no run writes a file that large")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is damaged: byte {error.start} is not UTF-8") from None


def check_yaml(text: str, source: object) -> None:
    """Raise `UserError` if a text is not YAML, or would be too large or too deep when parsed, however short it is."""
    import yaml

    if len(text) > MAX_BYTES:
        raise UserError(f"{source} has more than {MAX_BYTES:,} characters")
    sizes: dict[str, int] = {}
    """Number of nodes of each anchor."""
    opened: list[tuple[str | None, int]] = []
    """The anchor of each open collection, and the number of nodes before it."""
    nodes = references = parsed = 0
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if isinstance(event, yaml.AliasEvent):
                name = event.anchor or ""
                if any(anchor == name for anchor, _ in opened):
                    raise UserError(f"{source} contains a node that contains itself (*{name[:20]})")
                nodes += sizes.get(name, 1)
            elif isinstance(event, yaml.CollectionStartEvent):
                opened.append((event.anchor, nodes))
                nodes += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                anchor, before = opened.pop()
                if anchor is not None:
                    sizes[anchor] = nodes - before
            elif isinstance(event, yaml.ScalarEvent):
                nodes += 1
                if event.anchor is not None:
                    sizes[event.anchor] = 1
                if found := event.value.count("${"):
                    references, parsed = references + found, parsed + len(event.value)
                if len(event.value) > MAX_DIGITS and NUMBER.fullmatch(event.value):
                    raise UserError(f"{source} contains a number of {len(event.value):,} digits")
            if len(opened) > MAX_DEPTH:
                raise UserError(f"{source} is nested more than {MAX_DEPTH} levels deep")
            if references > MAX_REFERENCES or parsed > MAX_PARSED:
                raise UserError(
                    f"{source} contains more than {MAX_REFERENCES:,} references (${{…}}), or {MAX_PARSED:,} characters "
                    "of texts with references"
                )
            if nodes > MAX_NODES:
                raise UserError(f"{source} expands to more than {MAX_NODES:,} values (through aliases)")
    except yaml.YAMLError as error:
        raise UserError(f"{source} is damaged or not YAML: {one_line(error, 200)}") from None


def check_nested(value: object, source: object) -> None:
    """Raise `UserError` if plain containers contain themselves, are nested too deeply, or repeat their parts without
    bound: a pickle of a kilobyte can hold a list of two equal lists, each of two equal lists, and so on.

    Args:
        value: of dicts, lists, tuples and sets; anything else counts as one node.

    >>> part = [[0]]
    >>> check_nested([part, part], "x.ckpt")
    """
    sizes: dict[int, int] = {}
    """Nodes below each finished container, by its id."""
    opened: dict[int, tuple[object, Iterator[object], int]] = {}
    """The containers from the root to here, with the parts still to be seen and the nodes of those seen."""
    repeated, part, nodes = 0, value, 0
    while True:
        if not isinstance(part, dict | list | tuple | set | frozenset):
            nodes = 1
        elif id(part) in opened:
            raise UserError(f"{source} contains a node that contains itself")
        elif id(part) in sizes:
            nodes = sizes[id(part)]
            repeated += nodes
        else:
            parts = itertools.chain(part.keys(), part.values()) if isinstance(part, dict) else part
            opened[id(part)] = part, iter(parts), 1
            nodes = 0
        if len(opened) > MAX_DEPTH:
            raise UserError(f"{source} is nested more than {MAX_DEPTH} levels deep")
        if repeated > MAX_NODES:
            raise UserError(f"{source} expands to more than {MAX_NODES:,} values (it repeats its own parts)")
        while opened:
            key, (container, rest, seen) = opened.popitem()
            seen += nodes
            if (part := next(rest, opened)) is not opened:
                opened[key] = container, rest, seen
                break
            sizes[key] = nodes = seen
        else:
            return


def read_json(path: Path, max_bytes: int = MAX_BYTES) -> object:
    """The content of a JSON file."""
    return parse_json(read_text(path, max_bytes), path)


def parse_json(text: str, source: object) -> object:
    """Parse JSON into plain containers; `UserError` if it is invalid or nested too deeply."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else one_line(error, 200)
        raise UserError(f"{source} is damaged or not JSON: {reason}") from None
    level, depth = [value], 0
    while level := [
        part
        for node in level
        if isinstance(node, dict | list)
        for part in (node.values() if isinstance(node, dict) else node)
    ]:
        depth += 1
        if depth > MAX_DEPTH:
            raise UserError(f"{source} is nested more than {MAX_DEPTH} levels deep")
    if "\\u" in text and re.search("[\ud800-\udfff]", json.dumps(value, ensure_ascii=False)):
        raise UserError(f"{source} is damaged: it holds half of a character")
    return value
