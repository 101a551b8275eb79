"""What kind of tree of files a user's path leads to."""

from __future__ import annotations

import zipfile
from pathlib import Path

from dlzoo.data.arrow_tables import is_saved
from dlzoo.data.folders.media import Media
from dlzoo.data.folders.tree import FolderTree, Tree, ZipTree
from dlzoo.data.images.saved import SavedTree
from dlzoo.errors import UserError


def tree_of(path: Path, media: Media, key: str = "data.path") -> Tree:
    """The tree at the path that an option gives; `UserError` if there is none.

    Args:
        media: what is to be read.
        key: of the option.
    """
    if path.is_dir() and is_saved(path):
        if not media.in_saved_sets:
            raise UserError(
                f"{key}={path}: this is a saved data set of Hugging Face, from which no {media.noun}s are read: write "
                f"each {media.noun} to a file, and give their folder"
            )
        return SavedTree(path, key)
    if path.is_dir():
        return FolderTree()
    if path.is_file() and zipfile.is_zipfile(path):
        return ZipTree(path, key)
    if path.is_file():
        raise UserError(f"{key}={path}: this is a file; give a folder, or a zip archive of one")
    raise UserError(f"{key}={path}: there is no such folder")
