"""An extension of griffe, which reads the docstrings for the reference: doctests become blocks of code."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

DOCTEST = re.compile(r"(?:^[ ]*(?:>>>|\.\.\.)[^\n]*\n?(?:^(?![ ]*>>>)[ ]*\S[^\n]*\n?)*)+", re.MULTILINE)


class Doctests(Extension):
    """Fences the doctests of each docstring, without their directives."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    """A docstring with its doctests as fenced code."""
    return DOCTEST.sub(lambda found: f"```pycon\n{_plain(found[0])}\n```\n", text)


def _plain(doctest: str) -> str:
    return re.sub(r"[ ]*# doctest:[^\n]*", "", doctest).strip()
