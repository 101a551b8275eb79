"""What docstrings say about a class and its arguments, in one line each."""

from __future__ import annotations

import inspect
import re

ENTRY = re.compile(r"^\s+\**([\w, *]+?)(?: \([^)]*\))?: *(.*)$")
"""An entry of the section Args of a docstring."""
MARKUP = re.compile(r":\w+:`~?([^`]+)`|``([^`]*)``|`([^`]*)`")
"""Names and values as docstrings mark them."""


def plain(text: str) -> str:
    """A text without markup, in one line.

    >>> print(plain("``null`` or a `Net`,  see :class:`~a.B`"))
    null or a Net, see a.B
    """
    return " ".join(MARKUP.sub(lambda match: next(filter(None, match.groups()), ""), text).split())


def summary(docstring: str) -> str:
    """The first sentence.

    >>> summary("A net (Doe et al., 2015), e.g. small. It learns.")
    'A net (Doe et al., 2015), e.g. small.'
    """
    paragraph = plain(inspect.cleandoc(docstring).partition("\n\n")[0])
    end = re.search(r"(?<!al)(?<!e\.g)(?<!i\.e)(?<!\b[A-Z])\.(?= [A-Z`\"(])", paragraph)
    return paragraph if end is None else paragraph[: end.end()]


def entries(docstring: str) -> dict[str, str]:
    """The section Args of a docstring: what it says about each argument, in one line.

    >>> entries('''A net.
    ...
    ... Args:
    ...     hidden: widths of the layers,
    ...         the first one first.
    ...     dropout: a probability.
    ... ''')
    {'hidden': 'widths of the layers, the first one first.', 'dropout': 'a probability.'}
    """
    _, found, section = inspect.cleandoc(docstring).partition("Args:\n")
    texts: dict[str, str] = {}
    names: list[str] = []
    indent = None
    for line in section.splitlines() if found else ():
        depth = len(line) - len(line.lstrip())
        if line.strip() and depth == 0:
            break
        indent = depth if indent is None and line.strip() else indent
        if depth == indent and (match := ENTRY.match(line)):
            names = match[1].replace("*", "").split(", ")
            texts |= dict.fromkeys(names, match[2])
        else:
            texts |= {name: f"{texts[name]} {line.strip()}".strip() for name in names}
    return {name: plain(text) for name, text in texts.items()}
