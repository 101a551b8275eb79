"""Equations of Markdown as MathML, which browsers render without a script or a font from another host."""

from __future__ import annotations

import re

from latex2mathml.converter import convert

MATH = re.compile(
    r"(?P<code>^(?P<fence>`{3,}|~{3,}).*?^(?P=fence)|`[^`\n]+`)"
    r"|\$\$(?P<block>.+?)\$\$"
    r"|(?<![\\$\w])\$(?P<inline>[^\s$](?:[^$\n]*[^\s$\\])?)\$(?![\w$])",
    re.DOTALL | re.MULTILINE,
)
"""Code, which stays as it is; ``$$…$$``; ``$…$`` within a line."""
MARKDOWN = str.maketrans({character: f"&#{ord(character)};" for character in "*_`[]\\~^|{}"})
"""Characters that Markdown would read as markup."""


def with_mathml(text: str) -> str:
    """Markdown whose equations, ``$x$`` and ``$$x$$``, are MathML; those in code stay.

    >>> with_mathml("`$x$` costs $5")
    '`$x$` costs $5'
    >>> with_mathml("so $a$").endswith("<mi>a</mi></mrow></math></span>")
    True
    """
    return MATH.sub(_converted, text)


def _converted(match: re.Match[str]) -> str:
    if match["code"]:
        return match["code"]
    if match["block"]:
        # blank lines around it: a block of its own; none within it
        return f'\n\n<div class="equation">{mathml(match["block"], display="block")}</div>\n\n'
    return f'<span class="equation">{mathml(match["inline"], display="inline")}</span>'


def mathml(tex: str, *, display: str) -> str:
    """An equation in one line, safe within Markdown."""
    found = convert(" ".join(tex.split()), display=display)
    return re.sub(r">[^<]+<", lambda text: text[0].translate(MARKDOWN), found)
