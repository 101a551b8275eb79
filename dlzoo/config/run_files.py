"""Reads the files of a run folder, which may have been edited or come from an untrusted source.

Each reader returns values of the types that a run writes, or raises an error that names the file. Links to files
outside the folder are not followed: a report on the run could leak their content.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NoReturn, TypeGuard

from dlzoo.config import yaml_files
from dlzoo.config.overrides import check_stored_size
from dlzoo.errors import UserError, short
from dlzoo.utils import untrusted
from dlzoo.utils.files import open_regular, paths_in, replaced

CONFIG, HYDRA, OVERRIDES = ".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml"
HYDRA_FOLDER = ".hydra"
FOLDERS = (HYDRA_FOLDER, "checkpoints")
"""Folders in every run folder."""
WRITTEN_SUFFIXES = (".json", ".csv", ".png", ".gif", ".txt", ".yaml", ".html", ".log")
"""Of the files that runs write into their folder."""
MAX_COUNT = 2**53
"""Limit of a count."""


def find(folder: Path, name: str) -> Path | None:
    """A file of the folder, if it exists.

    Raises:
        UserError: it links outside the folder.
    """
    path = folder / name
    if not path.is_file():
        return None
    if not is_inside(folder, path):
        raise UserError(f"{path} links outside the run folder and is not read")
    return path


def read_bytes(folder: Path, path: Path, max_bytes: int) -> bytes | None:
    """The content of a file that `find` would find; None if it is larger.

    Raises:
        UserError: it is outside the folder, or cannot be read.
    """
    try:
        with open_inside(folder, path) as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None
    return content if len(content) <= max_bytes else None


@contextlib.contextmanager
def open_inside(folder: Path, path: Path) -> Iterator[BinaryIO]:
    """A file of a folder, opened for reading.

    What is checked is the file that has been opened: a link may take its name at any time.

    Raises:
        UserError: it is outside the folder, or no regular file.
        OSError: it cannot be opened.
    """
    with open_regular(path) as file:
        real = os.path.realpath(path)
        if not is_inside(folder, path) or not os.path.samestat(os.fstat(file.fileno()), os.stat(real)):
            raise UserError(f"{path} links outside {short(folder, 200)} and is not read: replace the link with a copy")
        yield file


def is_inside(folder: Path, path: Path) -> bool:
    """Whether a file is in the folder, with links resolved; a link that leads to itself is nowhere."""
    real = os.path.realpath(path)  # Path.resolve() raises for such a link
    return not os.path.islink(real) and Path(real).is_relative_to(os.path.realpath(folder))


def check_links(folder: Path, except_for: Sequence[str] = ()) -> None:
    """Refuse a run folder that contains a link to outside it, through which the run could write.

    Args:
        except_for: names of files in the folder that the run does not write through.

    Raises:
        UserError: names the link.
    """
    for path in paths_in(folder):
        is_excepted = path.parent == folder and path.name in except_for
        if path.is_symlink() and not is_excepted and not is_inside(folder, path):
            raise UserError(
                f"{path} links outside the run folder, so the run would write there: replace the link with a copy of "
                "its target, or choose another folder (hydra.run.dir, output_dir)"
            )


def check_kinds(folder: Path) -> None:
    """Refuse a run folder with something other than a file where the run writes one: a pipe would be waited for.

    Raises:
        UserError: names the path and what it is.
    """
    check_pipes(folder)
    for path in (*folder.glob("*"), *folder.glob(f"{HYDRA_FOLDER}/*")):
        if path.is_dir() and path.suffix in WRITTEN_SUFFIXES:
            raise UserError(f"{short(path, 200)} is a folder, where a run writes a file: remove it")
        if path.is_file() and path.name in FOLDERS:
            raise UserError(f"{short(path, 200)} is a file, where a run has a folder: remove it")


def check_pipes(folder: Path) -> None:
    """Refuse a folder with a pipe, a socket or a device: to read or write it could wait without end."""
    for path in paths_in(folder):
        if path.exists() and not path.is_file() and not path.is_dir():
            raise UserError(f"{short(path, 200)} is a pipe, a socket or a device, and no run makes one: remove it")


def unshare(folder: Path) -> None:
    """Replace hard links by copies, since the run would change the linked files elsewhere too.

    Checkpoints and their arrays are skipped: the run replaces them and never writes into them.
    """
    for path in paths_in(folder):
        if path.suffix in (".ckpt", ".npz") or path.is_symlink() or not path.is_file() or path.stat().st_nlink == 1:
            continue
        with replaced(path) as temporary:
            shutil.copyfile(path, temporary)


def config(folder: Path) -> dict[str, object]:
    """The run's config, with references unresolved."""
    path = find(folder, CONFIG)
    if path is None:
        raise UserError(f"{folder} is not a run folder: it has no {CONFIG}")
    return mapping(yaml_files.read_yaml(path), path)


def choices(folder: Path) -> dict[str, str | None]:
    """The choice in each config group, as ``{"model": "lenet", "experiment": None, …}``; empty if Hydra wrote none."""
    path = find(folder, HYDRA)
    if path is None:
        return {}
    node = mapping(yaml_files.read_yaml(path), path)
    for key in ("hydra", "runtime", "choices"):
        node = mapping(node.get(key, {}), path, key)
    chosen: dict[str, str | None] = {}
    for key, value in node.items():
        if not isinstance(key, str) or not isinstance(value, str | None):
            refuse(path, f"hydra.runtime.choices.{short(key)}", value, "a name")
        if "/" not in key:
            chosen[key] = value
    return chosen


def overrides(folder: Path) -> list[str]:
    """The overrides on the run's command line; empty if Hydra wrote none."""
    path = find(folder, OVERRIDES)
    if path is None:
        return []
    content = yaml_files.read_yaml(path)
    if content is None or content == {}:
        return []
    if not is_list_of_str(content):
        refuse(path, "", content, "a list of overrides")
    check_stored_size(content, path)
    return content


def csv_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a small CSV file that a run wrote, as dicts with the column names."""
    text = io.StringIO(untrusted.read_text(path, 4 * untrusted.MAX_BYTES), newline="")
    lines = [line for line in text if line.endswith("\n")]
    try:
        reader = csv.DictReader(lines)
        rows = [*reader]
    except csv.Error as error:
        raise UserError(f"{path} is damaged: {error}") from None
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise UserError(f"{path} is damaged: line {number} has a different number of cells than the first line")
    return rows


def mapping(value: object, path: Path, key: str = "") -> dict[str, object]:
    """The value, if it is a mapping; `UserError` otherwise."""
    if not isinstance(value, dict):
        refuse(path, key, value, "a mapping")
    return value


Check = Callable[[object], bool]


def check(values: Mapping[str, object], checks: Mapping[str, Check], path: Path, prefix: str = "") -> None:
    """Check that each key exists and that its value passes its check; `UserError` otherwise.

    Args:
        prefix: precedes the key in messages.
    """
    for key, is_valid in checks.items():
        if key not in values or not is_valid(values[key]):
            refuse(path, f"{prefix}{key}", values.get(key, "missing"), "what a run writes there")


def is_list_of_str(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def is_str_or_none(value: object) -> bool:
    return isinstance(value, str | None)


def is_scalar(value: object) -> bool:
    """Whether it is None, a string, a bool or a finite number."""
    return value is None or isinstance(value, str | bool) or is_number(value)


def is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < MAX_COUNT


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is a number, other than a bool, that a float can represent and that is finite."""
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 2**1023
    return isinstance(value, float) and math.isfinite(value)


def refuse(path: Path, key: str, given: object, expected: str) -> NoReturn:
    """Raise the error for a file that a run did not write like this."""
    where = f"{path}: {key}" if key else f"{path}"
    raise UserError(f"{where} is {short(repr(given))} but must be {expected}; the file was changed after its run")
