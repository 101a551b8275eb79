"""What all tests share: real data where there are some, and quiet, seeded, two-threaded torch."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start

import pytest
import torch
from local_server import Server, serving
from small_runs import Outcome, Terminal

torch.set_num_threads(1)  # tests are small, and several processes may share the machine


@pytest.fixture
def train(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """``train("model=mlp", …)``: the command ``python train.py model=mlp …`` in this process, outputs in tmp_path."""
    from dlzoo.commands.train import main

    def run(*words: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["train.py", *words, f"output_dir={tmp_path / 'outputs'}"])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        printed = capsys.readouterr()
        return Outcome(int(exit_.value.code or 0), printed.out, printed.err)

    return run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def trials_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps by `train` run their trials in this process, not in workers."""
    from sweep_runs import run_trials_here

    run_trials_here(monkeypatch)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """``terminal(predict.main, "ckpt=…")``: a command in this process."""
    return Terminal(monkeypatch, capsys)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tokenised text goes into a folder of the tests, not into the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DLZOO_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def real_data_dir() -> Path:
    """The folder with the real data sets; the test is skipped where DLZOO_DATA_DIR names none."""
    folder = os.environ.get("DLZOO_DATA_DIR")
    if not folder or not Path(folder).is_dir():
        pytest.skip("DLZOO_DATA_DIR names no folder with real data")
    return Path(folder)


@pytest.fixture
def stand_in_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data_dir with generated files in the formats of the published ones, a few rows each."""
    import numpy as np
    from cifar_files import batch
    from sound_stand_ins import write_spoken_digits
    from tagged_stand_ins import write_treebank
    from text_stand_ins import write_imdb, write_pairs, write_sentences, write_shakespeare

    from dlzoo.data.images.published import CIFAR10, MNIST
    from dlzoo.data.tables.published import CaliforniaHousing

    rng = np.random.default_rng(0)
    folder, sizes = tmp_path / "stand_ins", {"train": 400, "test": 60}
    for name in ("MNIST", "FashionMNIST"):
        raw = folder / name / "raw"
        raw.mkdir(parents=True)
        for split, prefix in {"train": "train", "test": "t10k"}.items():
            n = sizes[split]
            images = rng.integers(0, 256, (n, 28, 28), np.uint8)
            for part, array in {"images": images, "labels": np.arange(n, dtype=np.uint8) % 10}.items():
                header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
                (raw / f"{prefix}-{part}-idx{array.ndim}-ubyte").write_bytes(header + array.tobytes())
    monkeypatch.setattr(MNIST, "num_images", sizes)
    batches = folder / CIFAR10.folder
    batches.mkdir()
    checksums = {}
    for name in CIFAR10.md5:
        (batches / name).write_bytes(content := batch(len(checksums), 40))
        checksums[name] = hashlib.md5(content).hexdigest()
    monkeypatch.setattr(CIFAR10, "num_images", 40)
    monkeypatch.setattr(CIFAR10, "md5", checksums)
    low = np.array([-124, 32, 1, 10, 5, 20, 5, 0.5, 15_000])
    table = rng.uniform(low, low + np.array([10, 9, 50, 5000, 900, 3000, 900, 14, 485_000]), (200, 9))
    (folder / "CaliforniaHousing").mkdir()
    np.savetxt(folder / "CaliforniaHousing" / "cal_housing.data", table, delimiter=",", fmt="%.6f")
    monkeypatch.setattr(CaliforniaHousing, "num_rows", 200)
    write_sentences(folder, 60, monkeypatch)
    write_shakespeare(folder, 400, monkeypatch)
    write_spoken_digits(folder, monkeypatch)
    write_imdb(folder, 120, monkeypatch)
    write_pairs(folder, 200, monkeypatch)
    write_treebank(folder, 40, monkeypatch)
    monkeypatch.setenv("DLZOO_DATA_DIR", str(folder))  # no folder that a checkpoint names is followed
    return folder


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Two threads on a busy machine wait for each other: ten times slower on small nets."""

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three classes with ten images each."""
    from photo_folders import make_folder

    return make_folder(tmp_path / "meine photos")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for downloads as a user would."""
    from download_faults import QUICK

    monkeypatch.setattr("dlzoo.utils.download.RETRY_POLICY", QUICK)


@pytest.fixture
def server() -> Iterator[Server]:
    """A web server on this machine."""
    with serving() as server:
        yield server


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file that only a stranger's command writes."""
    return tmp_path / "canary"
