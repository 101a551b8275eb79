"""Tell classes and splits among the folders of a user's recordings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dlzoo.data.audio.decode import EXTENSIONS
from dlzoo.data.images.files import File
from dlzoo.data.images.layout import Split, split_folders
from dlzoo.data.images.tree import SIDECAR_EXTENSIONS, Tree, extension_of
from dlzoo.errors import UserError, short
from dlzoo.specs.targets import few_enough


@dataclass(frozen=True)
class Layout:
    """The folder of each split that has one (``train`` always has), and the names of the classes, if there are any."""

    folders: dict[Split, Path]
    classes: tuple[str, ...]


def is_recording(file: File) -> bool:
    return extension_of(file) in EXTENSIONS


def recordings_in(tree: Tree, folder: Path) -> list[File]:
    """The recordings in a folder and its subfolders, sorted."""
    return sorted(filter(is_recording, tree.files(folder)), key=str)


def others_in_words(files: Iterable[File]) -> str:
    """The number of files by extension that may be meant as recordings but are not read; empty if there are none."""
    counts = Counter(extension_of(file) for file in files if not is_recording(file))
    for known in SIDECAR_EXTENSIONS:
        counts.pop(known, None)
    listed = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{num:,} {short(extension) or 'without extension'}" for extension, num in listed[:5])


def find_layout(tree: Tree, path: Path) -> Layout:
    """Read the names of folders, and check that each class has a recording.

    Raises:
        UserError: no recording, a single class, or splits with different classes.
    """
    names = tree.folders(path)
    splits = split_folders(names)
    folders: dict[Split, Path] = {"train": path}
    if names and [*splits] == names and "train" in splits.values():
        folders = {split: path / name for name, split in splits.items()}
    classes = tuple(tree.folders(folders["train"]))
    if len(classes) == 1:
        raise UserError(
            f"{folders['train']} must contain at least two folders, one per class, or the recordings themselves "
            f"without classes; it has only {classes[0]}"
        )
    few_enough(len(classes), f"data.path={path}")
    for folder in folders.values():
        if tuple(tree.folders(folder)) != classes:
            differ = {*tree.folders(folder)} ^ {*classes}
            raise UserError(f"{folder} has different classes from {folders['train']}: {', '.join(sorted(differ))}")
        for place in [folder / name for name in classes] or [folder]:
            if next(filter(is_recording, tree.files(place)), None) is None:
                others = others_in_words(tree.files(place))
                convert = f"; it contains {others}, which cannot be read: convert them to .wav" if others else ""
                raise UserError(f"{place} contains no recording ({' '.join(EXTENSIONS)}){convert}")
    return Layout(folders, classes)
