"""MNIST, Fashion-MNIST and CIFAR-10: small copies in the same format, and the real digits where there are some."""

from __future__ import annotations

import gzip
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from download_faults import closed_port
from local_server import Server, public_folder, read_only, serving
from small_images import (
    ARCHIVE,
    BATCHES,
    LABELS,
    PACKED,
    PIXELS,
    PLAIN,
    SmallCIFAR10,
    SmallFashionMNIST,
    SmallMNIST,
    check_cifar,
)

from dlzoo.data.images import published as images
from dlzoo.data.images.digits import Digits
from dlzoo.data.images.published import CIFAR10, MNIST, FashionMNIST
from dlzoo.errors import UserError


def write(folder: Path, contents: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def start(data: images.Published) -> None:
    data.prepare_data()
    data.setup("fit")


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def nowhere() -> str:
    return closed_port()


@pytest.mark.parametrize(("cls", "name"), [(SmallMNIST, "MNIST"), (SmallFashionMNIST, "FashionMNIST")])
@pytest.mark.parametrize("contents", [PLAIN, PACKED], ids=["plain", "gz"])
def test_files_are_read_in_place(
    cls: type[MNIST], name: str, contents: dict[str, bytes], tmp_path: Path, nowhere: str
) -> None:
    write(tmp_path / name / "raw", contents)
    data = cls(data_dir=str(tmp_path), mirrors=[nowhere])
    data.prepare_data()
    for split in ("train", "test"):
        rows = data.load(split)
        assert (rows.x.dtype, rows.y.dtype, rows.weight) == (torch.uint8, torch.int64, None)
        assert rows.x.equal(torch.from_numpy(PIXELS[split])[:, None])
        assert rows.y.equal(torch.from_numpy(LABELS[split]).long())
    assert sorted(os.listdir(tmp_path / name / "raw")) == sorted(contents)


def test_all_from_config_to_batches(tmp_path: Path) -> None:
    write(tmp_path / "MNIST" / "raw", PLAIN)
    data = SmallMNIST(data_dir=str(tmp_path), batch_size=8, val_size=10, standardize=True, seed=3)
    data.prepare_data()
    data.setup()
    assert [len(data.arrays(split).y) for split in ("train", "val", "test")] == [20, 10, 20]
    assert data.arrays("val").y.bincount().tolist() == [1] * 10
    seen = data.arrays("train").x.double() / 255
    assert data.spec.shape == (1, 28, 28)
    assert data.spec.mean == pytest.approx((seen.mean().item(),), abs=1e-12)
    assert data.spec.std == pytest.approx((seen.std(correction=0).item(),), abs=1e-12)
    assert [tuple(x.shape) for x, _, _ in data.train_dataloader()] == [(8, 1, 28, 28), (8, 1, 28, 28), (4, 1, 28, 28)]


def test_a_read_only_folder_is_enough(nowhere: str) -> None:
    with public_folder() as folder:
        write(folder / "MNIST" / "raw", PLAIN)
        data = SmallMNIST(data_dir=str(folder), mirrors=[nowhere])
        with read_only(folder):
            data.prepare_data()
            data.setup()
        assert data.arrays("train").num_rows == 27


def test_only_what_is_missing_is_downloaded(server: Server, tmp_path: Path) -> None:
    server.files = PACKED
    present = {name: content for name, content in PLAIN.items() if "labels" in name}
    raw = write(tmp_path / "MNIST" / "raw", present)
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in raw.iterdir()}
    data = SmallMNIST(data_dir=str(tmp_path), mirrors=server.url)
    data.prepare_data()
    data.prepare_data()
    assert sorted(server.asked) == ["t10k-images-idx3-ubyte.gz", "train-images-idx3-ubyte.gz"]
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in before} == before
    assert data.load("train").x.equal(torch.from_numpy(PIXELS["train"])[:, None])


def test_what_was_complete_is_kept_when_the_network_fails(server: Server, tmp_path: Path, nowhere: str) -> None:
    names = list(SmallMNIST.md5)
    server.files = {names[0]: PACKED[names[0]]}
    with pytest.raises(UserError, match=rf"{names[1]} could not be downloaded .*data=digits"):
        SmallMNIST(data_dir=str(tmp_path), mirrors=[server.url]).prepare_data()
    assert os.listdir(tmp_path / "MNIST" / "raw") == [names[0]]
    with pytest.raises(UserError, match=rf"{names[1]} could not be downloaded"):
        SmallMNIST(data_dir=str(tmp_path), mirrors=[nowhere]).prepare_data()


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[:-1],
    "half": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "longer": lambda content: content + b"\0",
    "other counts": lambda content: content[:7] + bytes([content[7] - 1]) + content[8:],
    "other type": lambda content: b"\0\0\x0d" + content[3:],
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("name", PLAIN)
def test_damaged_files_are_refused_before_training(name: str, packed: bool, damage: str, tmp_path: Path) -> None:
    contents = dict(PACKED if packed else PLAIN)
    name += ".gz" * packed
    contents[name] = DAMAGES[damage](contents[name])
    write(tmp_path / "MNIST" / "raw", contents)
    data = SmallMNIST(data_dir=str(tmp_path))
    with pytest.raises(UserError, match=f"{name} is damaged: .* Delete it"):
        start(data)


def test_a_label_that_is_no_class(tmp_path: Path) -> None:
    name = "train-labels-idx1-ubyte"
    write(tmp_path / "MNIST" / "raw", PLAIN | {name: PLAIN[name][:-1] + b"\x0a"})
    with pytest.raises(UserError, match=f"{name} is damaged: it contains the label 10"):
        SmallMNIST(data_dir=str(tmp_path)).load("train")


@pytest.mark.parametrize("cut", [0, 1, -1])
def test_read_idx_takes_exactly_one_length(cut: int, tmp_path: Path) -> None:
    content = (PLAIN["train-images-idx3-ubyte"] + b"\0")[: cut - 1 or None]
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(content))
    if cut == 0:
        assert images.read_idx(path, (30, 28, 28)).equal(torch.from_numpy(PIXELS["train"]))
    else:
        with pytest.raises(UserError, match="damaged: it does not contain exactly 30 x 28 x 28 bytes"):
            images.read_idx(path, (30, 28, 28))


def test_the_test_split_is_not_read_for_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "MNIST" / "raw", PLAIN)
    read = []
    monkeypatch.setattr(images, "read_idx", lambda path, shape: read.append(path.name) or torch.zeros(shape).byte())
    data = SmallMNIST(data_dir=str(tmp_path))
    data.prepare_data()
    data.setup("fit")
    assert read == ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"]
    data.setup("test")
    assert read[2:] == ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


def test_without_preparation(tmp_path: Path) -> None:
    for data in (SmallMNIST(data_dir=str(tmp_path)), CIFAR10(data_dir=str(tmp_path))):
        with pytest.raises(UserError, match=r"call prepare_data\(\) first"):
            data.setup("fit")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("cls", [MNIST, FashionMNIST, CIFAR10])
def test_the_declared_spec_needs_no_file(cls: type[MNIST | CIFAR10], tmp_path: Path) -> None:
    spec = cls(data_dir=str(tmp_path / "none")).declare()
    assert spec.shape == ((3, 32, 32) if cls is CIFAR10 else (1, 28, 28))
    assert len(set(spec.target.names)) == 10
    ninth = {MNIST: "9", FashionMNIST: "Ankle boot", CIFAR10: "truck"}
    assert spec.target.names[9] == ninth[cls]


def test_the_embedded_digits() -> None:
    first, second = Digits(seed=0), Digits(seed=1)
    assert first.declare().shape == (1, 8, 8)
    train, val, test = (first.arrays(split) for split in ("train", "val", "test"))
    assert (train.x.dtype, train.x.min(), train.x.max()) == (torch.uint8, 0, 255)
    assert (train.num_rows, val.num_rows, test.num_rows) == (1294, 144, 359)
    assert val.y.bincount().min() >= 13
    assert test.x.equal(second.arrays("test").x)
    assert not val.x.equal(second.arrays("val").x)


@pytest.mark.realdata
def test_the_real_digits(real_data_dir: Path) -> None:
    data = MNIST(data_dir=str(real_data_dir), mirrors=[], val_size=5000, val_last=True, standardize=True)
    data.prepare_data()
    data.setup()
    train, test = data.load("train"), data.load("test")
    assert (train.x.shape, test.x.shape) == ((60000, 1, 28, 28), (10000, 1, 28, 28))
    assert train.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test.y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert train.y.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert data.arrays("val").x.equal(train.x[55000:])
    assert data.spec.mean == pytest.approx((0.1307,), abs=2e-4)
    assert data.spec.std == pytest.approx((0.3081,), abs=2e-4)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("cls", "folder", "first_train", "first_test"),
    [
        (FashionMNIST, "FashionMNIST", [9, 0, 0, 3, 0, 2, 7, 2, 5, 5], [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]),
        (CIFAR10, "cifar-10-batches-py", [6, 9, 9, 4, 1, 1, 2, 7, 8, 3], [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]),
    ],
)
def test_the_other_real_images(
    cls: type[FashionMNIST | CIFAR10], folder: str, first_train: list[int], first_test: list[int], real_data_dir: Path
) -> None:
    if not (real_data_dir / folder).is_dir():
        pytest.skip(f"{folder} is not in {real_data_dir}")
    data = cls(data_dir=str(real_data_dir), mirrors=[])
    data.prepare_data()
    for split, first in (("train", first_train), ("test", first_test)):
        rows = data.load(split)
        assert rows.y[:10].tolist() == first
        assert len(set(rows.y.bincount().tolist())) == 1


def test_cifar_is_read_from_its_folder(tmp_path: Path, nowhere: str) -> None:
    write(tmp_path / "cifar-10-batches-py", BATCHES)
    data = SmallCIFAR10(data_dir=str(tmp_path), mirrors=[nowhere])
    data.prepare_data()
    check_cifar(data)


def test_cifar_is_downloaded_and_unpacked_once(server: Server, tmp_path: Path) -> None:
    server.files["cifar-10-python.tar.gz"] = ARCHIVE
    data = SmallCIFAR10(data_dir=str(tmp_path / "new"), mirrors=[server.url])
    data.prepare_data()
    data.prepare_data()
    assert server.asked == ["cifar-10-python.tar.gz"]
    assert sorted(os.listdir(tmp_path / "new" / "cifar-10-batches-py")) == sorted(BATCHES)
    os.remove(tmp_path / "new" / "cifar-10-python.tar.gz")
    data.prepare_data()
    check_cifar(data)


def test_cifar_is_read_from_its_archive_where_nothing_may_be_written(nowhere: str) -> None:
    with public_folder() as folder:
        write(folder, {"cifar-10-python.tar.gz": ARCHIVE})
        data = SmallCIFAR10(data_dir=str(folder), mirrors=[nowhere])
        with read_only(folder):
            data.prepare_data()
            check_cifar(data)
        assert os.listdir(folder) == ["cifar-10-python.tar.gz"]


def test_a_half_unpacked_cifar_is_completed(tmp_path: Path, nowhere: str) -> None:
    write(tmp_path, {"cifar-10-python.tar.gz": ARCHIVE})
    write(tmp_path / "cifar-10-batches-py", {"data_batch_1": BATCHES["data_batch_1"][:100]})
    data = SmallCIFAR10(data_dir=str(tmp_path), mirrors=[nowhere])
    data.prepare_data()
    check_cifar(data)


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch"])
def test_a_tampered_cifar_file_runs_no_code(name: str, tmp_path: Path) -> None:
    evil = pickle.dumps({"data": Payload(tmp_path / "broken in"), "labels": []}, protocol=2)
    write(tmp_path / "cifar-10-batches-py", BATCHES | {name: evil})
    data = SmallCIFAR10(data_dir=str(tmp_path))
    with pytest.raises(UserError, match=f"{name} is damaged: its checksum"):
        start(data)
    with pytest.raises(pickle.UnpicklingError, match=r"must not contain (posix|nt)\.mkdir"):
        images.read_batch(evil, 10)
    assert not (tmp_path / "broken in").exists()
    assert images.read_batch(BATCHES["test_batch"], 10)[0].shape == (10, 3, 32, 32)


def test_a_damaged_cifar_archive(tmp_path: Path, nowhere: str) -> None:
    write(tmp_path, {"cifar-10-python.tar.gz": ARCHIVE[:-1]})
    with pytest.raises(UserError, match=r"cifar-10-python\.tar\.gz is damaged: its checksum"):
        SmallCIFAR10(data_dir=str(tmp_path), mirrors=[nowhere]).prepare_data()
    shutil.rmtree(tmp_path / "cifar-10-batches-py", ignore_errors=True)
    assert os.listdir(tmp_path) == ["cifar-10-python.tar.gz"]


@pytest.mark.parametrize("split", ["train", "test"])
def test_some_classes_only_in_the_order_given(split: images.Split, tmp_path: Path) -> None:
    write(tmp_path / "MNIST" / "raw", PLAIN)
    data = SmallMNIST(data_dir=tmp_path, classes=[7, "2"])
    assert data.declare().target.names == ("7", "2")
    rows = data.load(split)
    wanted = [i for i, label in enumerate(LABELS[split]) if label in (2, 7)]
    assert rows.y.tolist() == [0 if LABELS[split][i] == 7 else 1 for i in wanted]
    assert torch.equal(rows.x[:, 0], torch.from_numpy(PIXELS[split][wanted]))


@pytest.mark.parametrize(
    ("classes", "message"),
    [(["Sandel"], "did you mean 'Sandal'"), (["Bag", "Bag"], "each once"), (["Bag"], "at least two")],
)
def test_classes_that_are_not_there(classes: list[str], message: str) -> None:
    with pytest.raises(UserError, match=rf"data\.classes=.*{message}"):
        FashionMNIST(classes=classes)
