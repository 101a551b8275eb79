"""Images of a data set of Hugging Face: what a folder of the same images gives, within the same limits."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from audit import audited
from photo_folders import CLASSES, ids, make_folder, paint, ways
from PIL import Image

pytest.importorskip("pyarrow")

from saved_images import FEATURES, cell, pa, png, save, save_painted, save_splits
from small_runs import Outcome, Terminal

from dlzoo.commands import predict
from dlzoo.data.images import saved as saved_trees
from dlzoo.data.images.folder import ImageFolder
from dlzoo.errors import UserError

LABELS = [0, 1, 2] * 3


@ways
def test_the_same_images_as_in_a_folder(way: dict[str, Any], tmp_path: Path) -> None:
    paths = [save_painted(tmp_path / "saved"), make_folder(tmp_path / "folder")]
    saved, folder = (ImageFolder(path=path, size=8, **way) for path in paths)
    assert saved.declare() == folder.declare()
    for split in ("train", "val", "test"):
        rows, expected = saved.arrays(split), folder.arrays(split)
        assert [k for k, _ in ids(rows.x)] == rows.y.tolist()
        assert rows.y.bincount().tolist() == expected.y.bincount().tolist()
    everything = torch.cat([saved.arrays(split).x for split in ("train", "val", "test")])
    assert sorted(ids(everything)) == [(k, i) for k in range(3) for i in range(10)]


@ways
def test_splits(way: dict[str, Any], tmp_path: Path) -> None:
    data = ImageFolder(path=save_splits(tmp_path / "set", train=6, validation=2, test=3), size=8, **way)
    assert {split: data.arrays(split).y.bincount().tolist() for split in ("train", "val", "test")} == {
        "train": [6] * 3, "val": [2] * 3, "test": [3] * 3,
    }  # fmt: skip
    assert {i for _, i in ids(data.arrays("val").x)} == {0, 1}


def test_classes_keep_their_numbers(tmp_path: Path) -> None:
    features = {**FEATURES, "label": {"_type": "ClassLabel", "names": ["zebra", "a/b", "ape"]}}
    data = ImageFolder(path=save_painted(tmp_path / "set", features=features), size=8)
    assert data.declare().target.names == ("zebra", "a/b", "ape")
    rows = data.arrays("train")
    assert [k for k, _ in ids(rows.x)] == rows.y.tolist()


def test_an_image_is_the_same_in_any_row(tmp_path: Path) -> None:
    """A checkpoint is not tested on its training rows, even if they have another order now."""
    images = [cell(png(k, i)) for i in range(3) for k in range(3)]
    one = ImageFolder(path=save(tmp_path / "one", images, LABELS), size=8)
    other = ImageFolder(path=save(tmp_path / "other", images[::-1], LABELS[::-1]), size=8)
    rows = [
        np.sort(np.concatenate([data.ids_of(data.load(split)) for split in ("train", "test")])) for data in (one, other)
    ]  # type: ignore[arg-type]
    assert np.array_equal(*rows)
    assert len({*rows[0].tolist()}) == 9


def test_files_in_the_folder_may_be_named_in_place_of_bytes(tmp_path: Path) -> None:
    path = save(tmp_path / "set", [cell(path=f"pictures/{i}.png") for i in range(9)], LABELS)
    for i, k in enumerate(LABELS):
        paint(path / "pictures" / f"{i}.png", (80 * k, 10 * i, 0))
    rows = ImageFolder(path=path, size=8).arrays("train")
    assert [k for k, _ in ids(rows.x)] == rows.y.tolist()


@pytest.mark.parametrize("name", ["../secret.png", "{}/secret.png", "link.png", "http://127.0.0.1:9/a.png", "no.png"])
def test_files_elsewhere_are_not_read(name: str, tmp_path: Path) -> None:
    secret = paint(tmp_path / "secret.png", (1, 2, 3))
    named = name.format(tmp_path)
    path = save(tmp_path / "set", [cell(png(0, 0)), cell(path=named), *[cell(png(0, 1))] * 7], LABELS)
    (path / "link.png").symlink_to(secret)
    with (
        audited(tmp_path) as violations,
        pytest.raises(UserError, match=r"row 1 names the file .*(outside the folder|which is not in)"),
    ):
        ImageFolder(path=path, size=8).setup()
    assert violations == []


def test_a_program_is_not_run(tmp_path: Path) -> None:
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n%%EndComments\nshowpage\n"
    path = save(tmp_path / "set", [cell(program), *[cell(png(0, 0))] * 8], LABELS)
    with audited(tmp_path) as violations, pytest.raises(UserError, match=r"row 0000000 cannot be read as an image"):
        ImageFolder(path=path, size=8).setup()
    assert violations == []
    data = ImageFolder(path=path, size=8, on_error="skip")
    with pytest.warns(UserWarning, match="1 files skipped so far"):
        data.setup()


def compressed(folder: Path) -> Path:
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    return save(folder, [cell(png(0, 0) * 50)] * 9, LABELS, options=options)


def unpacks_to_more(folder: Path) -> Path:
    """Nothing of it is read, since pyarrow would unpack all columns."""
    zeros = pa.array([bytes(1_000_000)] * 9)
    batch = pa.RecordBatch.from_arrays(
        [pa.array([cell(png(0, 0))] * 9), pa.array(LABELS), zeros], ["image", "label", "z"]
    )
    save_painted(folder, 3)
    with pa.ipc.new_stream(
        folder / "data-00000-of-00002.arrow", batch.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")
    ) as stream:
        stream.write_batch(batch)
    return folder


def with_features(**changed: Any) -> Callable[[Path], Path]:
    def made(folder: Path) -> Path:
        features = {name: feature for name, feature in {**FEATURES, **changed}.items() if feature is not None}
        return save_painted(folder, features=features)

    return made


MISTAKES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a table": (with_features(image=None), "no column of images: if it is a table, use data=csv"),
    "two images": (with_features(source={"_type": "Image"}), "the columns of images image, source: keep one"),
    "no classes": (with_features(label={"_type": "Value"}), "class_encode_column"),
    "two columns of classes": (with_features(source=FEATURES["label"]), "the columns of classes label, source: keep"),
    "no names": (with_features(label={"_type": "ClassLabel"}), "column label has classes without names"),
    "one name twice": (
        with_features(label={"_type": "ClassLabel", "names": ["a", "a", "b"]}), "classes must have different names",
    ),
    "an empty name": (with_features(label={"_type": "ClassLabel", "names": ["", "a", "b"]}), "different names"),
    "a path as a name": (with_features(label={"_type": "ClassLabel", "names": ["/", "a", "b"]}), "different names"),
    "too few names": (with_features(label={"_type": "ClassLabel", "names": ["a"]}), "holds class 1, but names only 1"),
    "no such column": (with_features(image=None, picture={"_type": "Image"}), "cannot be read as a saved data set"),
    "compressed": (compressed, "is compressed"),
    "compressed in another column": (unpacks_to_more, r"data-00000-of-00002\.arrow is compressed"),
    "other bytes": (
        lambda folder: save(folder, [1] * 9, LABELS, image=pa.int64()), "column image contains int64, not images",
    ),
    "neither bytes nor path": (lambda folder: save(folder, [cell()] * 9, LABELS), "row 0 has no image"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake: str, tmp_path: Path) -> None:
    make, said = MISTAKES[mistake]
    with pytest.raises(UserError, match=said):
        ImageFolder(path=make(tmp_path / "set"), size=8).declare()


def test_damaged_files(tmp_path: Path) -> None:
    for i, change in enumerate((lambda _: b"", lambda content: content[:-400], lambda content: b"x" * len(content))):
        path = save_painted(tmp_path / f"{i}")
        file = path / "data-00001-of-00002.arrow"
        file.write_bytes(change(file.read_bytes()))
        with pytest.raises(UserError, match="cannot be read as a saved data set"):
            ImageFolder(path=path, size=8).declare()


def test_images_are_as_large_as_those_in_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_trees, "MAX_MEMBER_BYTES", 50)
    with pytest.raises(UserError, match="bytes, too many to read"):
        ImageFolder(path=save_painted(tmp_path / "set"), size=8).declare()


def test_rows_without_a_class_are_not_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [cell(png(k, i)) for i in range(4) for k in range(3)]
    data = ImageFolder(path=save(tmp_path / "set", images, [0, 1, 2] * 3 + [-1, None, -1]), size=8)
    data.setup()
    assert sum(data.arrays(split).num_rows for split in ("train", "val", "test")) == 9
    assert "skipped 3 images" in capsys.readouterr().err


def test_as_the_library_writes_it(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"picture": datasets.Image(), "kind": datasets.ClassLabel(names=[*CLASSES])})
    pairs = [(k, i) for k in range(3) for i in range(10)]
    pictures = [Image.open(io.BytesIO(png(k, i))) for k, i in pairs]
    rows = datasets.Dataset.from_dict({"picture": pictures, "kind": [k for k, _ in pairs]}, features=features)
    rows.train_test_split(0.3, stratify_by_column="kind").save_to_disk(tmp_path / "set")
    data = ImageFolder(path=tmp_path / "set", size=8)
    assert data.declare().target.names == CLASSES
    for split, num in {"train": 21, "test": 9}.items():
        x, y = data.arrays(split).x, data.arrays(split).y  # type: ignore[arg-type]
        assert [k for k, _ in ids(x)] == y.tolist()
        assert len(y) + data.arrays("val").num_rows * (split == "train") == num


def test_a_run_and_its_predictions(tmp_path: Path, train: Callable[..., Outcome], terminal: Terminal) -> None:
    path = save_splits(tmp_path / "set", train=6, test=2)
    words = ["model=mlp", "net.hidden=[8]", "data=image_folder", f"data.path={path}", "data.size=8", "trainer=smoke"]
    done = train(*words, "logger=none", "callbacks=checkpoint", f"hydra.run.dir={tmp_path / 'run'}")
    assert done.code == 0, done.err
    ckpt = f"ckpt={tmp_path / 'run' / 'checkpoints' / 'best.ckpt'}"
    unlabelled = save_painted(tmp_path / "new", 2, features={"image": FEATURES["image"]})
    predicted = terminal(predict.main, ckpt, f"input={unlabelled}")
    assert predicted.code == 0, predicted.err
    assert predicted.out.count("row 00000") == 6
