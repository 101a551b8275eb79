"""The YAML files that Hydra reads: ours are as we wrote them, those of ``--config-dir`` are a stranger's.

A stranger's file may refer to other keys (``${seed}``), and to what Hydra knows of this start (``${hydra:…}`` and
``${now:…}``), but to nothing else: not to the environment, which may hold secrets, and not to resolvers that make nodes
out of text, where a check would not find them. Its defaults stay inside of the folders that were given.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf, grammar_parser
from omegaconf.errors import GrammarParseError
from omegaconf.grammar.gen.OmegaConfGrammarParser import OmegaConfGrammarParser
from yaml import YAMLError

from dlzoo.config.allowlist import walk
from dlzoo.errors import UserError, one_line, short
from dlzoo.utils import untrusted

RESOLVERS = ("hydra", "now", "mixed_precision", "sync_batchnorm")
"""That any file may use."""
LONGEST = 2_000
"""Characters of a text with references: to resolve them takes the square of their number."""


class CheckedFiles(ConfigRepository):  # internal to Hydra 1.3; tests/config/test_trust.py says if it moves
    """Hydra's way to its files, which looks into those that are not ours before they are used.

    Args:
        texts: of the files that are not ours, which are read once and then stay what they were, whoever changes them.
        is_complete: whether no other such file may be read.
    """

    def __init__(self, sources: list[Any], texts: dict[Path, str], *, is_complete: bool = False) -> None:
        self.sources = sources
        self.texts = texts
        self.is_complete = is_complete
        self.foreign: list[str] = []
        """Of the files read, those that are neither ours nor Hydra's."""

    @classmethod
    def take_the_place_of_hydras(cls, texts: dict[Path, str]) -> CheckedFiles:
        """For what is composed next; Hydra must be initialized."""
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        assert isinstance(hydra.config_loader, ConfigLoaderImpl)
        hydra.config_loader.repository = files = cls(hydra.config_loader.repository.sources, texts)
        return files

    def __deepcopy__(self, memo: Any) -> CheckedFiles:
        return self  # Hydra works on a copy, which would keep to itself what was foreign

    def load_config(self, config_path: str) -> Any:
        if ".." in config_path.split("/"):
            raise UserError(f"{short(config_path)}: this is a path, not the name of a config")
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is not None and source.scheme() == "file" and source.provider != "main":
            self.foreign.append(config_path)
            if config_path.startswith("hydra/"):
                raise UserError(f"{config_path} of {source.path}: Hydra's settings are for the command line")
            path = Path(source.path) / source._normalize_file_name(config_path)
            if not path.resolve().is_relative_to(Path(source.path).resolve()):
                raise UserError(f"{path} is a link to outside of the folder of --config-dir and is not read")
            return self._checked(config_path, source, path)
        return super().load_config(config_path)

    def _checked(self, config_path: str, source: ConfigSource, path: Path) -> ConfigResult:
        """A file that is not ours: what is used is the very text that was looked through."""
        if path not in self.texts:
            if self.is_complete:
                raise UserError(f"{path} was not there when the configs were checked")
            self.texts[path] = untrusted.read_text(path)
        text = self.texts[path]
        untrusted.check_yaml(text, path)
        try:
            content = OmegaConf.load(io.StringIO(text))
            header = ConfigSource._get_header_dict(text[:512])
            check_references(OmegaConf.to_container(content, resolve=False), f"{config_path}.yaml of {source.path}")
            found = ConfigResult(source.provider, f"file://{source.path}", content, header)
            defaults = self._extract_defaults_list(config_path, content)
            found.defaults_list = self._create_defaults_list(config_path, defaults)
        except UserError:
            raise
        except (YAMLError, OSError, ValueError) as error:  # OSError: what OmegaConf says of a file without a mapping
            raise UserError(f"{path} is no config: {one_line(error, 200)}") from None
        return found


@contextlib.contextmanager
def as_checked(texts: dict[Path, str] | None) -> Iterator[None]:
    """While Hydra composes once more: it sees the files as they were when they were checked, and no others.

    Args:
        texts: of the files that are not ours; None where nothing is built and they are looked through now.
    """

    class Loader(ConfigLoaderImpl):
        def __init__(self, config_search_path: Any) -> None:
            super().__init__(config_search_path)
            self.repository = CheckedFiles(self.repository.sources, texts or {}, is_complete=texts is not None)

    with mock.patch("hydra._internal.hydra.ConfigLoaderImpl", Loader):
        yield


def check_references(node: Any, file: str) -> None:
    """`UserError` if a text in a file refers to more than other keys and what Hydra knows of this start."""
    for place, value in walk(node):
        for text in (value,) if isinstance(value, str) else ():
            if "${" not in text:
                continue
            if len(text) > LONGEST:
                raise UserError(f"{file}: {place}={short(text)} has {len(text):,} characters; at most {LONGEST:,}")
            try:
                names = [*_resolvers(grammar_parser.parse(text))]
            except GrammarParseError:
                raise UserError(f"{file}: {place}={short(text)} is no reference that can be read") from None
            if refused := [name for name in names if name not in RESOLVERS]:
                raise UserError(
                    f"{file}: {place}={short(text)} is not followed: a file may refer to other keys, and by "
                    f"{', '.join(f'{name}:' for name in RESOLVERS)}, but not by {short(refused[0])}:"
                )


def _resolvers(tree: Any) -> Any:
    """The names of the resolvers in a parsed text."""
    if isinstance(tree, OmegaConfGrammarParser.InterpolationResolverContext):
        yield tree.resolverName().getText()
    for child in getattr(tree, "children", None) or ():
        yield from _resolvers(child)
