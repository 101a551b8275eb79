"""Base class of data that are the user's own files, one folder per class."""

from __future__ import annotations

import os
import sys
import warnings
from abc import abstractmethod
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from dlzoo.data.base import InMemoryData
from dlzoo.data.fingerprint import hash_names
from dlzoo.data.folders.files import File, identity_of
from dlzoo.data.folders.layout import Layout, find_layout
from dlzoo.data.folders.media import Media
from dlzoo.data.folders.sources import tree_of
from dlzoo.data.folders.tree import Tree
from dlzoo.data.loaders import Arrays
from dlzoo.data.splits import holdout
from dlzoo.distributed.launch import rank
from dlzoo.errors import UserError, visible
from dlzoo.specs.base import Spec, Target
from dlzoo.specs.targets import Classes, Unlabelled
from dlzoo.utils.download import folder_of


class FolderData(InMemoryData):
    """Files in ``path``, one folder per class, or likewise in ``path/train``, ``path/val`` and ``path/test``.

    Rows of `load` are indices into the list of files; subclasses implement `declare` and `read`, and call
    `set_folder` in their constructors with these options.
    """

    media: ClassVar[Media]

    path: Path
    on_error: Literal["refuse", "skip"]
    test_fraction: float
    test_seed: int
    skipped: set[str]
    """Messages of unreadable files."""

    def set_folder(
        self,
        path: str | os.PathLike[str],
        on_error: Literal["refuse", "skip"],
        test_fraction: float,
        test_seed: int,
    ) -> None:
        self.path = folder_of(path)
        self.on_error = on_error
        self.test_fraction = test_fraction
        self.test_seed = test_seed
        self.skipped = set()

    @abstractmethod
    def declare(self) -> Spec: ...

    @property
    def target(self) -> Target:
        """The classes of the folders."""
        return Classes(self._layout.classes) if self._layout.classes else Unlabelled()

    @cached_property
    def _tree(self) -> Tree:
        return tree_of(self.path, self.media)

    @cached_property
    def _layout(self) -> Layout:
        try:
            return find_layout(self._tree, self.path, self.media)
        except OSError as error:
            raise UserError(f"data.path={self.path} cannot be read ({error.strerror})") from None

    @cached_property
    def _files(self) -> tuple[list[File], dict[str, Arrays]]:
        """All files, and the rows of each split. x: (N,) indices into the list of files; y: (N,) labels."""
        paths: list[File] = []
        rows: dict[str, Arrays] = {}
        for split, places in self._layout.places.items():
            by_class = [sorted(self.media.among(self._tree.files(place)), key=str) for place in places]
            labels = torch.arange(len(by_class)).repeat_interleave(torch.tensor([len(files) for files in by_class]))
            rows[split] = Arrays(torch.arange(len(paths), len(paths) + len(labels)), labels)
            paths += [path for files in by_class for path in files]
        if "test" not in rows:
            all_rows = rows["train"]
            kept, held_out = holdout(all_rows, self.target, self.test_fraction, seed=self.test_seed)
            rows |= {"train": all_rows.take(kept), "test": all_rows.take(held_out)}
        self._report_skipped()
        return paths, rows

    def _report_skipped(self) -> None:
        """Print which files and folders are not used."""
        notes = [*self._layout.notes]
        places = [place for places in self._layout.places.values() for place in places]
        if others := self.media.others(file for place in places for file in self._tree.files(place)):
            notes.append(self.media.skipped(others))
        if notes and rank() == 0:
            print(f"warning: data.path={self.path}: {visible('; '.join(notes))}", file=sys.stderr)

    def load(self, split: Literal["train", "test"]) -> Arrays:
        """x: (N,) indices into the list of files; the files of a ``val`` folder follow those of ``train``."""
        rows = self._files[1]
        if split == "test" or "val" not in rows:
            return rows[split]
        train, val = rows["train"], rows["val"]
        named = isinstance(train.y, dict)
        y = {n: torch.cat([train.y[n], val.y[n]]) for n in train.y} if named else torch.cat([train.y, val.y])
        return Arrays(torch.cat([train.x, val.x]), y)

    def split(self, rows: Arrays, target: Target) -> tuple[Tensor, Tensor]:
        if "val" not in self._files[1]:
            return super().split(rows, target)
        num_train = self._files[1]["train"].num_rows
        return torch.arange(num_train), torch.arange(num_train, rows.num_rows)

    def ids_of(self, rows: Arrays) -> np.ndarray:
        """A file is identified by its class and `identity_of`, independent of its split; none is decoded."""
        paths, classes = self._files[0], self._layout.classes or ("",)
        by_class = zip(*self._layout.places.values(), strict=True)
        roots = [[os.path.join(place, "") for place in places] for places in by_class]
        names = []
        for i, label in zip(rows.x.tolist(), rows.y.tolist(), strict=True):
            path = str(paths[i])
            root = next(root for root in roots[label] if path.startswith(root))
            names.append(f"{classes[label]}/{identity_of(paths[i], root)}")
        return hash_names(names)

    def check_problems(self, problems: list[str], num_good: int) -> None:
        """Raise an error for unreadable files, or warn that they are skipped."""
        if not problems:
            return
        more = f", nor can {len(problems) - 1} others" if len(problems) > 1 else ""
        if self.on_error == "refuse":
            raise UserError(f"{problems[0]}{more}: repair or remove it, or skip such files with data.on_error=skip")
        if not num_good:
            raise UserError(f"{problems[0]}{more}: none of these {len(problems)} {self.media.noun}s can be read")
        if new := set(problems) - self.skipped:
            self.skipped |= new
            warnings.warn(f"{min(new)}; {len(self.skipped)} files skipped so far", stacklevel=2)
