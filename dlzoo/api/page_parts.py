"""Parts of the HTML pages about runs and sweeps; everything that comes from a run is escaped."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlzoo.config import run_files
from dlzoo.errors import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIRST = ("learning_curves", "confusion_matrix", "predicted_against_true", "forecast", "predictions", "samples")
"""Figures in this order, then the others by name, see `rank`."""

TYPES = {".png": "image/png", ".gif": "image/gif", ".jpg": "image/jpeg", ".svg": "image/svg+xml"}
MAX_FIGURE_BYTES = 8_000_000
MAX_PAGE_BYTES = 100_000_000

STYLE = """
:root { color-scheme: light dark; --ink: #222; --faint: #777; --line: #ddd; --paper: #fff; --shade: #f6f6f4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e4e4; --faint: #999; --line: #444; --paper: #1b1b1b;
  --shade: #262626; } img { background: #fff; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 1100px; padding: 2rem 1.5rem 4rem; }
h1 { font-size: 1.7rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.4rem 0 .7rem; }
p.about { color: var(--faint); margin: .2rem 0 1.6rem; }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; }
.tile { background: var(--shade); border-radius: 8px; padding: .7rem 1.1rem; min-width: 9rem; }
.tile b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.tile span { color: var(--faint); font-size: .85rem; }
.tile .met { color: light-dark(#0a7d38, #4cc47a); } .tile .missed { color: light-dark(#c8371f, #ff7a63); }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--faint); font-weight: 500; } th:first-child, td:first-child { text-align: left; }
.wide { overflow-x: auto; } img { max-width: 100%; border-radius: 4px; }
figure { margin: 0 0 1.6rem; } figcaption { color: var(--faint); font-size: .85rem; }
pre { background: var(--shade); border-radius: 8px; padding: 1rem; overflow-x: auto; font-size: .82rem; }
pre.prose { white-space: pre-wrap; } pre.prose, p, td:first-child { overflow-wrap: anywhere; }
summary { cursor: pointer; color: var(--faint); }
@media (max-width: 600px) { body { padding: 1.2rem .9rem 3rem; } .tile { min-width: 7rem; padding: .5rem .8rem; }
  .tile b { font-size: 1.25rem; } table { font-size: .82rem; } th, td { padding-right: .55rem; } }
"""


POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""What a page with a script may load and run: only what is in it."""


def document(title: str, parts: Sequence[str], *, style: str = "", policy: bool = False) -> str:
    """A whole page; empty parts are skipped.

    Args:
        style: further CSS.
        policy: forbid the page to load anything.
    """
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    if policy:
        head += f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    body = "\n".join(filter(None, parts))
    head += f"<style>{STYLE}{style}</style>"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def tile(value: str, name: str, verdict: str = "") -> str:
    """A value in large type over its name.

    Args:
        verdict: HTML below them.
    """
    return f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span>{verdict}</div>'


def tiled(tiles: Sequence[str]) -> str:
    """Tiles side by side."""
    return f'<div class="tiles">{"".join(tiles)}</div>' if tiles else ""


def gallery(folder: Path) -> str:
    """Every figure of the run, embedded in the page."""
    files = [path for path in folder.iterdir() if path.suffix.lower() in TYPES and path.is_file()]
    files = [path for path in files if run_files.is_inside(folder, path)]
    shown, total = [], 0
    for path in sorted(files, key=lambda path: (rank(path.stem), path.name)):
        content = run_files.read_bytes(folder, path, min(MAX_FIGURE_BYTES, MAX_PAGE_BYTES - total))
        total += len(content or b"")
        shown.append(_figure(path, content))
    return "<h2>Figures</h2>\n" + "\n".join(shown) if shown else ""


def rank(name: str) -> int:
    """The place of a figure among the `FIRST`; that of all others is after them."""
    return FIRST.index(name) if name in FIRST else len(FIRST)


def embedded(folder: Path, path: Path) -> str:
    """A picture of a run as a figure that needs no other file."""
    return _figure(path, run_files.read_bytes(folder, path, MAX_FIGURE_BYTES))


def embedded_figure(figure: Figure, name: str) -> str:
    """A figure of Matplotlib as HTML."""
    from dlzoo.visualization import figures

    content = io.BytesIO()
    figures.render(figure, content, "png")
    return _figure(Path(f"{name}.png"), content.getvalue())


def _figure(path: Path, content: bytes | None) -> str:
    image = picture(path, content)
    return image if content is None else f"<figure>{image}<figcaption>{_caption(path)}</figcaption></figure>"


def picture(path: Path, content: bytes | None) -> str:
    """A picture as HTML that needs no other file; None: it was too large."""
    if content is None:
        return f"<p>{_caption(path)}: {escape(path.name)} is too large for this page</p>"
    data = base64.b64encode(content).decode()
    return f'<img alt="{_caption(path)}" src="data:{TYPES[path.suffix.lower()]};base64,{data}">'


def _caption(path: Path) -> str:
    return escape(path.stem.replace("_", " "))


ABSOLUTE = re.compile(r"""(?<![\w/\\.…])(?:~|[A-Za-z]:)?[/\\](?:[^/\\\s'",;=]+[/\\])+([^/\\\s'",;=]*)""")


def without_folders(shown: str) -> str:
    """Text in which absolute paths, which name the user and the machine, are shortened to their last name.

    >>> print(without_folders("data.path=/home/me/houses.csv, data/x.csv, https://a.org/b/c"))
    data.path=…/houses.csv, data/x.csv, https://a.org/b/c
    """
    return ABSOLUTE.sub(r"…/\1", shown)


def table(heading: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    cells = "".join(f"<th>{escape(name)}</th>" for name in heading)
    lines = "\n".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{cells}</tr>\n{lines}</table></div>'


def escape(text: object) -> str:
    """Text of a run as HTML, with its control characters escaped, and those that change the text direction."""
    return html.escape(visible(text))
