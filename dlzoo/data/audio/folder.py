"""The user's own recordings, one folder per class, or without classes for nets that generate sound."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Literal, Unpack

import torch
from torch import Tensor

from dlzoo.data.audio.base import AudioData
from dlzoo.data.audio.decode import Form, forms_in_words, read_recordings
from dlzoo.data.audio.layout import Layout, find_layout, others_in_words, recordings_in
from dlzoo.data.images.files import File
from dlzoo.data.images.folder import num_processors
from dlzoo.data.images.sources import tree_of
from dlzoo.data.images.tree import Tree
from dlzoo.data.loaders import Arrays
from dlzoo.data.options import AudioOptions
from dlzoo.data.splits import holdout
from dlzoo.distributed.launch import rank
from dlzoo.errors import UserError, between, visible
from dlzoo.specs.audio import AudioSpec
from dlzoo.specs.base import Target
from dlzoo.specs.targets import Classes, Unlabelled
from dlzoo.utils.download import folder_of
from dlzoo.utils.formatting import counted
from dlzoo.utils.memory import free_megabytes


class AudioFolder(AudioData):
    """Sound files in ``path``, one folder per class, or likewise in ``path/train``, ``path/val`` and ``path/test``.
    Files that lie in ``path`` itself have no classes, as nets that generate sound need none.

    Without a ``test`` folder, a fixed fraction of the files is the test set, independent of the run's seed; without a
    ``val`` folder, validation files are held out of train as for other data.

    Args:
        path: the folder, or a zip archive of it, which is not extracted.
        on_error: what to do with unreadable files: stop (refuse), or skip them with a warning.
        test_fraction: fraction of the files in the test set if there is no ``test`` folder, stratified.
        test_seed: selects the test files; independent of the run's seed, so that runs are comparable.
    """

    def __init__(
        self,
        *,
        path: str | os.PathLike[str],
        on_error: Literal["refuse", "skip"] = "refuse",
        test_fraction: float = 0.2,
        test_seed: int = 0,
        **common: Unpack[AudioOptions],
    ) -> None:
        super().__init__(**common)
        between(0, 1, "data", test_fraction=test_fraction, exclusive=True)
        self.path = folder_of(path)
        self.on_error = on_error
        self.test_fraction = test_fraction
        self.test_seed = test_seed
        self._forms: list[Form] = []

    def declare(self) -> AudioSpec:
        classes = self._layout.classes
        return self.spec_of(Classes(classes) if classes else Unlabelled())

    def notes(self) -> list[str]:
        return forms_in_words(self._forms, self.decode)

    @cached_property
    def _tree(self) -> Tree:
        return tree_of(self.path)

    @cached_property
    def _layout(self) -> Layout:
        try:
            return find_layout(self._tree, self.path)
        except OSError as error:
            raise UserError(f"data.path={self.path} cannot be read ({error.strerror})") from None

    @cached_property
    def _files(self) -> tuple[list[File], dict[str, Arrays]]:
        """All files, and the rows of each split. x: (N,) indices into the list of files; y: (N,) labels."""
        paths: list[File] = []
        rows: dict[str, Arrays] = {}
        for split, folder in self._layout.folders.items():
            places = [folder / name for name in self._layout.classes] or [folder]
            by_class = [recordings_in(self._tree, place) for place in places]
            labels = torch.arange(len(by_class)).repeat_interleave(torch.tensor([len(files) for files in by_class]))
            rows[split] = Arrays(torch.arange(len(paths), len(paths) + len(labels)), labels)
            paths += [path for files in by_class for path in files]
            if (others := others_in_words(self._tree.files(folder))) and rank() == 0:
                print(
                    f"warning: {visible(folder)}: skipped files that cannot be read as recordings: {visible(others)}",
                    file=sys.stderr,
                )
        if "test" not in rows:
            every = rows["train"]
            kept, held_out = holdout(every, self.declare().target, self.test_fraction, seed=self.test_seed)
            rows |= {"train": every.take(kept), "test": every.take(held_out)}
        return paths, rows

    def load(self, split: Literal["train", "test"]) -> Arrays:
        """x: (N,) indices into the list of files; the files of a ``val`` folder follow those of ``train``."""
        rows = self._files[1]
        parts = [rows["train"], rows["val"]] if split == "train" and "val" in rows else [rows[split]]
        return Arrays(torch.cat([p.x for p in parts]), torch.cat([p.y for p in parts]))

    def split(self, rows: Arrays, target: Target) -> tuple[Tensor, Tensor]:
        if "val" not in self._files[1]:
            return super().split(rows, target)
        num_train = self._files[1]["train"].num_rows
        return torch.arange(num_train), torch.arange(num_train, rows.num_rows)

    def read(self, rows: Arrays) -> Arrays:
        paths, free = [self._files[0][i] for i in rows.x.tolist()], free_megabytes()
        if (size := len(paths) * self.decode.length * 4 / 2**20) > free:
            raise UserError(
                f"the recordings of {self.path} take {size:,.0f} MB, but only {free:,.0f} MB are free: lower "
                "data.seconds or data.sample_rate"
            )
        with ThreadPoolExecutor(num_processors()) as pool:
            x, problems, forms = read_recordings(self.decode, paths, pool.map)
        self._check(list(problems.values()), len(x))
        self._forms += forms
        return Arrays(x, rows.y[torch.tensor([i not in problems for i in range(len(paths))])])

    def _check(self, problems: list[str], num_good: int) -> None:
        """Raise an error for unreadable files, or warn that they are skipped."""
        if not problems:
            return
        more = f", nor can {len(problems) - 1} others" if len(problems) > 1 else ""
        if self.on_error == "refuse":
            raise UserError(f"{problems[0]}{more}: repair or remove it, or skip such files with data.on_error=skip")
        if not num_good:
            raise UserError(f"{problems[0]}{more}: none of these {len(problems)} files can be read")
        print(f"warning: {visible(problems[0])}; {counted(len(problems), 'file')} skipped", file=sys.stderr)
