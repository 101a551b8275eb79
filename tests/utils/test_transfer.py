"""Interrupted and faulty downloads: injected faults, concurrent processes, and kills."""

from __future__ import annotations

import hashlib
import io
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from download_faults import CONTENT, FAULTS, closed_port, inject
from local_server import Server
from waiting import wait_for

from dlzoo.errors import UserError
from dlzoo.utils import download as files
from dlzoo.utils import http as transfer
from dlzoo.utils.http import RetryPolicy

MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server(server: Server) -> Server:
    server.files["a.bin"] = CONTENT
    return server


def download(folder: Path, *mirrors: str) -> Path:
    return files.download("a.bin", md5=MD5, folder=folder, mirrors=mirrors)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_ends_with_a_valid_file_or_an_error(name: str, server: Server, tmp_path: Path) -> None:
    fault = FAULTS[name]
    outcome = inject(fault, server, tmp_path)
    assert bool(outcome.message) == bool(fault.refused), outcome.message
    assert outcome.num_asked == fault.num_asked
    if fault.refused:
        assert all(part in outcome.message for part in (fault.refused, "a.bin", str(tmp_path), "data_dir", "127.0.0.1"))


def test_an_interrupted_download_resumes(server: Server, tmp_path: Path) -> None:
    server.trouble = ["cut", "cut", ""]
    download(tmp_path, server.url)
    assert server.ranges == [None, f"bytes={len(CONTENT) // 2}-", f"bytes={len(CONTENT) * 3 // 4}-"]


def test_another_mirror_resumes_where_the_first_stopped(server: Server, tmp_path: Path) -> None:
    server.trouble = ["cut", "404", ""]
    download(tmp_path, server.url, server.url.rstrip("/"))
    assert server.ranges[2] == f"bytes={len(CONTENT) // 2}-"


def test_a_partial_download_is_kept_for_the_next_run(server: Server, tmp_path: Path) -> None:
    server.trouble = ["cut", "404"]
    with pytest.raises(UserError, match=r"HTTP 404.*0\.3 MB were downloaded and are kept"):
        download(tmp_path, server.url)
    server.trouble = [""]
    download(tmp_path, server.url)
    assert server.ranges[-1] == f"bytes={len(CONTENT) // 2}-"


def test_pauses_double_and_differ() -> None:
    random.seed(0)
    policy = RetryPolicy(first_pause=1, longest_pause=20)
    for failures, longest in ((1, 1), (2, 2), (3, 4), (4, 8), (6, 20)):
        pauses = [policy.pause(failures) for _ in range(50)]
        assert longest / 2 <= min(pauses) < max(pauses) <= longest
        assert len({*pauses}) > 40


def test_the_pauses_of_a_download(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(transfer.time, "sleep", pauses.append)
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    server.trouble, server.retry_after = ["500", "500", "429", ""], None
    monkeypatch.setattr(files, "RETRY_POLICY", RetryPolicy())
    download(tmp_path, server.url)
    assert pauses == [0.5, 1, 2]
    pauses.clear()
    server.trouble, server.retry_after = ["503", ""], "7"
    download(tmp_path / "other", server.url)
    assert pauses == [7]


def test_offline_fails_fast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[-1])
    monkeypatch.setattr(time, "sleep", lambda seconds: clock.append(clock[-1] + seconds))
    monkeypatch.setattr(files, "RETRY_POLICY", RetryPolicy())
    with pytest.raises(UserError, match=r"the connection failed; .*the connection failed.*data_dir"):
        download(tmp_path, closed_port(), closed_port())
    assert 0 < clock[-1] < 5
    assert not (tmp_path / ".a.bin.part").exists()


def test_a_slow_name_lookup_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait(60))
    monkeypatch.setattr(files, "RETRY_POLICY", RetryPolicy(connect=0.1))
    with pytest.raises(UserError, match=r"one\.example: no response in time; two\.example"):
        download(tmp_path, "http://one.example", "http://two.example")
    answered.set()


def test_a_server_that_recovers_quickly(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses the first connections and is retried in the next round."""
    monkeypatch.setattr(files, "RETRY_POLICY", RetryPolicy(first_pause=0.01))
    looked_up: list[str] = []
    real = transfer.resolve_host

    def resolve_host(url: str, seconds: float) -> None:
        import requests

        looked_up.append(url)
        if len(looked_up) < 3:
            raise requests.exceptions.ConnectionError
        real(url, seconds)

    monkeypatch.setattr(transfer, "resolve_host", resolve_host)
    download(tmp_path, server.url)
    assert len(looked_up) == 3


def test_too_little_disk_space_is_noticed_before_writing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 100_000))
    with pytest.raises(UserError, match=rf"not enough disk space: 1 MB, and 0 MB are free in {tmp_path}"):
        download(tmp_path, server.url)
    assert not (tmp_path / ".a.bin.part").exists()


def test_a_full_disk_leaves_no_partial_file(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"a\.bin cannot be stored in .*No space left.*data_dir"):
        download(tmp_path, server.url)
    assert not (tmp_path / ".a.bin.part").exists()


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(files, "RETRY_POLICY", RetryPolicy(report=0))
    download(tmp_path, server.url)
    assert capfd.readouterr().err.splitlines()[-1] == "  0.5 of 0.5 MB"

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    download(tmp_path / "other", server.url)
    assert "0%|" in terminal.getvalue()
    assert "512k" in terminal.getvalue()


CHILD = """
import sys
from pathlib import Path
from dlzoo.utils import download as files
folder, url, md5 = sys.argv[1:]
files.download("a.bin", md5=md5, folder=Path(folder), mirrors=[url])
"""


def download_in_process(folder: Path, server: Server) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(folder), server.url, MD5]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def half_is_downloaded(folder: Path) -> bool:
    part = folder / ".a.bin.part"
    return part.exists() and part.stat().st_size >= len(CONTENT) // 2


def test_of_two_processes_one_downloads_and_the_other_waits(server: Server, tmp_path: Path) -> None:
    server.trouble, server.silence = ["stall", ""], 2  # the first holds the lock for this long
    first = download_in_process(tmp_path, server)
    wait_for(lambda: half_is_downloaded(tmp_path))
    second = download_in_process(tmp_path, server)
    assert "waiting for another process to download a.bin" in second.communicate(timeout=60)[1]
    first.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0)
    assert server.ranges == [None, f"bytes={len(CONTENT) // 2}-"]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_killed_download_leaves_no_lock_and_resumes(server: Server, tmp_path: Path) -> None:
    server.trouble = ["stall", ""]
    first = download_in_process(tmp_path, server)
    wait_for(lambda: half_is_downloaded(tmp_path))
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert (tmp_path / ".a.bin.lock").exists()
    second = download_in_process(tmp_path, server)
    assert "waiting" not in second.communicate(timeout=60)[1]
    assert second.returncode == 0
    assert server.ranges == [None, f"bytes={len(CONTENT) // 2}-"]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.reliability
def test_a_download_survives_kills_at_random_moments(server: Server, tmp_path: Path) -> None:
    server.trouble = ["slow"]
    rng, kills = random.Random(0), 0
    while not (tmp_path / "a.bin").exists():
        process = download_in_process(tmp_path, server)
        time.sleep(rng.uniform(0.2, 0.8))  # the random moment of the kill
        process.kill()
        process.wait()
        kills += 1
        assert kills < 60
    assert kills > 3
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.reliability
def test_five_processes_at_once_fetch_once(server: Server, tmp_path: Path) -> None:
    server.trouble = ["slow"]
    started = [download_in_process(tmp_path, server) for _ in range(5)]
    outputs = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [0] * 5
    assert len(server.asked) == 1
    assert sum("downloading" in text for text in outputs) == 1
