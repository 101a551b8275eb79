"""The user's own recordings, one folder per class, or without classes for nets that generate sound."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, Unpack

from dlzoo.data.audio.base import AudioData
from dlzoo.data.audio.decode import RECORDINGS, Form, forms_in_words, read_recordings
from dlzoo.data.folders.base import FolderData
from dlzoo.data.loaders import Arrays, all_except
from dlzoo.data.options import AudioOptions
from dlzoo.errors import UserError, between
from dlzoo.specs.audio import AudioSpec
from dlzoo.utils.memory import free_megabytes
from dlzoo.utils.processes import num_processors


class AudioFolder(FolderData, AudioData):
    """Sound files in ``path``, one folder per class, or likewise in ``path/train``, ``path/val`` and ``path/test``, or
    other common names such as ``Training`` and ``train_set``. Files that lie in ``path`` itself, or in the only folder
    of an archive, have no classes, as nets that generate sound need none.

    Without a ``test`` folder, a fixed fraction of the files is the test set, independent of the run's seed; without a
    ``val`` folder, validation files are held out of train as for other data.

    Args:
        path: the folder, or a zip archive of it, which is not extracted. Its subfolders are the classes, in
            alphabetical order; each is searched recursively.
        on_error: what to do with unreadable files: stop (refuse), or skip them with a warning; their messages are
            collected in ``skipped``.
        test_fraction: fraction of the files in the test set if there is no ``test`` folder, stratified.
        test_seed: selects the test files; independent of the run's seed, so that runs are comparable.
    """

    media = RECORDINGS

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
        self.set_folder(path, on_error, test_fraction, test_seed)
        self._forms: list[Form] = []

    def declare(self) -> AudioSpec:
        return self.spec_of(self.target)

    def notes(self) -> list[str]:
        return forms_in_words(self._forms, self.decode)

    def read(self, rows: Arrays) -> Arrays:
        paths, free = [self._files[0][i] for i in rows.x.tolist()], free_megabytes()
        if (size := len(paths) * self.decode.length * 4 / 2**20) > free:
            raise UserError(
                f"the recordings of {self.path} take {size:,.0f} MB, but only {free:,.0f} MB are free: lower "
                "data.seconds or data.sample_rate"
            )
        with ThreadPoolExecutor(num_processors()) as pool:
            x, problems, forms = read_recordings(self.decode, paths, pool.map)
        self.check_problems(list(problems.values()), len(x))
        self._forms += forms
        return Arrays(x, rows.y[all_except(problems, len(paths))])
