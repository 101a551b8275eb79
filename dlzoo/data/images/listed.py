"""Images that a file lists, with what is to be learned of each."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from dlzoo.data.fingerprint import hash_names
from dlzoo.data.folders.files import File, identity_of
from dlzoo.data.folders.layout import Split
from dlzoo.data.images.folder import ImageFolder
from dlzoo.data.loaders import Arrays
from dlzoo.data.splits import holdout
from dlzoo.errors import UserError, nearest, short
from dlzoo.specs.base import Target
from dlzoo.specs.batch import TensorOrDict, part_of, tensors
from dlzoo.specs.named import Targets

MAX_COMPARED = 2_000
"""Names among which the nearest to a missing one is looked for."""


class Listing(NamedTuple):
    """The images of the data in order, their targets, and the indices of each split, if the file says them."""

    files: list[File]
    target: Target
    y: TensorOrDict
    rows: dict[Split, torch.Tensor] | None = None
    notes: tuple[str, ...] = ()


class ListedImages(ImageFolder):
    """Images anywhere below ``path``. Subclasses implement `listing`."""

    adopted: Target | None = None
    """That of a trained model, whose classes are kept."""

    @abstractmethod
    def listing(self) -> Listing:
        """What the file lists."""

    @cached_property
    def listed(self) -> Listing:
        return self.listing()

    @property
    def target(self) -> Target:
        return self.listed.target

    def adopt(self, spec: Any) -> None:
        super().adopt(spec)
        self.adopted = spec.target

    def notes(self) -> list[str]:
        return [*self.listed.notes]

    def fit_target(self, target: Target, y: TensorOrDict) -> Target:
        """With the scaling of values, which a net learns standardised."""
        target = super().fit_target(target, y)
        fitted = {name: _scaled(part, part_of(y, name)) for name, part in target.by_name.items()}
        return Targets.of(fitted) if target.named is not None else fitted[""]

    @cached_property
    def images(self) -> ImageNames:
        """The images below the path, by their names."""
        return ImageNames(self.media.among(self._tree.files(self.path)), self.path)

    @cached_property
    def _files(self) -> tuple[list[File], dict[str, Arrays]]:
        found = self.listed
        everything = Arrays(torch.arange(len(found.files)), found.y)
        rows: dict[str, Arrays] = {split: everything.take(part) for split, part in (found.rows or {}).items()}
        rows = rows or {"train": everything}
        if "test" not in rows:
            kept, held_out = holdout(rows["train"], found.target, self.test_fraction, seed=self.test_seed)
            rows |= {"train": rows["train"].take(kept), "test": rows["train"].take(held_out)}
        return found.files, rows

    def ids_of(self, rows: Arrays) -> np.ndarray:
        """An image is identified by its name, size and target."""
        root = os.path.join(self.path, "")
        parts = [part.tolist() for part in tensors(rows.y)]
        files = (self._files[0][i] for i in rows.x.tolist())
        return hash_names(f"{identity_of(file, root)} {answer}" for file, *answer in zip(files, *parts, strict=True))


def _scaled(target: Target, y: torch.Tensor) -> Target:
    return target.values.scaled(y) if target.values is not None else target


class ImageNames:
    """Images by their path below a folder, or by a part of it that only one of them has.

    Args:
        files: images.
        root: the folder.
    """

    def __init__(self, files: Iterable[File], root: Path) -> None:
        self.root = root
        self.by_path: dict[str, File] = {}
        self.by_part: defaultdict[str, list[File]] = defaultdict(list)
        for file in files:
            path = os.path.relpath(str(file), root).replace(os.sep, "/")
            self.by_path[path] = file
            name = path.rsplit("/", 1)[-1]
            for part in {name, os.path.splitext(path)[0], os.path.splitext(name)[0]}:
                self.by_part[part].append(file)

    def find(self, name: str) -> File:
        """The image of a name: a path, with or without folders and extension.

        Raises:
            ValueError: there is none, or there are several.
        """
        name = name.strip().replace("\\", "/").removeprefix("./")
        if (file := self.by_path.get(name)) is not None:
            return file
        found = self.by_part.get(name) or self.by_part.get(name.rsplit("/", 1)[-1]) or []
        if len(found) == 1:
            return found[0]
        if found:
            raise ValueError(
                f"{short(name)!r} is the name of {len(found)} images below {self.root}: give its folder too"
            )
        hint = nearest(name, [*self.by_part][:MAX_COMPARED])
        hint = f"; {hint}" if hint.startswith("did you mean") else f", of {len(self.by_path):,} images"
        raise ValueError(f"there is no image {short(name)!r} below {self.root}{hint}")


class Problems:
    """Rows of a file that cannot be used: the first is refused, or all are left out and counted."""

    def __init__(self, on_error: Literal["refuse", "skip"]) -> None:
        self.is_strict = on_error == "refuse"
        self.first = ""
        self.num = 0

    def add(self, where: str, error: object) -> None:
        if self.is_strict:
            raise UserError(f"{where}: {error}; correct it, or leave such rows out with data.on_error=skip")
        self.first = self.first or f"{where}: {error}"
        self.num += 1

    def notes(self) -> list[str]:
        return [f"{self.num:,} rows are left out, the first: {self.first}"] if self.num else []
