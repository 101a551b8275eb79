"""The hand-written texts of the zoo: docs/zoo/<family>.yaml, a list of systems each, in one typed form."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path

import yaml

from dlzoo.errors import UserError, nearest

ROOT = Path(__file__).parents[2]
TEXTS = ROOT / "docs" / "zoo"
PICTURES = ROOT / "docs" / "assets" / "zoo"


@dataclass(frozen=True)
class Exercise:
    """Something to try, with the command that does it."""

    text: str
    command: str


@dataclass(frozen=True)
class Pictures:
    """What a short run leaves that is worth showing.

    Args:
        command: of the run, without its folder; on data that are embedded, if any such data show the idea.
        files: names of pictures in the run's folder, with their captions; the first one also stands in the gallery.
        then: commands that make more pictures of the run, whose folder they write as ``{run}``.
    """

    command: str
    files: dict[str, str]
    then: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class System:
    """A page of the zoo.

    Args:
        name: of the page.
        models: names in configs/model; the first one is drawn.
        spec: a name in `scripts.docs.specs`, for which it is drawn.
        idea: a paragraph.
        equations: Markdown with ``$$…$$``.
        code: dotted names of the functions that compute it.
        experiments: names in configs/experiment.
        errata: what its sources had wrong, if anything.
        run: the command that a reader tries first.
    """

    family: str
    name: str
    title: str
    models: list[str]
    spec: str
    idea: str
    equations: str
    code: list[str]
    run: str
    exercises: list[Exercise]
    experiments: list[str] = field(default_factory=list)
    errata: list[str] = field(default_factory=list)
    pictures: Pictures | None = None

    def commands(self) -> list[str]:
        """All commands of the page."""
        return [self.run, *(exercise.command for exercise in self.exercises)]


@dataclass(frozen=True)
class Family:
    """A heading of the gallery."""

    title: str
    about: str
    systems: list[System]


@cache
def families(folder: Path = TEXTS) -> list[Family]:
    """All families, in the order of ``place`` in their files.

    Raises:
        UserError: a file has an unknown key, or lacks one.
    """
    found = []
    for path in sorted(folder.glob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        systems = [system(entry, content["title"], path) for entry in content["systems"]]
        found.append((content["place"], Family(content["title"], content["about"], systems)))
    return [family for _, family in sorted(found, key=lambda pair: pair[0])]


def system(entry: dict[str, object], family: str, path: Path) -> System:
    """An entry of a file.

    Raises:
        UserError: it has an unknown key, or lacks one.
    """
    known = [option.name for option in fields(System)]
    if unknown := [key for key in entry if key not in known]:
        raise UserError(f"{path.name}: {unknown[0]}: there is no such key; {nearest(unknown[0], known)}")
    entry = {"family": family, **entry}
    exercises, pictures = entry.pop("exercises", []), entry.pop("pictures", None)
    assert isinstance(exercises, list)
    try:
        return System(
            exercises=[Exercise(**exercise) for exercise in exercises],
            pictures=Pictures(**pictures) if isinstance(pictures, dict) else None,
            **entry,  # type: ignore[arg-type]
        )
    except TypeError as error:
        raise UserError(f"{path.name}: {entry.get('name')}: {error}") from None


def pages() -> list[System]:
    """The systems of all families."""
    return [system for family in families() for system in family.systems]
