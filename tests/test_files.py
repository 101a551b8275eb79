"""Downloads from a web server on this machine that behaves badly in every way that was thought of."""

from __future__ import annotations

import gzip
import hashlib
import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pooch
import pytest
from local_server import Server, public_folder, read_only, serving

from dlzoo.data import files
from dlzoo.errors import UserError

CONTENT = gzip.compress(bytes(range(256)) * 1000)
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "TIMEOUT", (0.5, 0.5))


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def download(folder: Path, *mirrors: str) -> Path:
    return files.download("a.gz", md5=MD5, folder=folder, mirrors=mirrors)


def closed_port() -> str:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{s.getsockname()[1]}"


@pytest.mark.parametrize("trouble", ["", "gzip"])
def test_a_download_is_stored_whole(
    server: Server, tmp_path: Path, trouble: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    pooch.get_logger().addHandler(caplog.handler)
    server.files["a.gz"], server.trouble = CONTENT, [trouble]
    path = download(tmp_path / "new" / "raw", server.url)
    assert path == tmp_path / "new" / "raw" / "a.gz"
    assert path.read_bytes() == CONTENT
    assert os.listdir(path.parent) == ["a.gz"]
    assert capfd.readouterr() == ("", f"downloading a.gz to {path.parent}\n")
    assert caplog.records == []  # pooch would say the same twice


def test_other_users_may_read_a_download(server: Server, tmp_path: Path) -> None:
    server.files["a.gz"] = CONTENT
    before = os.umask(0o022)
    try:
        assert stat.S_IMODE(download(tmp_path, server.url).stat().st_mode) == 0o644
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    ("trouble", "reason", "num_asked"),
    [
        ("404", "HTTP 404", 1),
        ("cut", "the connection broke off", 2),
        ("damaged", "a wrong checksum", 2),
        ("silent", "no answer in time", 1),
        ("refused", "the connection failed", 0),
    ],
)
def test_a_failed_download_leaves_nothing_and_says_what_to_do(
    server: Server, tmp_path: Path, trouble: str, reason: str, num_asked: int
) -> None:
    server.files["a.gz"], server.trouble = CONTENT, [trouble]
    started = time.monotonic()
    with pytest.raises(UserError) as caught:
        download(tmp_path, closed_port() if trouble == "refused" else server.url)
    assert time.monotonic() - started < 5
    assert all(part in str(caught.value) for part in ("a.gz", str(tmp_path), reason, "127.0.0.1", "data=digits"))
    assert os.listdir(tmp_path) == []
    assert len(server.asked) == num_asked


@pytest.mark.parametrize("trouble", ["cut", "damaged"])
def test_a_damaged_download_is_tried_once_more(server: Server, tmp_path: Path, trouble: str) -> None:
    server.files["a.gz"], server.trouble = CONTENT, [trouble, ""]
    assert download(tmp_path, server.url).read_bytes() == CONTENT


def test_the_next_mirror_is_asked_and_the_third_left_alone(server: Server, tmp_path: Path) -> None:
    server.files["a.gz"], server.trouble = CONTENT, ["404", "", "damaged"]
    download(tmp_path, closed_port(), server.url, server.url.rstrip("/"), server.url)
    assert server.asked == ["a.gz", "a.gz"]


@pytest.mark.parametrize("mirror", ["", "no/url", "ftp://127.0.0.1"])
def test_a_mirror_that_is_no_web_address_is_a_user_error(tmp_path: Path, mirror: str) -> None:
    with pytest.raises(UserError, match=r"a\.gz could not be downloaded"):
        download(tmp_path, mirror)


def test_without_mirrors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.mirrors is empty"):
        download(tmp_path)


@pytest.mark.parametrize("below", ["", "raw"])
def test_a_file_in_place_of_the_folder(server: Server, tmp_path: Path, below: str) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(UserError, match=r"a\.gz cannot be stored in .*a file, or below one.*data=digits"):
        download(tmp_path / "data" / below, server.url)
    assert server.asked == []


@pytest.mark.parametrize("below", ["", "raw"])
def test_a_folder_that_may_not_be_written(server: Server, below: str) -> None:
    server.files["a.gz"] = CONTENT
    with public_folder() as folder:
        with read_only(folder), pytest.raises(UserError, match=r"a\.gz cannot be stored in .*data=digits"):
            download(folder / below, server.url)
        assert os.listdir(folder) == []
    assert server.asked == []


def test_a_full_disk(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pooch.retrieve", fails)
    with pytest.raises(UserError, match=r"a\.gz cannot be stored in .*No space left"):
        download(tmp_path, server.url)


def test_data_dir_may_be_relative_or_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert files.folder_of("data", "MNIST") == tmp_path / "data" / "MNIST"
    assert files.folder_of("../x") == tmp_path.parent / "x"
    assert files.folder_of("~/data") == tmp_path / "me" / "data"


def test_find_takes_the_first_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    assert files.find(tmp_path, "a", "b") is None
    (tmp_path / "c").write_text("")
    assert files.find(tmp_path, "a", "b", "c") == tmp_path / "c"
    assert files.find(tmp_path / "c", "a") is None


def test_check_md5(tmp_path: Path) -> None:
    files.check_md5(CONTENT, MD5, tmp_path)
    with pytest.raises(UserError, match="damaged: its checksum"):
        files.check_md5(CONTENT + b"x", MD5, tmp_path)
