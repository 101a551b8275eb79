"""Write JSON Schemas of config files, with which an editor completes, explains and checks them.

    dlzoo schema                                 into the folder schema
    dlzoo schema --config-dir conf mark=true     into conf/schema, with the names in your configs, which get the comment
                                                 that names their schema

Options:
    --config-dir    a folder of your configs
    out             the folder to write to; by default schema, in the folder of --config-dir if there is one
    group           only the files of this group; config: a whole config, such as an experiment
    mark            true: insert the comment into the files of --config-dir that lack it
    trust           your own package, whose classes are imported to read their options

The comment is the second line of a file, or the first if the file has no header for Hydra, which must come before it:

    # @package _global_
    # yaml-language-server: $schema=../schema/config.json

Then an editor with yaml-language-server (the YAML extension of VS Code, and most others) lists names and options with
their descriptions, and marks unknown keys, wrong types and values out of range; so does, in a terminal,
check-jsonschema --schemafile conf/schema/config.json conf/experiment/mine.yaml. A key of your own at the top, to which
others refer, is marked too, though a run accepts it. dlzoo's own configs name the schemas that are shipped with them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlzoo.commands import cli
from dlzoo.config import groups, overrides, run_files, schema_files
from dlzoo.config.allowlist import Trust, packages_in
from dlzoo.config.group_files import MODELINE, File, files_by_group
from dlzoo.errors import UserError, ignored_option, visible
from dlzoo.utils import files
from dlzoo.utils.untrusted import read_text


@dataclass(frozen=True, kw_only=True)
class Options:
    out: str | None = None
    """Null: schema, in the folder of ``--config-dir`` if one is given."""
    group: str | None = None
    trust: str | None = None
    mark: bool = False


def main() -> None:
    """The command."""
    cli.execute(write, __doc__)


def write(argv: Sequence[str]) -> None:
    """Write the files, and print their names."""
    flags, words = overrides.split(argv)
    folders = groups.search_dirs(overrides.only_config_dirs(flags))
    own = overrides.extra_dirs(flags)
    options, _ = cli.parse(Options, words)
    if options.mark and not own:
        raise ignored_option("mark", "true", "--config-dir, the folder of your configs")
    out = Path(options.out if options.out is not None else (own[0] if own else Path()) / "schema")
    schemas = schema_files.Schemas(folders, Trust(packages_in(options.trust)))
    names = schemas.names if options.group is None else [schemas.name_of(options.group)]
    if os.path.exists(out) and not out.is_dir():
        raise UserError(f"out={out} is a file: give a folder")
    if options.out is None and own and not run_files.is_inside(own[0], out):
        raise UserError(f"{out} links outside the folder of --config-dir and is not written to: give out=…")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"out={out} cannot be created ({error.strerror}): give another folder") from None
    for name in names:
        path = out / f"{name}.json"
        if path.is_symlink():
            raise UserError(f"{path} is a link and is not written to: remove it")
        files.write(path, schema_files.as_text(schemas.schema(name)).encode())  # a hard link is replaced
        print(visible(f"{path}  {schemas.described(name)}"))
    marked = [file.path for folder in own for file in _files(folder) if options.mark and _mark(file, out)]
    for path in marked:
        print(visible(f"{path}  names its schema now"))
    if not options.mark:
        print(f"a file names its schema in a comment: {MODELINE}../{out.name}/{names[0]}.json")


def _files(folder: Path) -> list[File]:
    """The config files in a folder, without links out of it."""
    found = [file for group in files_by_group([folder]).values() for file in group]
    return [file for file in found if run_files.is_inside(folder, file.path)]


def _mark(file: File, schemas: Path) -> bool:
    """Insert the comment that names a file's schema; whether it has had none."""
    text = read_text(file.path)
    if MODELINE in text:
        return False
    target = os.path.relpath(schemas / f"{schema_files.schema_name(file)}.json", file.path.parent)
    lines = text.splitlines(keepends=True)
    lines.insert(bool(lines) and lines[0].startswith("# @"), f"{MODELINE}{Path(target).as_posix()}\n")
    files.write(file.path, "".join(lines).encode())
    return True
