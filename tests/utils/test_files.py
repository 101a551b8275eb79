"""Downloads from a misbehaving local web server, and the helpers around them."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import stat
from pathlib import Path

import pytest
from download_faults import closed_port
from local_server import Server, public_folder, read_only

from dlzoo.errors import UserError
from dlzoo.utils import download as files

CONTENT = gzip.compress(bytes(range(256)) * 1000)
MD5 = hashlib.md5(CONTENT).hexdigest()


def download(folder: Path, *mirrors: str) -> Path:
    return files.download("a.gz", md5=MD5, folder=folder, mirrors=mirrors)


def test_a_download_is_stored_whole(server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    server.files["a.gz"] = CONTENT
    path = download(tmp_path / "new" / "raw", server.url)
    assert path == tmp_path / "new" / "raw" / "a.gz"
    assert path.read_bytes() == CONTENT
    assert os.listdir(path.parent) == ["a.gz"]
    assert capfd.readouterr() == ("", f"downloading a.gz to {path.parent}\n")


def test_a_download_is_readable_by_other_users(server: Server, tmp_path: Path) -> None:
    server.files["a.gz"] = CONTENT
    before = os.umask(0o022)
    try:
        assert stat.S_IMODE(download(tmp_path, server.url).stat().st_mode) == 0o644
    finally:
        os.umask(before)


def test_mirrors_are_tried_in_order_until_one_works(server: Server, tmp_path: Path) -> None:
    server.files["a.gz"], server.trouble = CONTENT, ["404", "", "damaged"]
    download(tmp_path, closed_port(), server.url, server.url.rstrip("/"), server.url)
    assert server.asked == ["a.gz", "a.gz"]


@pytest.mark.parametrize("mirror", ["", "no/url", "ftp://127.0.0.1"])
def test_an_invalid_mirror_url_is_a_user_error(tmp_path: Path, mirror: str) -> None:
    with pytest.raises(UserError, match=r"a\.gz could not be downloaded"):
        download(tmp_path, mirror)


def test_without_mirrors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.mirrors is empty"):
        download(tmp_path)


@pytest.mark.parametrize("below", ["", "raw"])
def test_a_file_in_place_of_the_folder(server: Server, tmp_path: Path, below: str) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(UserError, match=r"a\.gz cannot be stored in .*a file, or inside one.*data=digits"):
        download(tmp_path / "data" / below, server.url)
    assert server.asked == []


@pytest.mark.parametrize("below", ["", "raw"])
def test_a_read_only_folder(server: Server, below: str) -> None:
    server.files["a.gz"] = CONTENT
    with public_folder() as folder:
        with read_only(folder), pytest.raises(UserError, match=r"a\.gz cannot be stored in .*data=digits"):
            download(folder / below, server.url)
        assert os.listdir(folder) == []
    assert server.asked == []


def test_a_sha256_prefix_is_enough(server: Server, tmp_path: Path) -> None:
    server.files["a.gz"] = CONTENT
    sha256 = hashlib.sha256(CONTENT).hexdigest()[:8]
    assert files.download("a.gz", sha256=sha256, folder=tmp_path, mirrors=[server.url]).read_bytes() == CONTENT
    server.files["b.gz"] = CONTENT
    with pytest.raises(UserError, match="a wrong checksum"):
        files.download("b.gz", sha256="0" * 8, folder=tmp_path, mirrors=[server.url])


def test_data_dir_may_be_relative_or_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert files.folder_of("data", "MNIST") == tmp_path / "data" / "MNIST"
    assert files.folder_of("../x") == tmp_path.parent / "x"
    assert files.folder_of("~/data") == tmp_path / "me" / "data"


def test_find_returns_the_first_existing_file(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    assert files.find(tmp_path, "a", "b") is None
    (tmp_path / "c").write_text("")
    assert files.find(tmp_path, "a", "b", "c") == tmp_path / "c"
    assert files.find(tmp_path / "c", "a") is None


def test_check_md5(tmp_path: Path) -> None:
    files.check_md5(CONTENT, MD5, tmp_path)
    with pytest.raises(UserError, match="damaged: its checksum"):
        files.check_md5(CONTENT + b"x", MD5, tmp_path)


@pytest.mark.parametrize("trouble", ["endless", "large", "flood"])
def test_a_server_that_sends_far_more_than_the_file_is_given_up(trouble: str, server: Server, tmp_path: Path) -> None:
    server.files["a.gz"], server.trouble = CONTENT, [trouble]
    if trouble == "flood":  # its Content-Length is trusted, and bytes beyond it are not read
        server.files["a.gz"] = CONTENT[:-1] + b"x"
    with pytest.raises(UserError, match=r"a\.gz could not be downloaded") as refused:
        files.download("a.gz", md5=MD5, folder=tmp_path, mirrors=[server.url], max_bytes=1_000_000)
    assert trouble == "flood" or "the file has at most 1.0" in str(refused.value)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1_000_000
    assert not server.outlasted


@pytest.mark.parametrize("name", [".a.gz.part", ".a.gz.lock", "a.gz"])
def test_a_planted_symlink_is_not_followed(name: str, server: Server, tmp_path: Path) -> None:
    server.files["a.gz"] = CONTENT
    mine, shared = tmp_path / "mine", tmp_path / "shared"
    shared.mkdir()
    mine.write_text("precious")
    (shared / name).symlink_to(mine)
    if name == "a.gz":  # it exists: nothing is downloaded
        assert download(shared, server.url).read_bytes() == b"precious"
    else:
        with contextlib.suppress(UserError):
            download(shared, server.url)
    assert mine.read_text() == "precious"


def test_a_gzip_bomb_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(bytes(10_000_000)))
    with files.LimitedGzip(path, 10_000_000) as whole:
        assert len(whole.read()) == 10_000_000
    with files.LimitedGzip(path, 9_999_999) as bomb, pytest.raises(UserError, match="decompresses to far more"):
        bomb.read()
