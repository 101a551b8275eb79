"""What a run folder says of its run, for those who read it later: any file in it may have been edited, or come from a
stranger.

Each reader gives values of the kinds that a run writes, or says in a sentence which file holds something else. Files
that are links to outside of the folder are not read: a page about the run would carry them away.
"""

from __future__ import annotations

import csv
import io
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from dlzoo.config import yaml_files
from dlzoo.errors import UserError, short
from dlzoo.utils import untrusted
from dlzoo.utils.files import replaced

CONFIG, HYDRA, OVERRIDES = ".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml"
MOST = 2**53
"""Of a count."""


def find(folder: Path, name: str) -> Path | None:
    """A file of the folder, if it is there.

    Raises:
        UserError: it is a link to outside of the folder.
    """
    path = folder / name
    if not path.is_file():
        return None
    if not is_inside(folder, path):
        raise UserError(f"{path} is a link to outside of the run's folder and is not read")
    return path


def is_inside(folder: Path, path: Path) -> bool:
    """Whether a file lies in the folder, links followed."""
    return path.resolve().is_relative_to(folder.resolve())


def check_links(folder: Path, except_for: Sequence[str] = ()) -> None:
    """Refuse a run folder with a link to outside of it: what the run writes would go there.

    Args:
        except_for: names of files in the folder that are never written through.

    Raises:
        UserError: names the link.
    """
    for path in folder.rglob("*"):
        is_excepted = path.parent == folder and path.name in except_for
        if path.is_symlink() and not is_excepted and not is_inside(folder, path):
            raise UserError(
                f"{path} is a link to outside of the run's folder, and what the run writes would go there: replace it "
                "by what it stands for, or choose another folder (hydra.run.dir, output_dir)"
            )


def unshare(folder: Path) -> None:
    """Give files with several names (hard links) a copy of their own: what the run writes would change the others.

    Checkpoints and their arrays are left: they are always written anew, under their names.
    """
    for path in folder.rglob("*"):
        if path.suffix in (".ckpt", ".npz") or path.is_symlink() or not path.is_file() or path.stat().st_nlink == 1:
            continue
        with replaced(path) as temporary:
            shutil.copyfile(path, temporary)


def config(folder: Path) -> dict[str, Any]:
    """The run's config, references not resolved."""
    path = find(folder, CONFIG)
    if path is None:
        raise UserError(f"{folder}: this is no run folder: a run leaves {CONFIG} in its own")
    return mapping(yaml_files.read_yaml(path), path)


def choices(folder: Path) -> dict[str, str]:
    """What was chosen of each config group, as ``{"model": "lenet", …}``; empty where Hydra left nothing."""
    path = find(folder, HYDRA)
    if path is None:
        return {}
    node: Any = yaml_files.read_yaml(path)
    for key in ("hydra", "runtime", "choices"):
        node = mapping(mapping(node, path).get(key, {}), path, key)
    for key, value in node.items():
        if not isinstance(key, str) or not isinstance(value, str | None):
            refuse(path, f"hydra.runtime.choices.{short(key)}", value, "a name")
    return {key: value for key, value in node.items() if "/" not in key}


def overrides(folder: Path) -> list[str]:
    """What was said on the run's command line; empty where Hydra left nothing."""
    path = find(folder, OVERRIDES)
    if path is None:
        return []
    words = yaml_files.read_yaml(path)
    if words is None or words == {}:
        return []
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        refuse(path, "", words, "a list of overrides")
    return words


def csv_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a small CSV file that a run wrote, by the names in its first line."""
    text = io.StringIO(untrusted.read_text(path, 4 * untrusted.MAX_BYTES), newline="")
    lines = [line for line in text if line.endswith("\n")]
    try:
        reader = csv.DictReader(lines)
        rows = [*reader]
    except csv.Error as error:
        raise UserError(f"{path} is damaged: {error}") from None
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise UserError(f"{path} is damaged: line {number} has not as many cells as the first line")
    return rows


def mapping(value: Any, path: Path, key: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        refuse(path, key, value, "a mapping")
    return value


Kind = Callable[[Any], bool]


def check(found: dict[str, Any], kinds: Mapping[str, Kind], path: Path, before: str = "") -> None:
    """Each of these keys is there, and of its kind."""
    for key, is_right in kinds.items():
        if key not in found or not is_right(found[key]):
            refuse(path, f"{before}{key}", found.get(key, "missing"), "what a run writes there")


def is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def is_text_or_none(value: Any) -> bool:
    return isinstance(value, str | None)


def is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | bool) or is_number(value)


def is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < MOST


def is_number(value: Any) -> bool:
    """A finite one that is not true or false, and that a float can hold."""
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 2**1023
    return isinstance(value, float) and math.isfinite(value)


def refuse(path: Path, key: str, given: Any, wanted: str) -> NoReturn:
    where = f"{path}: {key}" if key else f"{path}"
    raise UserError(f"{where} is {short(repr(given))}, where it must be {wanted}; this file was changed since its run")
