"""The classic tables: their columns, choices, splits and statistics; California housing from files of its form."""

import functools
import http.server
import io
import re
import shutil
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import _california_housing, fetch_california_housing, load_iris, load_wine

from dlzoo.data.tables.base import TableData
from dlzoo.data.tables.encoding import as_text, encode
from dlzoo.data.tables.published import CaliforniaHousing, Iris, Wine
from dlzoo.errors import UserError
from dlzoo.specs.inputs import Column
from dlzoo.specs.targets import Values

SOURCES = {Iris: load_iris, Wine: load_wine}
tables = pytest.mark.parametrize("table", SOURCES)


@tables
def test_all_rows_in_three_disjoint_splits(table: type[Iris | Wine]) -> None:
    source = SOURCES[table]()
    data = table(test_fraction=0.25)
    rows = [data.arrays(split) for split in ("train", "val", "test")]  # type: ignore[arg-type]
    assert rows[2].num_rows == round(0.25 * len(source.data))
    ours = torch.cat([torch.cat([r.x, r.y[:, None].float()], 1) for r in rows]).numpy()
    theirs = np.column_stack([source.data, source.target]).astype(np.float32)
    assert np.array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)])


@tables
def test_names_are_scikit_learns(table: type[Iris | Wine]) -> None:
    source = SOURCES[table]()
    plain = [re.sub(r" \(cm\)", "", name).replace(" ", "_") for name in source.feature_names]
    assert [column.name for column in table.columns] == plain
    assert list(table.class_names) == source.target_names.tolist()


def test_features_by_name_or_number_in_the_order_given() -> None:
    data = Iris(features=["petal_width", 0])
    assert data.declare().columns == (Column("petal_width", "cm"), Column("sepal_length", "cm"))
    assert torch.equal(data.table().x, torch.from_numpy(load_iris().data[:, [3, 0]]).float())


def test_one_class_against_the_rest() -> None:
    data = Iris(positive="virginica")
    assert data.declare().target.names == ("not virginica", "virginica")
    assert data.table().y.tolist() == [0] * 100 + [1] * 50


@tables
def test_the_test_rows_follow_test_seed_and_not_seed(table: type[Iris | Wine]) -> None:
    first = table(seed=1)
    assert torch.equal(first.arrays("test").x, table(seed=2).arrays("test").x)
    assert not torch.equal(first.arrays("val").x, table(seed=2).arrays("val").x)
    assert not torch.equal(first.arrays("test").x, table(test_seed=1).arrays("test").x)


@tables
def test_statistics_are_those_of_the_training_rows(table: type[Iris | Wine]) -> None:
    data = table(standardize=True)
    x = data.arrays("train").x.double()
    assert data.spec.mean == pytest.approx(x.mean(0).tolist())
    assert data.spec.std == pytest.approx(x.std(0, correction=0).tolist())
    assert data.spec.columns == data.declare().columns
    assert table().declare().mean == ()


@tables
def test_encode_gives_the_training_features(table: type[Iris | Wine]) -> None:
    data = table(features=[2, 0])
    names = [column.name for column in table.columns]
    frame = pd.DataFrame(SOURCES[table]().data, columns=names)
    assert torch.equal(encode(frame, data.declare().columns), data.table().x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": ["petal_lenght"]}, "data.features=petal_lenght: .* did you mean 'petal_length'"),
        ({"features": [4]}, "data.features=4: .* indices from 0 to 3"),
        ({"features": [-1]}, "data.features=-1"),
        ({"features": []}, r"data.features=\[\]"),
        ({"features": ["petal_width", 3]}, "and none twice"),
        ({"positive": "setossa"}, "data.positive=setossa: .* did you mean 'setosa'"),
        ({"test_fraction": 0.0}, "data.test_fraction=0.0"),
    ],
)
def test_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Iris(**options)


def test_text_of_numbers() -> None:
    values = pd.Series([3, 3.0, np.float32(3), 3.5, True, " x ", None], dtype=object)
    assert as_text(values).tolist()[:6] == ["3", "3", "3", "3.5", "True", "x"]
    assert as_text(values).isna().tolist()[6]


# California housing


class Small(CaliforniaHousing):
    num_rows = 50


def small_table() -> np.ndarray:
    """Columns as in the file: longitude, latitude, age, rooms, bedrooms, people, households, income, value."""
    rng = np.random.default_rng(0)
    low = np.array([-124, 32, 1, 10, 5, 20, 5, 0.5, 15_000])
    return rng.uniform(low, low + np.array([10, 9, 50, 5000, 900, 3000, 900, 14, 485_000]), (50, 9)).round(4)


def write_archive(path: Path, table: np.ndarray) -> None:
    text = io.BytesIO()
    np.savetxt(text, table, delimiter=",", fmt="%.6f")
    member = tarfile.TarInfo("CaliforniaHousing/cal_housing.data")
    member.size = text.tell()
    text.seek(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(member, text)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "published" / "cal_housing.tgz"
    write_archive(path, small_table())
    return path


def test_california_is_read_as_scikit_learn_reads_it(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = shutil.copy(archive, archive.parent / "copy.tgz")  # it deletes what it downloaded
    monkeypatch.setattr(_california_housing, "_fetch_remote", lambda *args, **options: copy)
    theirs = fetch_california_housing(data_home=str(archive.parent / "home"))
    data = Small(data_dir=archive.parent, standardize=True)
    assert torch.equal(data.table().x, torch.from_numpy(theirs.data).float())
    assert torch.equal(data.table().y, torch.from_numpy(theirs.target).float()[:, None])
    assert [column.name for column in data.columns] == theirs.feature_names
    data.setup()
    assert [data.arrays(split).num_rows for split in ("train", "val", "test")] == [36, 4, 10]  # type: ignore[arg-type]
    assert data.declare().target == Values(("MedHouseVal",), ("100,000 $",))


@pytest.mark.parametrize("place", ["cal_housing.data", "CaliforniaHousing/cal_housing.data"])
def test_california_unpacked(tmp_path: Path, place: str) -> None:
    (tmp_path / "CaliforniaHousing").mkdir()
    np.savetxt(tmp_path / place, small_table(), delimiter=",")
    data = Small(data_dir=tmp_path)
    data.prepare_data()
    longitude = torch.from_numpy(small_table()[:, 0]).float()
    assert torch.allclose(data.table().x[:, 7], longitude)


def test_california_number_of_rows_and_damage(archive: Path) -> None:
    with pytest.raises(UserError, match=r"cal_housing.tgz is damaged: it contains a table of shape \(50, 9\)"):
        CaliforniaHousing(data_dir=archive.parent).setup()
    whole = archive.read_bytes()
    for broken in (whole[:-200], b"<html>", whole[:300] + bytes(20) + whole[320:]):
        archive.write_bytes(broken)
        with pytest.raises(UserError, match=r"cal_housing.tgz is damaged"):
            Small(data_dir=archive.parent).setup()


@pytest.fixture
def server(archive: Path) -> Iterator[str]:
    """A site that knows the archive by a number, as figshare does."""
    shutil.copy(archive, archive.parent / "5976036")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(archive.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{site.server_port}/5976036#"
        site.shutdown()


def test_california_is_downloaded_once_and_checked(server: str, tmp_path: Path, archive: Path) -> None:
    import hashlib

    class Published(Small):
        sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()

    with pytest.raises(UserError, match="a wrong checksum"):
        Small(data_dir=tmp_path / "data", mirrors=server).prepare_data()
    data = Published(data_dir=tmp_path / "data", mirrors=server)
    data.prepare_data()
    assert (tmp_path / "data" / "CaliforniaHousing" / "cal_housing.tgz").read_bytes() == archive.read_bytes()
    data.mirrors = ()
    data.prepare_data()
    assert data.arrays("train").num_rows == 36


def test_california_offline_says_what_to_do(tmp_path: Path) -> None:
    data = CaliforniaHousing(data_dir=tmp_path, mirrors="http://127.0.0.1:9")
    assert data.declare().num_features == 8
    with pytest.raises(UserError, match=r"cal_housing.tgz could not .*CaliforniaHousing yourself.*data=wine"):
        data.prepare_data()
    with pytest.raises(UserError, match="prepare_data"):
        data.setup()


def test_california_names_scikit_learns_file() -> None:
    assert CaliforniaHousing.sha256 == _california_housing.ARCHIVE.checksum
    assert CaliforniaHousing.default_mirrors == (_california_housing.ARCHIVE.url + "#",)


@pytest.mark.realdata
def test_california_real(real_data_dir: Path) -> None:
    data = CaliforniaHousing(data_dir=real_data_dir, standardize=True)
    if data._file() is None:
        pytest.skip(f"no cal_housing.tgz in {real_data_dir}")
    data.setup()
    assert data.arrays("train").num_rows + data.arrays("val").num_rows + data.arrays("test").num_rows == 20_640
    assert data.table().y.max().item() == pytest.approx(5.00001)


def test_every_table_is_declared_before_its_files_are_there() -> None:
    for table in (Iris, Wine, CaliforniaHousing):
        assert issubclass(table, TableData)
        assert table().declare().num_features == len(table.columns)
