"""Reads what ``results/`` holds, which may come with a stranger's pull request and becomes text of RESULTS.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlzoo.config import nested, run_files
from dlzoo.errors import UserError, short
from dlzoo.utils import untrusted

MARKUP = re.compile(r"<[A-Za-z/!]|\]\(")
"""HTML, links and pictures, which none of the texts has."""


def read_text(root: Path, path: Path) -> str:
    """A text file below a folder.

    Raises:
        UserError: it is not a file, is not UTF-8, or links to outside of the folder, whose content would be published.
    """
    if not run_files.is_inside(root, path):
        raise UserError(f"{path} links outside {root} and is not read")
    return untrusted.read_text(path)


def read_json(root: Path, path: Path) -> dict[str, Any]:
    """A JSON file below a folder: a mapping, whose texts are lines without markup.

    Raises:
        UserError: it is something else; a line break would begin a line of somebody else's.
    """
    content = run_files.mapping(untrusted.parse_json(read_text(root, path), path), path)
    for place, value in nested.walk(content):
        for text in (place, value):
            if isinstance(text, str) and (not text.isprintable() or MARKUP.search(text)):
                run_files.refuse(path, short(place), text, "a text of one line without markup")
    return content


def check(value: object, checks: Mapping[str, run_files.Check], path: Path, key: str) -> dict[str, Any]:
    """A part of such a file, each key of which passes its check; `UserError` otherwise."""
    part = run_files.mapping(value, path, short(key))
    run_files.check(part, checks, path, f"{short(key)}." if key else "")
    return part


def is_str(value: object) -> bool:
    return isinstance(value, str)


def is_versions(value: object) -> bool:
    """Whether it is a mapping of texts."""
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
