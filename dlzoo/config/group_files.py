"""The YAML files of the config groups: what each one sets, and what its first comment says."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dlzoo.config import nested
from dlzoo.config.docstrings import summary
from dlzoo.config.yaml_files import CONFIG_DIR, read_yaml
from dlzoo.errors import UserError
from dlzoo.utils.files import open_regular
from dlzoo.utils.untrusted import MAX_BYTES

PACKAGE = re.compile(r"#\s*@package\s+(\S+)")
MODELINE = "# yaml-language-server: $schema="
"""How the comment begins that names the JSON Schema of a file. Hydra's own header must stand before it."""

ABOUT = {
    "model": "what is computed, and how it learns",
    "data": "what it learns from",
    "augment": "random changes of the training images",
    "transfer": "how a pretrained net is trained",
    "optimizer": "how weights are updated",
    "scheduler": "learning rates",
    "trainer": "device and precision",
    "callbacks": "what a run writes",
    "logger": "where metrics go",
    "sweep": "kinds of search",
    "experiment": "settings of a claimed result",
    "net": "what is computed",
    "task": "how it learns",
}
"""What each group chooses, and the two nodes that model= sets."""


@dataclass(frozen=True)
class File:
    """A config file of a group."""

    path: Path

    @cached_property
    def _text(self) -> str:
        try:
            with open_regular(self.path) as file:
                return file.read(MAX_BYTES).decode(errors="replace").replace("\r\n", "\n")
        except (OSError, UserError):
            return ""

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def group(self) -> str:
        return self.path.parent.name

    @cached_property
    def package(self) -> str:
        """The dotted key that the file sets; ``_global_`` for the whole config."""
        header = PACKAGE.search(self._text[:512])
        return header[1] if header else self.group

    @cached_property
    def content(self) -> Mapping[str, object]:
        """What it sets; nothing if it cannot be read, as a file of the user's that is being written."""
        try:
            content = read_yaml(self.path)
        except (UserError, OSError):
            return {}
        return content if isinstance(content, dict) else {}

    @property
    def is_whole(self) -> bool:
        return self.package == "_global_"

    def targets(self) -> Iterator[tuple[str, str]]:
        """The classes that it names, each with the dotted key of its part in the whole config."""
        prefix = "" if self.is_whole else self.package
        for key, part in nested.targets({**self.content}, prefix):
            yield key.lstrip("."), str(part["_target_"])

    def chosen(self, group: str) -> str | None:
        """The name that its defaults list chooses in a group."""
        entries = self.content.get("defaults")
        for entry in entries if isinstance(entries, list) else ():
            for key, name in entry.items() if isinstance(entry, dict) else ():
                if str(key).removeprefix("override ").lstrip("/") == group and isinstance(name, str):
                    return name
        return None

    @property
    def comment(self) -> str:
        """The comment that it begins with, as one line, without the headers for Hydra and for editors.

        >>> File(CONFIG_DIR / "data" / "mnist.yaml").comment
        'Handwritten digits, 28x28 grey, 60,000 + 10,000; downloaded once (11 MB).'
        """
        lines = itertools.takewhile(lambda line: line.startswith("#"), self._text.splitlines())
        return " ".join(line[1:].strip() for line in lines if not line.startswith((MODELINE, "# @")))

    @property
    def about(self) -> str:
        """The first sentence of its comment; empty if it has none."""
        return summary(self.comment)


def files_by_group(folders: Sequence[Path] = (CONFIG_DIR,)) -> dict[str, list[File]]:
    """The files of each group in some folders, of which the first that has a name takes precedence."""
    found: dict[str, dict[str, File]] = {}
    for folder in folders:
        for path in sorted(folder.glob("*/*.yaml")):
            found.setdefault(path.parent.name, {}).setdefault(path.stem, File(path))
    found.pop("hydra", None)
    return {group: [found[group][name] for name in sorted(found[group])] for group in sorted(found)}
