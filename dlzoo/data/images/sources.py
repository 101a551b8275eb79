"""What kind of tree of images a user's path leads to."""

from __future__ import annotations

import zipfile
from pathlib import Path

from dlzoo.data.arrow_tables import is_saved
from dlzoo.data.images.saved import SavedTree
from dlzoo.data.images.tree import FolderTree, Tree, ZipTree
from dlzoo.errors import UserError


def tree_of(path: Path, key: str = "data.path") -> Tree:
    """The tree at the path that an option gives; `UserError` if there is none.

    Args:
        key: of the option.
    """
    if path.is_dir():
        return SavedTree(path, key) if is_saved(path) else FolderTree()
    if path.is_file() and zipfile.is_zipfile(path):
        return ZipTree(path, key)
    if path.is_file():
        raise UserError(f"{key}={path}: this is a file; give a folder, or a zip archive of one")
    raise UserError(f"{key}={path}: there is no such folder")
