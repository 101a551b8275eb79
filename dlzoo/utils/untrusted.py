"""YAML and JSON that may come from a stranger: read within limits, and refused in a sentence.

A kilobyte of YAML with aliases of aliases stands for more nodes than a machine holds, and a megabyte of opening
brackets is deeper than Python can follow. So a text is looked through as a stream of events, which takes no memory,
before anything is built from it.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from dlzoo.errors import UserError, one_line

MOST_BYTES = 16 << 20
"""Of a file."""
MOST_NODES = 200_000
"""Of a document, with all aliases written out."""
MOST_DEPTH = 60


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """A text file of bounded size.

    Raises:
        UserError: it cannot be read, is no regular file, is too large or no UTF-8.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UserError(f"{path} is no regular file")
        with path.open("rb") as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise UserError(f"{path} has more than {most:,} bytes; no run writes such a file")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is damaged: byte {error.start} is no UTF-8") from None


def check_yaml(text: str, source: object) -> None:
    """Refuse a text that is too large or too deep to be built, however short it is; see `parse_yaml`."""
    import yaml

    if len(text) > MOST_BYTES:
        raise UserError(f"{source} has more than {MOST_BYTES:,} characters")
    sizes: dict[str, int] = {}
    """Nodes of what an anchor names."""
    opened: list[tuple[str | None, int]] = []
    """Of each collection under way: its anchor, and the number of nodes before it."""
    nodes = 0
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if isinstance(event, yaml.AliasEvent):
                name = event.anchor or ""
                if any(anchor == name for anchor, _ in opened):
                    raise UserError(f"{source} holds a node that contains itself (*{name[:20]})")
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
            if len(opened) > MOST_DEPTH:
                raise UserError(f"{source} is nested more than {MOST_DEPTH} levels deep")
            if nodes > MOST_NODES:
                raise UserError(f"{source} stands for more than {MOST_NODES:,} values (aliases written out)")
    except yaml.YAMLError as error:
        raise UserError(f"{source} is damaged or no YAML: {one_line(error, 200)}") from None


def read_json(path: Path, most: int = MOST_BYTES) -> Any:
    """The content of a JSON file."""
    return parse_json(read_text(path, most), path)


def parse_json(text: str, source: object) -> Any:
    """A JSON text as plain containers; `UserError` if it is none, or is nested too deep."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else one_line(error, 200)
        raise UserError(f"{source} is damaged or no JSON: {reason}") from None
    level, depth = [value], 0
    while level := [
        part
        for node in level
        if isinstance(node, dict | list)
        for part in (node.values() if isinstance(node, dict) else node)
    ]:
        depth += 1
        if depth > MOST_DEPTH:
            raise UserError(f"{source} is nested more than {MOST_DEPTH} levels deep")
    return value
