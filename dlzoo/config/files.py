"""The YAML files that Hydra reads: ours are as we wrote them, those of ``--config-dir`` are a stranger's.

A stranger's file may refer to other keys (``${seed}``), and to what Hydra knows of this start (``${hydra:…}`` and
``${now:…}``), but to nothing else: not to the environment, which may hold secrets, and not to resolvers that make nodes
out of text, where a check would not find them. Its defaults stay inside of the folders that were given.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from omegaconf import OmegaConf, grammar_parser
from omegaconf.errors import GrammarParseError
from omegaconf.grammar.gen.OmegaConfGrammarParser import OmegaConfGrammarParser
from yaml import YAMLError

from dlzoo.config.allowlist import walk
from dlzoo.errors import UserError, one_line, short
from dlzoo.utils import untrusted

RESOLVERS = ("hydra", "now", "mixed_precision", "sync_batchnorm")
"""That any file may use."""


class CheckedFiles(ConfigRepository):  # internal to Hydra 1.3; tests/config/test_trust.py says if it moves
    """Hydra's way to its files, which looks into those that are not ours before they are used."""

    def __init__(self, sources: list[Any]) -> None:
        self.sources = sources
        self.foreign: list[str] = []
        """Of the files read, those that are neither ours nor Hydra's."""

    @classmethod
    def take_the_place_of_hydras(cls) -> CheckedFiles:
        """For what is composed next; Hydra must be initialized."""
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        assert isinstance(hydra.config_loader, ConfigLoaderImpl)
        hydra.config_loader.repository = files = cls(hydra.config_loader.repository.sources)
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
            untrusted.check_yaml(untrusted.read_text(path), path)
            try:
                content = source.load_config(config_path).config
            except YAMLError as error:
                raise UserError(f"{path} is no config: {one_line(error, 200)}") from None
            check_references(OmegaConf.to_container(content, resolve=False), f"{config_path}.yaml of {source.path}")
        return super().load_config(config_path)


def check_references(node: Any, file: str) -> None:
    """`UserError` if a text in a file refers to more than other keys and what Hydra knows of this start."""
    for place, value in walk(node):
        for text in (value,) if isinstance(value, str) else ():
            if "${" not in text:
                continue
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
