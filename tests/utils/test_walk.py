"""Folders in folders without end, as an archive can hold them or make them: `os.walk` and `Path.rglob` recurse."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlzoo.api import comparison
from dlzoo.config import run_files
from dlzoo.data.folders.tree import FolderTree, ZipTree
from dlzoo.errors import UserError
from dlzoo.utils.files import MAX_LEVELS, paths_in


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A folder that is nested deeper than Python recurses, though no path in it is too long for the system."""
    top = tmp_path / "deep"
    handle = os.open(tmp_path, os.O_RDONLY)
    try:
        os.mkdir(top)
        for name in ["deep"] + ["d"] * 1_500:
            below = os.open(name, os.O_RDONLY, dir_fd=handle)
            os.close(handle)
            handle = below
            os.mkdir("d", dir_fd=handle)
    finally:
        os.close(handle)
    yield top
    for level in range(1_600):  # shutil.rmtree recurses too: each folder becomes one beside the others
        os.rename(top, tmp_path / f"gone-{level}")
        if not (tmp_path / f"gone-{level}" / "d").is_dir():
            break
        os.rename(tmp_path / f"gone-{level}" / "d", top)


def test_a_run_folder_of_folders_without_end(deep: Path) -> None:
    with pytest.raises(UserError, match="nested more than 100 levels deep"):
        run_files.check_links(deep)
    with pytest.raises(UserError, match="nested more than 100 levels deep"):
        run_files.check_kinds(deep)
    with pytest.raises(UserError, match="nested more than 100 levels deep"):
        comparison.runs_under(str(deep))


def test_images_in_folders_without_end(deep: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nested more than 100 levels deep"):
        [*FolderTree().files(deep)]
    with zipfile.ZipFile(tmp_path / "deep.zip", "w") as archive:
        archive.writestr("a/" * 3_000 + "x.png", b"")
    with pytest.raises(UserError, match=r"data\.path=.*deep\.zip holds folders nested more than 100 levels deep"):
        [*ZipTree(tmp_path / "deep.zip").files(tmp_path / "deep.zip")]


def test_everything_in_a_folder_down_to_the_limit(tmp_path: Path) -> None:
    lowest = tmp_path.joinpath(*["d"] * MAX_LEVELS)
    lowest.mkdir(parents=True)
    (lowest / "x").write_text("")
    (tmp_path / "link").symlink_to(lowest)
    assert {*paths_in(tmp_path)} == {*tmp_path.rglob("*")}
    assert len({*paths_in(tmp_path)}) == MAX_LEVELS + 2
    (lowest / "d").mkdir()
    with pytest.raises(UserError, match="nested more than"):
        [*paths_in(tmp_path)]
