"""Tell classes from splits among the folders of a user's images or recordings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dlzoo.data.folders.media import Media
from dlzoo.data.folders.tree import Tree, ZipTree
from dlzoo.errors import UserError
from dlzoo.specs.targets import few_enough

Split = Literal["train", "val", "test"]

SPLIT_WORDS: dict[str, Split] = {
    "train": "train", "training": "train", "trn": "train",
    "val": "val", "valid": "val", "validation": "val", "validate": "val", "dev": "val",
    "test": "test", "testing": "test", "tst": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
BESIDE_SPLITS = re.compile(
    r"(set|sets|data|dataset|images|imgs|img|pics|pictures|photos|audio|sounds|wav|wavs|recordings|clips|split)"
)
"""Words without further meaning beside a split: ``train_set``, ``testdata``."""
HALF_OF_A_SPLIT = re.compile(r"(train|val|test)_?[ab]")
"""Image-to-image translation between two domains: ``trainA``, ``trainB``."""
UNLABELED = re.compile(r"(^|[^a-z])(pred|predict|prediction|predictions|unlabell?ed)([^a-z]|$)")
"""Folders of files to predict, without labels."""
MAX_WRAPPERS = 5
"""Nested folders that contain nothing but the next one."""


@dataclass(frozen=True)
class Layout:
    """The folder of each split that has one (``train`` always has), and the class names, if there are classes."""

    folders: dict[Split, Path]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """Warnings for the user."""

    @property
    def places(self) -> dict[Split, list[Path]]:
        """The folders of the classes in each split, or that of the split if there are no classes."""
        return {split: [folder / name for name in self.classes] or [folder] for split, folder in self.folders.items()}


def find_layout(tree: Tree, path: Path, media: Media) -> Layout:
    """Read the names of folders, and check that each class has a file.

    Raises:
        UserError: fewer than two classes, a class without files, splits with different classes, or folders that may be
            classes or splits.
    """
    root = unwrapped(tree, path, media, keep_splits=True)
    notes: list[str] = []
    names = tree.folders(root)
    splits = split_folders(names)
    folders: dict[Split, Path] = {"train": root}
    if len(splits) > 1 or (splits and [*splits] == names):
        others = [name for name in names if name not in splits]
        if (unlabeled := [name for name in others if UNLABELED.search(name.lower())]) == others and others:
            notes.append(f"skipped {', '.join(unlabeled)} in {root}, which is neither train, val nor test")
            others = []
        folders = {split: root / name for name, split in splits.items()}
        if len(folders) < len(splits) or others or "train" not in folders:
            raise UserError(
                f"data.path={root} contains the folders {', '.join(names)}, but must contain train, val and test "
                "(the last two are optional), or one folder per class"
            )
        folders = {split: unwrapped(tree, folder, media) for split, folder in folders.items()}
        notes += _strays(tree, root, media, "train, val and test")
    classes = _classes(tree, folders["train"], media)
    few_enough(len(classes), f"data.path={root}")
    if classes:
        _check_not_splits(tree, folders["train"], classes, media)
    for folder in folders.values():
        if (names := tree.folders(folder)) != classes:
            raise UserError(
                f"{folder} has different classes from {folders['train']}: {', '.join(sorted({*names} ^ {*classes}))}"
            )
        notes += _strays(tree, folder, media, "the folders of the classes") if classes else []
    layout = Layout(folders, tuple(classes), (*notes, *_alike_names(classes)))
    for place in [place for places in layout.places.values() for place in places]:
        if next(media.among(tree.files(place)), None) is None:
            raise UserError(media.none_in(place, tree.files(place)))
    return layout


def _classes(tree: Tree, folder: Path, media: Media) -> list[str]:
    """The names of the classes in the training folder; none if its files need none and lie in it."""
    classes = tree.folders(folder)
    if len(classes) > 1 or not (classes or media.needs_classes):
        return classes
    has = f"only {classes[0]}" if classes else "none"
    without = "" if media.needs_classes else f"; to use {media.noun}s without classes, give the folder that holds them"
    raise UserError(f"{folder} must contain at least two folders, one per class; it has {has}{without}")


def _strays(tree: Tree, folder: Path, media: Media, what: str) -> list[str]:
    """A warning about files outside the folders that are read."""
    num = sum(map(media.includes, tree.files_directly_in(folder)))
    return [f"skipped {num:,} {media.noun}s in {folder}, outside {what}"] if num else []


def unwrapped(tree: Tree, path: Path, media: Media, *, keep_splits: bool = False) -> Path:
    """The folder itself, or its only subfolder: archives are often extracted to ``photos/photos``.

    The only folder of an archive, which no path can name, is entered even if it holds files without classes.

    Args:
        keep_splits: do not enter a single ``train``.
    """
    folder, names = path, tree.folders(path)
    for _ in range(MAX_WRAPPERS):
        is_split = keep_splits and any(map(split_of, names))
        if len(names) != 1 or is_split or _holds_directly(tree, folder, media):
            break
        inner = tree.folders(folder / names[0])
        if not inner and (media.needs_classes or not isinstance(tree, ZipTree)):
            break
        folder, names = folder / names[0], inner
    return path if len(names) == 1 and not (keep_splits and split_of(names[0])) else folder


def _holds_directly(tree: Tree, folder: Path, media: Media) -> bool:
    return any(map(media.includes, tree.files_directly_in(folder)))


def split_folders(names: Sequence[str]) -> dict[str, Split]:
    """The folders that are named like splits in the same style.

    >>> split_folders(["seg_pred", "seg_test", "seg_train"])
    {'seg_test': 'test', 'seg_train': 'train'}
    >>> split_folders(["Testing", "Training"]), split_folders(["test tube", "car"])
    ({'Testing': 'test', 'Training': 'train'}, {'test tube': 'test'})
    """
    ways: dict[str, dict[str, Split]] = {}
    for name in names:
        if (found := split_of(name)) is not None:
            ways.setdefault(found[1], {})[name] = found[0]
    return max(ways.values(), key=lambda way: len({*way.values()}), default={})


def split_of(name: str) -> tuple[Split, str] | None:
    """The split that a folder is named after and the rest of its name, or None.

    >>> split_of("train_set"), split_of("seg_train"), split_of("val2017"), split_of("testdata"), split_of("cat")
    (('train', ''), ('train', 'seg'), ('val', ''), ('test', ''), None)
    """
    words = re.findall(r"[^\W\d_]+", name.lower())
    for word in words:
        for start, split in SPLIT_WORDS.items():
            if word == start or (word.startswith(start) and BESIDE_SPLITS.fullmatch(word[len(start) :])):
                return split, " ".join(w for w in words if w != word and not BESIDE_SPLITS.fullmatch(w))
    return None


def _check_not_splits(tree: Tree, path: Path, classes: Sequence[str], media: Media) -> None:
    """`UserError` if all classes contain the same folders, which may then be the classes, or are named like splits."""
    common = set.intersection(*({*tree.folders(path / name)} for name in classes))
    if len(common) > 1 and not any(_holds_directly(tree, path / name, media) for name in classes):
        raise UserError(
            f"data.path={path}: the folders {_some(classes)} all contain the folders {_some(sorted(common))}, so it is "
            "ambiguous which are the classes. If the outer ones are splits, name them train, val and test; if they are "
            f"the classes, move the {media.noun}s directly into them"
        )
    splits = [split_of(name) or HALF_OF_A_SPLIT.fullmatch(name.lower()) for name in classes]
    if all(splits) and len({str(split[0]).rstrip("ab") for split in splits if split}) > 1:
        raise UserError(
            f"data.path={path}: the folders {_some(classes)} are named like splits, not classes: use train, val and "
            "test, each with one folder per class; if they are the classes, rename them"
        )


def _alike_names(classes: Sequence[str]) -> list[str]:
    """A warning about classes whose names differ only in case."""
    by_name: dict[str, list[str]] = {}
    for name in classes:
        by_name.setdefault(name.casefold(), []).append(name)
    alike = [" and ".join(names) for names in by_name.values() if len(names) > 1]
    return [f"classes whose names differ only in case: {_some(alike)}"] if alike else []


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
