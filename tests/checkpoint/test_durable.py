"""Checkpoints survive: corruption is detected, and no failed write loses the previous one.

``DLZOO_WRITE_RESULTS=1 pytest tests/checkpoint/test_durable.py`` writes the counts for RESULTS.md.
"""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import stat
import sys
import tempfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reliability_tables
import torch
from killing import FORKS

from dlzoo.checkpoint import format
from dlzoo.checkpoint import load as checkpoint
from dlzoo.checkpoint import sidecar as beside
from dlzoo.checkpoint.io import CheckpointIO
from dlzoo.errors import UserError
from dlzoo.tasks import base
from dlzoo.utils import archives as durable
from dlzoo.utils import checkpoint_files
from dlzoo.utils.archives import Damaged, previous_path

CARD = {"format": checkpoint_files.FORMAT, "config": "a: 1\n", "overrides": [], "spec": {}}


def state(step: int) -> dict[str, Any]:
    """Checkpoint content with sidecar arrays."""
    weights = torch.full((40,), float(step))
    return {"state_dict": {"w": weights}, "step": step, base.SIDECAR_ARRAYS: {"replay": np.full(200, step)}}


def saved(folder: Path, *steps: int, io: CheckpointIO | None = None) -> Path:
    io = io or CheckpointIO(CARD)
    for step in steps:
        io.save_checkpoint(state(step), folder / "last.ckpt")
    return folder / "last.ckpt"


def step_of(path: Path) -> int:
    """Which step a checkpoint is of; its weights and its arrays must be of that step too."""
    content = CheckpointIO(CARD).load_checkpoint(path)
    assert content["state_dict"]["w"].tolist() == [content["step"]] * 40
    assert content[base.SIDECAR_ARRAYS]["replay"].tolist() == [content["step"]] * 200
    return content["step"]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


Tally = dict[str, Counter[str]]
"""For each fault: how often it was injected, noticed (the previous one can be used) and harmless (so can this one)."""


@pytest.fixture(scope="module")
def tally() -> Iterator[Tally]:
    counted: Tally = defaultdict(Counter)
    yield counted
    outcomes = ("injected", "noticed", "harmless")
    reliability_tables.write(
        __file__,
        "faults_of_checkpoints",
        title="Faults of checkpoints",
        select="",
        columns=["fault", *outcomes, "wrong or lost"],
        rows=[
            [name, *(count[outcome] for outcome in outcomes), count["injected"] - count["noticed"] - count["harmless"]]
            for name, count in counted.items()
        ],
        note="Noticed: the file is refused, or the error is said, and the checkpoint before it is whole and can be "
        "continued from. Harmless: the checkpoint still gives what was saved, bit for bit.",
    )


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


# What reaches the disk


@pytest.mark.parametrize("keep", [False, True])
def test_files_are_synced_before_and_after_the_rename(
    keep: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a machine that loses its power may be left with an empty file of that name."""
    path, done = tmp_path / "last.ckpt", list[tuple[Any, ...]]()
    durable.write(path, lambda file: torch.save({"w": torch.zeros(3)}, file))
    fsync, replace = os.fsync, os.replace

    def seen_fsync(handle: int) -> None:
        results = os.fstat(handle)
        done.append(("folder" if stat.S_ISDIR(results.st_mode) else "file", results.st_ino, results.st_size))
        fsync(handle)

    def seen_replace(source: Any, target: Any) -> None:
        done.append(("name", Path(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "replace", seen_replace)
    durable.write(path, lambda file: torch.save({"w": torch.ones(3000)}, file), keep=keep)
    monkeypatch.undo()
    new, folder = path.stat(), tmp_path.stat()
    before = [("name", previous_path(path))] if keep else []
    assert done[:-1] == [("file", new.st_ino, new.st_size), *before, ("name", path)], "all of it, and then its name"
    assert done[-1][:2] == ("folder", folder.st_ino)


# Damage


def test_only_the_previous_checkpoint_is_kept(tmp_path: Path) -> None:
    path = saved(tmp_path, 1, 2, 3)
    assert (step_of(path), step_of(previous_path(path))) == (3, 2)
    assert len([*tmp_path.iterdir()]) == 4  # each with its arrays


@pytest.mark.parametrize("sealed", [True, False], ids=["with a digest", "without one"])
def test_a_flipped_bit_is_detected_or_harmless(sealed: bool, tmp_path: Path, tally: Tally) -> None:
    """Anywhere; of the archive's directory, every third bit."""
    path = tmp_path / "x.ckpt"
    good = {"state_dict": {"w": torch.randn(30)}, "dlzoo": CARD}
    if sealed:
        CheckpointIO(CARD).save_checkpoint(dict(good), path)
    else:  # as older versions and other programs write it
        torch.save(good, path)
    content, noticed = path.read_bytes(), 0
    with zipfile.ZipFile(path) as archive:
        directory = archive.start_dir
    draw = random.Random(0)
    bits = [draw.randrange(8 * directory) for _ in range(300)]
    bits += range(8 * directory, 8 * len(content), 3)
    for bit in bits:
        path.write_bytes(flipped(content, bit))
        try:
            results = checkpoint_files.read(path)
        except UserError:
            noticed += 1
        else:
            assert torch.equal(results["state_dict"]["w"], good["state_dict"]["w"]), bit
            assert not sealed or bit >= 8 * (len(content) - durable.DIGEST_LENGTH), bit
    assert noticed > 100
    name = f"a flipped bit in a file {'with' if sealed else 'without'} a digest"
    tally[name] += Counter(injected=len(bits), noticed=noticed, harmless=len(bits) - noticed)


def test_pytorch_alone_does_not_detect_flipped_bits(tmp_path: Path) -> None:
    """Why there is a digest: if this fails, it is no longer needed."""
    weights = torch.randn(1000)
    torch.save({"w": weights}, tmp_path / "x.pt")
    content = (tmp_path / "x.pt").read_bytes()
    bit = 8 * (content.index(weights.numpy().tobytes()) + 500)
    (tmp_path / "x.pt").write_bytes(flipped(content, bit))
    assert not torch.equal(torch.load(tmp_path / "x.pt", weights_only=True)["w"], weights)


@pytest.mark.parametrize("damaged", ["last.ckpt", "last.replay-*.npz"])
def test_the_previous_checkpoint_replaces_a_corrupted_one(
    damaged: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], tally: Tally
) -> None:
    path = saved(tmp_path, 1, 2)
    name = path.name if damaged == "last.ckpt" else checkpoint_files.read(path)[beside.NAME]
    content = (tmp_path / name).read_bytes()
    for length in range(0, len(content) - durable.DIGEST_LENGTH, 97):
        (tmp_path / name).write_bytes(content[:length])
        assert format.read_whole(path).path == previous_path(path)
        said = capsys.readouterr().err
        assert said.startswith(f"warning: {path} is ")
        assert f"using the previous one, {previous_path(path)}" in said
        assert step_of(previous_path(path)) == 1
        tally["a checkpoint or its arrays cut off"] += Counter(injected=1, noticed=1)
    (tmp_path / name).write_bytes(content[:-1])  # nothing but the digest is cut: it cannot be told what else is
    assert step_of(format.read_whole(path).path) == 1
    assert capsys.readouterr().err.startswith(f"warning: {path} is ")


def test_corrupted_arrays_are_not_used(tmp_path: Path) -> None:
    path = saved(tmp_path, 1, 2)
    arrays = tmp_path / checkpoint_files.read(path)[beside.NAME]
    content = arrays.read_bytes()
    arrays.write_bytes(flipped(content, 8 * content.index(np.full(200, 2).tobytes()) + 3))
    with pytest.raises(Damaged, match=r"last.ckpt is unusable: last.replay-.*.npz is damaged.*last.previous.ckpt"):
        CheckpointIO(CARD).load_checkpoint(path)
    assert checkpoint_files.read(path)["step"] == 2  # who only evaluates does not need them


def test_reading_a_corrupted_checkpoint_mentions_the_previous_one(tmp_path: Path) -> None:
    path = saved(tmp_path, 1, 2)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(Damaged, match=r"last.ckpt is cut off, .*; the previous checkpoint is .*last.previous.ckpt"):
        checkpoint.load_task(path)
    path.unlink()
    with pytest.raises(Damaged, match=r"last.ckpt is missing; the previous checkpoint is .*last.previous.ckpt"):
        checkpoint.load_task(path)
    saved(tmp_path, 3)  # of another run, which the one before is not of
    assert not previous_path(path).exists()
    path.write_bytes(b"")
    with pytest.raises(Damaged, match=r"cut off, damaged or not a checkpoint$"):
        format.read_whole(path)


def test_a_corrupted_checkpoint_does_not_become_the_previous_one(tmp_path: Path) -> None:
    path = saved(tmp_path, 1, 2)
    path.write_bytes(b"damaged")
    io = CheckpointIO(CARD)
    assert io.load_checkpoint(format.read_whole(path).path)["step"] == 1
    saved(tmp_path, 3, io=io)
    assert (step_of(path), step_of(previous_path(path))) == (3, 1)
    saved(tmp_path, 4, io=io)
    assert (step_of(path), step_of(previous_path(path))) == (4, 3)


def test_removing_a_checkpoint_removes_its_arrays(tmp_path: Path) -> None:
    CheckpointIO(CARD).remove_checkpoint(saved(tmp_path, 1, 2))
    assert [*tmp_path.iterdir()] == []


# Kills


def killed_at(folder: Path, operation: int, links: bool, io: CheckpointIO) -> None:
    """Save step 3, and be killed before the file operation of this number."""
    count = 0

    def watch(event: str, args: Any) -> None:
        nonlocal count
        if event in ("open", "os.rename", "os.link", "os.remove") and str(folder) in str(args):
            if count == operation:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

    if not links:
        os.link = no_links
    sys.addaudithook(watch)
    saved(folder, 3, io=io)


def no_links(*_: Any) -> None:
    raise OSError(errno.EPERM, "no hard links here")


@pytest.mark.parametrize("links", [True, False], ids=["", "no hard links"])
def test_a_kill_before_any_file_operation(
    links: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], tally: Tally
) -> None:
    reached = []
    for operation in range(100):
        folder = tmp_path / str(operation)
        io = CheckpointIO(CARD)
        path = saved(folder, 1, 2, io=io)
        process = FORKS.Process(target=killed_at, args=(folder, operation, links, io))
        process.start()
        process.join(60)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        assert path.exists() or not links
        reached.append(step_of(format.read_whole(path).path))
        if previous_path(path).exists():
            assert step_of(previous_path(path)) in (1, 2)
        saved(folder, 4, io=io)
        assert (step_of(path), len([*folder.iterdir()])) == (4, 4), "it leaves litter"
    assert operation > 8
    assert reached == sorted(reached), "once it is there, it is there"
    assert {*reached} == {2, 3}
    tally["SIGKILL before a file operation of saving"] += Counter(injected=len(reached), harmless=len(reached))
    assert ("warning" in capsys.readouterr().err) == (not links)  # for a moment, only the one before is there


def test_only_killed_processes_leave_temporary_files(tmp_path: Path) -> None:
    process = FORKS.Process(target=int)
    process.start()
    process.join(60)
    dead, living = tmp_path / f".last.ckpt.{process.pid}.tmp", tmp_path / f".last.ckpt.{os.getppid()}.tmp"
    other = tmp_path / f".best.ckpt.{process.pid}.tmp"
    for path in (dead, living, other):
        path.touch()
    saved(tmp_path, 1)
    assert (dead.exists(), living.exists(), other.exists()) == (False, True, True)


# Faults of the disk


@pytest.fixture
def limit() -> Iterator[Any]:
    """No file may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.99])
def test_a_full_disk(share: float, tmp_path: Path, limit: Any, tally: Tally) -> None:
    io = CheckpointIO(CARD)
    path = saved(tmp_path, 1, 2, io=io)
    before = contents(tmp_path)
    limit(int(share * path.stat().st_size))
    with pytest.raises(UserError, match=r"last.ckpt could not be written: File too large.*output_dir"):
        saved(tmp_path, 3, io=io)
    limit(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    assert {name: content for name, content in contents(tmp_path).items() if name in before} == before
    assert saved(tmp_path, 4, io=io).exists()
    assert (step_of(path), step_of(previous_path(path)), len([*tmp_path.iterdir()])) == (4, 2, 4)
    tally["no room for the whole file"] += Counter(injected=1, noticed=1)


@pytest.mark.parametrize("call", ["fsync", "replace", "link"])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_disk_error_at_any_call(
    call: str, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    io = CheckpointIO(CARD)
    path = saved(tmp_path, 1, 2, io=io)
    real, calls = getattr(os, call), iter(range(100))

    def fail(*args: Any) -> Any:
        if next(calls) == after:
            raise OSError(errno.EIO, "Input/output error")
        return real(*args)

    said = ""
    with monkeypatch.context() as faults:
        faults.setattr(os, call, fail)
        try:
            saved(tmp_path, 3, io=io)
        except UserError as error:
            said = str(error)
    assert said == "" or "last.ckpt could not be written: Input/output error" in said
    if next(calls) > after:
        tally["an error of the disk at fsync, link or rename"] += Counter(
            injected=1, noticed=bool(said), harmless=not said
        )
    assert (step_of(format.read_whole(path).path), step_of(previous_path(path))) in ((2, 1), (2, 2), (3, 2))
    saved(tmp_path, 4, io=io)
    assert (step_of(path), len([*tmp_path.iterdir()])) == (4, 4)


def test_an_unwritable_folder(tally: Tally) -> None:
    with tempfile.TemporaryDirectory() as name:  # not below tmp_path, where others than its owner cannot look
        folder, io = Path(name), CheckpointIO(CARD)
        path = saved(folder, 1, 2, io=io)
        before = contents(folder)
        for file in [folder, *folder.iterdir()]:
            file.chmod(0o555)
        root = os.geteuid() == 0
        try:
            if root:
                os.seteuid(65534)
            with pytest.raises(UserError, match=r"last.ckpt could not be written: Permission denied.*output_dir"):
                saved(folder, 3, io=io)
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)
        assert contents(folder) == before
        assert step_of(path) == 2
        tally["a folder that became read-only"] += Counter(injected=1, noticed=1)
