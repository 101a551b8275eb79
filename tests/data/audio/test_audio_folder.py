"""The user's own recordings: folders of classes and splits, without classes, and what is wrong with them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sound_stand_ins import tone, write, write_folder

from dlzoo.data.audio.folder import AudioFolder
from dlzoo.errors import UserError
from dlzoo.specs import AudioSpec, Classes, Unlabelled


def read(path: Path, **options: Any) -> AudioFolder:
    data = AudioFolder(path=path, **{"sample_rate": 8000, "seconds": 0.1} | options)
    data.prepare_data()
    data.setup()
    return data


def sizes(data: AudioFolder) -> list[int]:
    return [data.arrays(split).num_rows for split in ("train", "val", "test")]  # type: ignore[arg-type]


def test_one_folder_per_class(tmp_path: Path) -> None:
    data = read(write_folder(tmp_path / "a"))
    assert data.spec == AudioSpec(8000, 800, Classes(("high", "low"), data.spec.target.counts))  # type: ignore[attr-defined]
    assert sum(sizes(data)) == 16
    assert data.arrays("test").y.bincount().tolist() == [2, 1]
    again = read(tmp_path / "a", seed=5)
    assert torch.equal(again.arrays("test").x, data.arrays("test").x), "independent of the run's seed"


def test_folders_of_splits(tmp_path: Path) -> None:
    for split, num in {"train": 6, "val": 2, "test": 3}.items():
        write_folder(tmp_path / "a" / split, num)
    assert sizes(read(tmp_path / "a")) == [12, 4, 6]


def test_a_zip_archive_is_read_in_place(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a")
    archive = Path(shutil.make_archive(str(tmp_path / "a"), "zip", folder))
    assert torch.equal(read(archive).arrays("train").x, read(folder).arrays("train").x)


def test_files_without_classes_have_no_target(tmp_path: Path) -> None:
    for i in range(10):
        write(tmp_path / f"{i}.wav", tone(200 + 50 * i))
    data = read(tmp_path)
    assert isinstance(data.spec.target, Unlabelled)
    assert sum(sizes(data)) == 10


def test_what_was_changed_is_said_once(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a")
    write(folder / "low" / "stereo.wav", np.stack([tone(300, rate=44100)] * 2, 1), 44100, "PCM_24")
    data = read(folder, test_fraction=0.1)
    data.arrays("test")
    assert [line.partition(" recordings ")[2] for line in data.notes()] == [
        "have several channels, which are averaged", "were resampled from 44,100 Hz",
        "last longer than 0.1 s, up to 0.15 s: only their beginnings are used (data.seconds)",
    ]  # fmt: skip


def test_a_checkpoint_s_rate_length_and_loudness_are_followed(tmp_path: Path) -> None:
    data = AudioFolder(path=write_folder(tmp_path / "a"))
    data.adopt(AudioSpec(4000, 600, Classes(("high", "low")), is_normalized=True))
    assert data.declare() == AudioSpec(4000, 600, Classes(("high", "low")), is_normalized=True)


def test_a_damaged_file_is_named_or_skipped(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a")
    (folder / "low" / "3.wav").write_text("not sound")
    with pytest.raises(UserError, match=r"3\.wav cannot be read as sound \(.*data\.on_error=skip"):
        read(folder).arrays("test")
    with pytest.warns(UserWarning, match=r"3\.wav cannot be read as sound .*1 files skipped so far"):
        assert sum(sizes(read(folder, on_error="skip"))) == 15


def test_wrong_folders_are_a_sentence(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a")
    shutil.rmtree(folder / "high")
    with pytest.raises(UserError, match=r"at least two folders, one per class.* it has only low"):
        read(folder)
    (folder / "none").mkdir()
    (folder / "none" / "a.m4a").write_bytes(b"x")
    with pytest.raises(UserError, match=r"none contains no recording \(.*1 \.m4a, which cannot be read"):
        read(folder)
    for split, num in {"train": 2, "test": 2}.items():
        write_folder(tmp_path / "b" / split, num)
    shutil.move(tmp_path / "b" / "test" / "low", tmp_path / "b" / "test" / "loww")
    with pytest.raises(UserError, match=r"has different classes from .*: low, loww"):
        read(tmp_path / "b")
    with pytest.raises(UserError, match="there is no such folder"):
        read(tmp_path / "c")
