"""Checks the built site: links, pictures and anchors lead somewhere, and nothing comes from another host."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {"img": "src", "script": "src", "link": "href", "source": "src", "iframe": "src", "video": "src"}
"""Attributes that a browser loads by itself."""


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.ids.add(given["id"])
        attribute = FETCHED.get(tag) or ("href" if tag == "a" else None)
        if attribute and attribute in given:
            self.links.append((tag, given[attribute]))


@cache
def _read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def problems(site: Path) -> Iterator[str]:
    """One sentence for each link that leads nowhere, and for each file that another host would serve."""
    for path in sorted(site.rglob("*.html")):
        if path.name == "404.html":  # its links are absolute, for any address
            continue
        for tag, link in _read(path).links:
            if found := _problem(site, path, tag, link):
                yield f"{path.relative_to(site)}: {link}: {found}"


def _problem(site: Path, path: Path, tag: str, link: str) -> str | None:
    parts = urlsplit(link)
    if parts.scheme in ("mailto", "data") or not link:
        return None
    if parts.scheme or parts.netloc:
        return "comes from another host" if tag != "a" else None
    target = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
    if target.is_dir():
        target = target / "index.html"
    if not target.is_file() or not target.is_relative_to(site.resolve()):
        return "there is no such file"
    if parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in _read(target).ids:
        return "there is no such anchor"
    return None
