"""Test rows of their own are read when the test begins, and decide nothing: training does not notice what they hold."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from changing_data import COMMON, READERS, call, sentence, table_row, write_csv
from photo_folders import make_folder
from small_images import PLAIN, SmallMNIST
from text_stand_ins import write_imdb

from dlzoo.commands import train
from dlzoo.data.base import DataModule
from dlzoo.data.images.folder import ImageFolder
from dlzoo.data.images.published import CIFAR10
from dlzoo.data.tables import csv as csv_table
from dlzoo.data.tables.csv import CsvTable
from dlzoo.data.text import csv as text_csv
from dlzoo.data.text.csv import TextCsv
from dlzoo.data.text.published import Imdb
from dlzoo.errors import UserError
from dlzoo.utils.checkpoint_files import read

Make = Callable[[Path, pytest.MonkeyPatch], tuple[Callable[[], DataModule], Callable[[], Any]]]
"""A folder -> a way to build the data, and one to spoil the test rows so that they cannot be read."""


def table(folder: Path, patch: pytest.MonkeyPatch) -> Any:
    header = [*"abcdef", "label"]
    for name, start in (("rows", 0), ("test", 500)):
        write_csv(folder / f"{name}.csv", header, [table_row(i) for i in range(start, start + 60)])
    return (
        lambda: CsvTable(path=str(folder / "rows.csv"), target="label", test_path=str(folder / "test.csv")),
        lambda: (folder / "test.csv").write_text(",".join(header) + "\n1,2\n"),
    )


def texts(folder: Path, patch: pytest.MonkeyPatch) -> Any:
    for name, start in (("rows", 0), ("test", 500)):
        rows = [[sentence(i), random.Random(i).choice(["no", "yes"])] for i in range(start, start + 60)]
        write_csv(folder / f"{name}.csv", ["text", "label"], rows)
    paths = {"path": str(folder / "rows.csv"), "test_path": str(folder / "test.csv")}
    return (
        lambda: TextCsv(**paths, text="text", target="label"),
        lambda: (folder / "test.csv").write_bytes(b"text,label\n" + b"a" * 10_000 + b"\xff\n"),
    )


def pictures(folder: Path, patch: pytest.MonkeyPatch) -> Any:
    make_folder(folder / "train", num=6)
    make_folder(folder / "test", num=3)
    return (
        lambda: ImageFolder(path=folder, size=8),
        lambda: [file.write_bytes(b"none") for file in (folder / "test").rglob("*.png")],
    )


def mnist(folder: Path, patch: pytest.MonkeyPatch) -> Any:
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in PLAIN.items():
        (raw / name).write_bytes(content)
    labels = "t10k-labels-idx1-ubyte"
    spoilt = PLAIN[labels][:8] + b"\xff" * (len(PLAIN[labels]) - 8)
    return lambda: SmallMNIST(data_dir=folder), lambda: (raw / labels).write_bytes(spoilt)


def cifar(folder: Path, patch: pytest.MonkeyPatch) -> Any:
    import hashlib

    from cifar_files import batch

    (folder / CIFAR10.folder).mkdir()
    sums = {}
    for i, name in enumerate(CIFAR10.md5):
        (folder / CIFAR10.folder / name).write_bytes(batch(i))
        sums[name] = hashlib.md5(batch(i)).hexdigest()
    patch.setattr(CIFAR10, "md5", sums)
    patch.setattr(CIFAR10, "num_images", 10)
    return (
        lambda: CIFAR10(data_dir=folder, val_size=6),
        lambda: (folder / CIFAR10.folder / "test_batch").write_bytes(b"none"),
    )


def imdb(folder: Path, patch: pytest.MonkeyPatch) -> Any:
    write_imdb(folder, 20, patch)
    shutil.unpack_archive(folder / "aclImdb_v1.tar.gz", folder)
    (folder / "aclImdb_v1.tar.gz").unlink()
    return lambda: Imdb(data_dir=folder), lambda: shutil.rmtree(folder / "aclImdb" / "test")


@pytest.mark.parametrize("make", [table, texts, pictures, mnist, cifar, imdb], ids=lambda make: make.__name__)
def test_what_the_test_rows_hold_changes_nothing_before_the_test(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, spoil = make(tmp_path, monkeypatch)
    before = build()
    before.setup("fit")
    spec, rows = before.spec, before.fit_fingerprint()
    before.setup("test")
    spoil()
    data = build()
    declared = data.declare()
    assert type(declared) is type(spec)
    data.setup("fit")
    assert (data.spec, data.fit_fingerprint()) == (spec, rows)
    with pytest.raises(UserError):
        data.setup("test")


def test_the_file_of_test_rows_is_read_after_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a whole run: nobody asks for the rows before the last checkpoint is written."""
    seen: list[tuple[str, bool]] = []
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    for module in (csv_table, text_csv):
        real = module.read_table
        monkeypatch.setattr(
            module,
            "read_table",
            lambda path, real=real, **style: seen.append((Path(path).name, best.exists())) or real(path, **style),
        )
    for make, name in ((table, "table"), (texts, "texts")):
        folder = tmp_path / name
        folder.mkdir()
        make(folder, monkeypatch)
        seen.clear()
        words = [*READERS[name].words(folder / "rows.csv"), f"data.test_path={folder / 'test.csv'}", *COMMON]
        code, said = call(train.main, *words, f"hydra.run.dir={tmp_path / 'run'}")
        assert code == 0, said
        assert seen == [("rows.csv", False), ("test.csv", True)]
        shutil.rmtree(tmp_path / "run")


@pytest.mark.parametrize(
    ("rows", "labels", "test_labels", "names"),
    [
        ("table", ["no", "yes"], ["no", "perhaps"], ("no", "yes")),
        ("table", ["0", "1"], ["0.5", "1"], ("0", "1")),
        ("table", ["0", "1"], ["1", "many"], ("0", "1")),
        ("texts", ["no", "yes"], ["no", "perhaps"], ("no", "yes")),
        ("texts", ["0", "1"], ["1", "7"], ("0", "1")),
    ],
)
def test_labels_of_test_rows_decide_nothing(
    rows: str, labels: list[str], test_labels: list[str], names: tuple[str, ...], tmp_path: Path
) -> None:
    """A label that training does not know is told of at the test, with its file and row; all until then is there."""
    header = [*"abcdef", "label"] if rows == "table" else ["text", "label"]
    for name, own, num in (("rows", labels, 60), ("test", test_labels, 4)):
        table = [[*READERS[rows].row(i)[:-1], own[i % 2]] for i in range(num)]
        write_csv(tmp_path / f"{name}.csv", header, table)
    words = [*READERS[rows].words(tmp_path / "rows.csv"), f"data.test_path={tmp_path / 'test.csv'}", *COMMON]
    code, said = call(train.main, *words, f"hydra.run.dir={tmp_path / 'run'}")
    strange = next(i for i, label in enumerate(test_labels) if label not in labels)
    assert code == 2
    assert f"test.csv: row {strange + 1} has the label {test_labels[strange]!r} in label, which does not occur" in said
    assert f"their labels are: {', '.join(names)}" in said
    assert tuple(read(tmp_path / "run" / "checkpoints" / "best.ckpt")["dlzoo"]["spec"]["target"]["names"]) == names


def test_values_stay_values(tmp_path: Path) -> None:
    """Whole numbers of few kinds in the test file made classes of a target, or of classes values."""
    values = [[*table_row(i)[:-1], i + 0.5] for i in range(60)]
    write_csv(tmp_path / "rows.csv", [*"abcdef", "label"], values)
    write_csv(tmp_path / "test.csv", [*"abcdef", "label"], [[*table_row(i)[:-1], i % 2] for i in range(4)])
    data = CsvTable(path=str(tmp_path / "rows.csv"), target="label", test_path=str(tmp_path / "test.csv"))
    assert data.declare().target.what == "values"
    assert data.arrays("test").y.flatten().tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("rows", ["table", "texts"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"a,b\n1,2\n", "lacks columns|no such column"),
        (b"\xff\xfe\x00", "does not begin with a header in utf-8-sig"),
    ],
)
def test_what_the_first_line_says_is_said_early(rows: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    build, _ = {"table": table, "texts": texts}[rows](tmp_path, pytest.MonkeyPatch())
    (tmp_path / "test.csv").unlink()
    if content is not None:
        (tmp_path / "test.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        build().declare()
