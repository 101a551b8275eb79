"""The source of the site: docs/ and the generated pages in build/docs/source, and the settings with the whole nav."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from dlzoo.errors import UserError
from scripts.docs import drawing, links, notebooks, reference, zoo_pages
from scripts.docs.mathml import with_mathml
from scripts.docs.systems import ROOT, Family, families

BUILD = ROOT / "build" / "docs"
SOURCE = BUILD / "source"
SITE = BUILD / "site"


def write_source() -> Path:
    """Write everything that the site is built from; the settings file."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(ROOT / "docs", SOURCE, ignore=shutil.ignore_patterns("*.yaml", "*.py", "run.json"))
    for path in SOURCE.rglob("*.md"):
        path.write_text(with_mathml(path.read_text(encoding="utf-8")), encoding="utf-8")
    found = families()
    _write("zoo/index.md", zoo_pages.gallery(found))
    for system in (system for family in found for system in family.systems):
        _write(f"zoo/{system.name}.md", zoo_pages.page(system))
        _write(f"assets/nets/{system.name}.svg", drawing.standing_alone(zoo_pages.svg(system)))
    for name in notebooks.names():
        _write(f"notebooks/{name}.ipynb", notebooks.as_ipynb(name))
    for name, text in reference.pages().items():
        _write(f"reference/{name}.md", text)
    return _write_settings(found)


def _write(name: str, text: str) -> None:
    path = SOURCE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _write_settings(found: Sequence[Family]) -> Path:
    """mkdocs.yml with the pages of the zoo and the reference in its nav."""
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    pages: list[object] = [{notebooks.title(name): f"notebooks/{name}.md"} for name in notebooks.names()]
    filled = {"Zoo": _zoo_nav(found), "Notebooks": pages, "Reference": _reference_nav()}
    settings["nav"] = [_filled(entry, filled) for entry in settings["nav"]]
    settings |= {"docs_dir": SOURCE.name, "site_dir": SITE.name}
    path = BUILD / "mkdocs.yml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def _filled(entry: dict[str, object], filled: dict[str, list[object]]) -> dict[str, object]:
    (title,) = entry
    pages = entry[title]
    return {title: [*pages, *filled[title]]} if title in filled and isinstance(pages, list) else entry


def _zoo_nav(found: Sequence[Family]) -> list[object]:
    return [{family.title: [{system.title: f"zoo/{system.name}.md"} for system in family.systems]} for family in found]


def _reference_nav() -> list[object]:
    return [
        {text.partition("\n")[0].removeprefix("# "): f"reference/{name}.md"} for name, text in reference.pages().items()
    ]


def build() -> None:
    """Build the site strictly.

    Raises:
        UserError: a link, a picture or an anchor leads nowhere, or something would come from another host.
    """
    settings = write_source()
    shutil.rmtree(SITE, ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "-f", str(settings)]
    subprocess.run(command, check=True, cwd=BUILD)
    if found := [*links.problems(SITE)]:
        raise UserError("\n".join([f"{len(found)} broken links:", *found]))
