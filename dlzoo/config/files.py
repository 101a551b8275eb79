"""The YAML files that Hydra reads: dlzoo's own are trusted, those of ``--config-dir`` are not.

A user file may refer to other keys (``${seed}``) and to Hydra's information about this invocation (``${hydra:…}`` and
``${now:…}``), but to nothing else: not to environment variables, which may contain secrets, and not through resolvers
that create nodes from text, which the checks would miss. Its defaults list is limited to the given folders. The files
of an installed plugin are user files, found without ``--config-dir``; unlike others, they may be symlinks.
"""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra._internal import hydra as hydra_main
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.default_element import InputDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig, ListConfig, Node, OmegaConf, grammar_parser
from omegaconf.base import Container
from omegaconf.errors import GrammarParseError, OmegaConfBaseException
from omegaconf.grammar.gen.OmegaConfGrammarParser import OmegaConfGrammarParser

from dlzoo.config import plugins, renames
from dlzoo.config.nested import walk
from dlzoo.config.run_files import is_inside
from dlzoo.config.yaml_files import ERRORS
from dlzoo.errors import UserError, one_line, short
from dlzoo.utils import untrusted

RESOLVERS = ("hydra", "now", "mixed_precision", "sync_batchnorm")
"""The resolvers that any file may use."""
MAX_CHARACTERS = 2_000
"""Length limit of a string with references: resolving takes quadratic time."""
MAX_INCLUDED = 1_000
"""Limit of the files that a user's files include, each time that they are included."""
MAX_LISTED = 1_000
MAX_LISTED_LEVELS = 5
"""Limits of the folders that Hydra lists, and of folders in folders."""
MAX_REFERENCES = 2_000
"""Limit of the references that are followed to resolve a config once."""
MAX_EXPANDED = 1_000_000
"""Limit of the characters that they stand for."""


PLUGIN = "plugin"
"""Hydra's name for the folders of plugins."""


class CheckedFiles(ConfigRepository):  # internal to Hydra 1.3; tests/config/test_trust.py fails if it moves
    """Hydra's access to config files, which checks the user's files before they are used.

    Args:
        contents: of the user's files. Each is read once, so a file that changes later has no effect.
        is_complete: whether no other user file may be read.
    """

    def __init__(self, sources: list[ConfigSource], contents: dict[Path, str], *, is_complete: bool = False) -> None:
        self.sources = sources
        self.contents = contents
        self.is_complete = is_complete
        self.user_files: list[str] = []
        """The files read that belong neither to dlzoo nor to Hydra."""
        self.num_included = 0
        """Entries of their defaults lists, counted whenever a file is included."""
        self.num_listed = 0
        """Folders that were listed, counted each time."""

    @classmethod
    def install(cls, contents: dict[Path, str]) -> CheckedFiles:
        """Make Hydra, which must be initialized, read files through a new instance."""
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        assert isinstance(hydra.config_loader, ConfigLoaderImpl)
        _add_plugins(hydra.config_loader.config_search_path)
        hydra.config_loader.repository = files = cls([], contents)
        files.initialize_sources(hydra.config_loader.config_search_path)
        return files

    def __deepcopy__(self, memo: object) -> CheckedFiles:
        return self  # Hydra reads through a copy, whose user_files would not be seen here

    def load_config(self, config_path: str) -> ConfigResult | None:
        if ".." in config_path.split("/"):
            raise UserError(f"{short(config_path)} is a path, not the name of a config")
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is not None and source.scheme() == "file" and source.provider != "main":
            self.user_files.append(config_path)
            if config_path.startswith("hydra/"):
                raise UserError(f"{config_path} in {source.path}: only the command line may set Hydra's settings")
            path = Path(source.path) / source._normalize_file_name(config_path)
            if source.provider != PLUGIN and not is_inside(Path(source.path), path):
                raise UserError(f"{path} links outside the folder of --config-dir and is not read")
            return self._checked(config_path, source, path)
        return super().load_config(config_path)

    def get_group_options(self, group_name: str, results_filter: ObjectType | None = ObjectType.CONFIG) -> list[str]:
        """The names in a group. ``--hydra-help`` lists every folder in every folder, through links too, which may lead
        back: what exceeds the limits is not listed."""
        self.num_listed += 1
        if self.num_listed > MAX_LISTED or group_name.count("/") > MAX_LISTED_LEVELS:
            return []
        return super().get_group_options(group_name, results_filter)

    def _checked(self, config_path: str, source: ConfigSource, path: Path) -> ConfigResult:
        """A user file: the text used is exactly the one that was checked."""
        if path not in self.contents:
            if self.is_complete:
                raise UserError(f"{path} did not exist when the configs were checked")
            self.contents[path] = untrusted.read_text(path)
        text = self.contents[path]
        untrusted.check_yaml(text, path)
        try:
            content = OmegaConf.load(io.StringIO(text))
            header = ConfigSource._get_header_dict(text[:512])
            plain = OmegaConf.to_container(content, resolve=False)
            check_references(plain, f"{config_path}.yaml in {source.path}")
            if isinstance(plain, dict) and not isinstance(given := plain.get("hydra", {}), dict):  # Hydra trips over it
                raise UserError(f"{path}: hydra={short(given)}: only the command line may set Hydra's settings")
            updated = renames.with_positions(plain)
            if updated is not plain and isinstance(updated, dict):
                content = OmegaConf.create(updated)
            result = ConfigResult(source.provider, f"file://{source.path}", content, header)
            defaults = self._extract_defaults_list(config_path, content)
            result.defaults_list = _Included(self._create_defaults_list(config_path, defaults), self)
        except UserError:
            raise
        except (OSError, *ERRORS) as error:  # OSError: OmegaConf's, for a file without a mapping
            raise UserError(f"{path} is not a config: {one_line(error, 200)}") from None
        return result


class _Included(list[InputDefault]):
    """The defaults list of a user file, which Hydra copies for each inclusion: files that include others twice, each
    of which includes others twice, and so on, would be included without end.

    Raises:
        UserError: when it is copied, if `MAX_INCLUDED` is exceeded.
    """

    def __init__(self, entries: list[InputDefault], files: CheckedFiles) -> None:
        super().__init__(entries)
        self.files = files

    def __deepcopy__(self, memo: dict[int, Any]) -> list[InputDefault]:
        self.files.num_included += len(self)
        if self.files.num_included > MAX_INCLUDED:
            names = ", ".join(dict.fromkeys(self.files.user_files))
            raise UserError(f"{short(names, 200)}: their defaults lists include more than {MAX_INCLUDED:,} files")
        return copy.deepcopy([*self], memo)


def _add_plugins(config_search_path: ConfigSearchPath) -> None:
    """Have Hydra search the plugins' folders of configs after dlzoo's and before those of ``--config-dir``."""
    for folder in reversed(plugins.config_dirs()):
        config_search_path.append(PLUGIN, f"file://{folder}", anchor=SearchPathQuery(provider="main"))


@contextlib.contextmanager
def _patched(owner: object, name: str, value: object) -> Iterator[None]:
    """Inside, ``owner.name`` is another value. Importing `unittest.mock` for it would delay each start by a tenth."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextlib.contextmanager
def as_checked(contents: dict[Path, str] | None) -> Iterator[None]:
    """While Hydra composes again: it reads the user's files as they were when they were checked, and no others.

    Args:
        contents: of the user's files; None if nothing is built, and they are checked as they are read.
    """

    class Loader(ConfigLoaderImpl):
        def __init__(self, config_search_path: ConfigSearchPath) -> None:
            _add_plugins(config_search_path)
            super().__init__(config_search_path)
            self.repository = CheckedFiles(self.repository.sources, contents or {}, is_complete=contents is not None)

    with _patched(hydra_main, "ConfigLoaderImpl", Loader):
        yield


def check_references(node: object, file: str) -> None:
    """`UserError` if a string in a file refers to anything but other keys and Hydra's information."""
    for key, value in walk(node):
        if not isinstance(value, str) or "${" not in value:
            continue
        if len(value) > MAX_CHARACTERS:
            raise UserError(f"{file}: {key}={short(value)} has {len(value):,} characters; at most {MAX_CHARACTERS:,}")
        try:
            names = [*_resolvers(grammar_parser.parse(value))]
        except GrammarParseError:
            raise UserError(f"{file}: {key}={short(value)} is not a valid reference") from None
        if refused := [name for name in names if name not in RESOLVERS]:
            raise UserError(
                f"{file}: {key}={short(value)} is not allowed: a file may refer to other keys, and use the resolvers "
                f"{', '.join(f'{name}:' for name in RESOLVERS)}, but not {short(refused[0])}:"
            )


def check_expansion(cfg: DictConfig) -> None:
    """`UserError` if the references of a config stand for too much: for strings of references to strings of references,
    and so on, or for containers that repeat or contain themselves.

    References that cannot be resolved yet are skipped.
    """
    budget = _Budget()
    follow = Container._resolve_node_interpolation  # internal to OmegaConf 2.3

    def counted(container: Container, inter_key: str, memo: set[int] | None) -> Node:
        node = follow(container, inter_key, memo)
        value = node._value()
        budget.spend(1, len(value) if isinstance(value, str) else 0)
        return node

    with _patched(Container, "_resolve_node_interpolation", counted):
        _expand(cfg, budget, depth=0)
    budget.check()


class _Budget:
    """What is left while references are followed."""

    def __init__(self) -> None:
        self.references, self.characters, self.nodes = MAX_REFERENCES, MAX_EXPANDED, untrusted.MAX_NODES

    def spend(self, references: int = 0, characters: int = 0, nodes: int = 0) -> None:
        self.references -= references
        self.characters -= characters
        self.nodes -= nodes
        self.check()

    def check(self) -> None:
        """OmegaConf turns an exception while it resolves into its own, so this is asked again afterwards."""
        if min(self.references, self.characters, self.nodes) < 0:
            raise UserError(
                f"the config files expand to more than {untrusted.MAX_NODES:,} values, {MAX_REFERENCES:,} references "
                f"or {MAX_EXPANDED:,} characters (through references to references)"
            )


def _expand(node: DictConfig | ListConfig, budget: _Budget, depth: int) -> None:
    """Visit every value of a config as it is when resolved."""
    if depth > untrusted.MAX_DEPTH:
        raise UserError(f"the config files nest more than {untrusted.MAX_DEPTH} levels deep (through references)")
    for key in range(len(node)) if isinstance(node, ListConfig) else [*node]:
        budget.spend(nodes=1)
        try:
            value = node[key]
        except (OmegaConfBaseException, ValueError):  # cannot be resolved yet, or is missing: ???
            budget.check()
            continue
        if isinstance(value, DictConfig | ListConfig) and not value._is_none() and not value._is_missing():
            _expand(value, budget, depth + 1)


def _resolvers(tree: object) -> Iterator[str]:
    """The names of the resolvers in parsed text."""
    if isinstance(tree, OmegaConfGrammarParser.InterpolationResolverContext):
        yield tree.resolverName().getText()
    for child in getattr(tree, "children", None) or ():
        yield from _resolvers(child)
