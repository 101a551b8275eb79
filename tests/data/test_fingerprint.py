"""What rows are known by: the same are known again, others are not, and no run is tested on rows it learned from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from changing_data import CHANGES, COMMON, READERS, call, first_rows, path_of, sentence, share_seen, write_csv
from photo_folders import CLASSES
from small_runs import changed

from dlzoo.checkpoint.load import load_task
from dlzoo.commands import evaluate, train
from dlzoo.config import compose as config
from dlzoo.data import fingerprint
from dlzoo.data.csv_reader import read_table
from dlzoo.data.fingerprint import SAMPLE_SIZE, from_plain, hash_pieces, hash_rows, hash_texts, of_rows
from dlzoo.data.images.digits import Digits
from dlzoo.data.images.folder import ImageFolder
from dlzoo.data.loaders import Arrays
from dlzoo.data.splits import holdout
from dlzoo.data.tables.encoding import encode
from dlzoo.errors import UserError
from dlzoo.specs.inputs import Column
from dlzoo.specs.targets import Classes
from dlzoo.specs.tokenizer import UNKNOWN
from dlzoo.training import run

every_reader = pytest.mark.parametrize("name", READERS)


def numbers(start: int, end: int) -> np.ndarray:
    """Ids of rows that hold the whole numbers from start to end."""
    return hash_rows(torch.arange(start, end))


def test_a_row_is_known_by_all_that_it_holds() -> None:
    x = torch.arange(12, dtype=torch.uint8).view(3, 2, 2)
    y = torch.tensor([0, 1, 0])
    ids = hash_rows(x, y)
    assert len({*ids.tolist()}) == 3
    assert (hash_rows(x.flip(0), y.flip(0)) == ids[::-1]).all()
    for other_x, other_y in ((x, y.flip(0).roll(1)), (x.transpose(1, 2), y)):
        assert (hash_rows(other_x, other_y) != ids).any()
    assert len(hash_rows(x[:0], y[:0])) == 0
    many = torch.arange(3 * fingerprint.CHUNK_ROWS + 5)
    assert len(np.unique(hash_rows(many))) == len(many)
    assert (hash_rows(many)[-7:] == hash_rows(many[-7:])).all()


def test_a_text_is_known_by_its_words_whatever_their_numbers() -> None:
    starts, labels = np.array([0, 2, 2, 3]), np.array([0, 1, 1])
    ids = hash_texts(["a", "b", "c"], np.array([0, 1, 2]), starts, labels)
    assert (hash_texts(["x", "c", "b", "a"], np.array([3, 2, 1]), starts, labels) == ids).all()
    assert (hash_texts(["a", "b", "c"], np.array([0, 1, 2]), starts, 1 - labels) != ids).all()


def test_a_running_text_is_known_again_behind_what_is_put_in_before_it() -> None:
    letters = [chr(97 + i) for i in range(26)]
    text = np.random.default_rng(0).integers(0, 26, 20_000)
    before, after = hash_pieces(letters, text), hash_pieces(letters, np.concatenate([[3, 5, 8], text]))
    assert len(before) > 300
    assert np.isin(after, before).mean() > 0.99
    text[10_000] = (text[10_000] + 1) % 26
    assert 0 < (~np.isin(hash_pieces(letters, text), before)).sum() < 20
    for short in range(12):
        assert len(hash_pieces(letters, text[:short])) == min(short, 1)


def test_blocks_of_a_running_text_are_cut_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    text = np.random.default_rng(0).integers(0, 4, 5000)
    whole = hash_pieces("abcd", text)
    monkeypatch.setattr(fingerprint, "BLOCK_TOKENS", 97)
    assert (hash_pieces("abcd", text) == whole).all()


@pytest.mark.parametrize("num", [100, 60_000])
def test_rows_that_were_seen_are_found_among_others(num: int) -> None:
    rows = of_rows(numbers(0, num), numbers(num, num + num // 10))
    assert rows.accepts_test(numbers(2 * num, 3 * num))
    assert rows.overlap(numbers(2 * num, 3 * num)).num_seen == 0
    for test in (numbers(0, num // 2), numbers(num, num + num // 10), numbers(num - num // 5, 2 * num)):
        assert rows.overlap(test).fraction == pytest.approx(np.isin(test, numbers(0, num + num // 10)).mean(), abs=0.05)
        assert not rows.accepts_test(test)
    assert len(rows.sample) == min(num + num // 10, SAMPLE_SIZE)


def test_rows_are_the_same_only_if_training_and_validation_are() -> None:
    rows = of_rows(numbers(0, 90), numbers(90, 100))
    assert rows.same_rows(of_rows(numbers(0, 90), numbers(90, 100)))
    assert not rows.same_rows(of_rows(numbers(0, 90), numbers(91, 101)))
    assert not rows.same_rows(of_rows(numbers(1, 91), numbers(90, 100)))
    assert not rows.same_rows(of_rows(numbers(0, 90)[::-1], numbers(90, 100)))
    assert not rows.same_rows(of_rows(numbers(0, 100), numbers(90, 100)))


def test_rows_that_repeat_by_themselves_are_no_reproach() -> None:
    """Of 10 binary digits there are 1024: a fair test holds sequences that were trained on."""
    draw = np.random.default_rng(0)
    train, val, test = (numbers(0, 1024)[draw.integers(0, 1024, n)] for n in (900, 100, 250))
    rows = of_rows(train, val)
    assert rows.overlap(test).fraction > 0.5
    assert rows.accepts_test(test, may_repeat=True)
    assert not rows.accepts_test(test)
    assert not rows.accepts_test(train, may_repeat=True)


def test_a_checkpoint_holds_it_as_plain_data() -> None:
    rows = of_rows(numbers(0, 300), numbers(300, 400))
    assert from_plain(rows.to_plain(), "x.ckpt") == rows
    assert from_plain(None, "x.ckpt") is None
    empty = of_rows(*Digits.__mro__[2].fit_ids(None))  # type: ignore[attr-defined]  # data without rows
    assert from_plain(empty.to_plain(), "x.ckpt") == empty
    assert empty.accepts_test(np.empty(0, np.uint64))


SPOILT = {
    "no dict": [1, 2],
    "no split": {"train": None},
    "sample of text": {"sample": ["a"]},
    "sample of floats": {"sample": [0.5]},
    "negative": {"sample": [-1]},
    "too large": {"sample": [2**64]},
    "not sorted": {"sample": [3, 2]},
    "too long": {"sample": list(range(SAMPLE_SIZE + 1))},
    "no sample": {"sample": 3},
    "rows": {"train": {"num_rows": "many", "digest": "x"}},
    "digest": {"train": {"num_rows": 3, "digest": 5}},
    "share": {"repeated": 2.0},
    "nan": {"repeated": float("nan")},
    "text": {"repeated": "x"},
}


@pytest.mark.parametrize("value", SPOILT.values(), ids=SPOILT.keys())
def test_what_is_none_is_refused(value: Any) -> None:
    rows = of_rows(numbers(0, 300), numbers(300, 400)).to_plain()
    with pytest.raises(UserError, match=r"ckpt=x.ckpt is damaged: it stores no valid fingerprint of its training rows"):
        from_plain(rows | value if isinstance(value, dict) else value, "x.ckpt")


@every_reader
def test_each_reader_knows_its_rows(name: str, tmp_path: Path) -> None:
    """Each change of the data is seen; the ids tell of a test what a comparison of the rows themselves does."""
    reader, path = READERS[name], path_of(name, tmp_path)
    rows = first_rows(reader)
    reader.write(path, rows)
    before = reader.build(path)
    known = before.fit_fingerprint()
    assert known == reader.build(path).fit_fingerprint()
    before.setup("fit")
    assert before.fit_fingerprint() == known  # whatever was asked for first
    assert known.overlap(before.test_ids()).num_seen == 0
    for change in CHANGES.values():
        reader.write(path, change(reader, rows))
        after = reader.build(path)
        same = name == "images" and sorted(change(reader, rows)) in (sorted(rows), sorted(rows * 2))
        assert known.same_rows(after.fit_fingerprint()) == same
        share = share_seen(reader, before, after)
        assert known.accepts_test(after.test_ids()) == (share <= fingerprint.MAX_OVERLAP)
        if name != "running text":  # of which a comparison takes other pieces
            assert known.overlap(after.test_ids()).fraction == pytest.approx(share)


def test_pictures_are_not_opened_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = READERS["images"]
    reader.write(tmp_path, first_rows(reader))
    known = reader.build(tmp_path).fit_fingerprint()
    opened = []
    monkeypatch.setattr("dlzoo.data.images.folder.read_images", lambda *args: opened.append(args))
    data = reader.build(tmp_path, placement="workers", num_workers=0)
    assert data.fit_fingerprint() == known
    assert len(data.test_ids()) == 24
    assert not opened


def test_a_picture_of_another_size_or_class_is_another(photos: Path) -> None:
    def ids() -> list[int]:
        return sorted(
            np.concatenate([*ImageFolder(path=photos).fit_ids(), ImageFolder(path=photos).test_ids()]).tolist()
        )

    before, file = ids(), photos / CLASSES[0] / "bild 1.png"
    file.write_bytes(file.read_bytes() + b"more")
    assert len({*before} & {*ids()}) == 29
    file.rename(photos / CLASSES[1] / "bild 100.png")
    moved = ids()
    (photos / CLASSES[1] / "bild 100.png").rename(photos / CLASSES[2] / "bild 100.png")
    assert len({*moved} & {*ids()}) == 29


def test_a_folder_may_lie_elsewhere_and_a_picture_that_went_to_the_test_is_known_again(tmp_path: Path) -> None:
    reader = READERS["images"]
    reader.write(tmp_path / "a" / "train", list(range(60)))
    reader.write(tmp_path / "a" / "test", list(range(60, 80)))
    known = reader.build(tmp_path / "a").fit_fingerprint()
    (tmp_path / "a").rename(tmp_path / "b")
    assert reader.build(tmp_path / "b").fit_fingerprint() == known
    reader.write(tmp_path / "b" / "test", list(range(10)))
    assert known.overlap(reader.build(tmp_path / "b").test_ids()).fraction == 1


def test_hashes_are_for_good() -> None:
    """Checkpoints hold them: another process, machine or version must find the same."""
    assert hash_rows(torch.arange(2)).tolist() == [8794265229978523055, 11979365913534242684]
    assert hash_texts(["a", "b"], np.array([1, 0]), np.array([0, 2]), np.array([1])).tolist() == [5849207749514863419]
    assert hash_pieces(["a", "b"], np.array([1, 0, 0])).tolist() == [400511630956234628]
    assert Digits().fit_fingerprint().train.digest == "f50186daf50067298fbbe300cf40cefc"


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on noise: rows.csv and run/."""
    folder, reader = tmp_path_factory.mktemp("noise"), READERS["table"]
    reader.write(folder / "rows.csv", first_rows(reader))
    words = [*reader.words(folder / "rows.csv"), *COMMON]
    run.run(config.compose(words), folder / "run", words)
    return folder


def best(noise: Path) -> Path:
    return noise / "run" / "checkpoints" / "best.ckpt"


@pytest.fixture
def grown(noise: Path, tmp_path: Path) -> Path:
    """The same file with ten rows more, under another name."""
    reader = READERS["table"]
    path = tmp_path / "grown.csv"
    reader.write(path, CHANGES["10 rows more"](reader, first_rows(reader)))
    return path


def test_a_grown_table_is_refused_when_a_run_is_continued(noise: Path, grown: Path, tmp_path: Path) -> None:
    words = (f"ckpt={best(noise)}", f"data.path={grown}", "trainer.max_epochs=3", f"hydra.run.dir={tmp_path / 'run'}")
    code, said = call(train.main, *words)
    assert code == 2, said
    for part in (
        "trained on 86 rows and validated on 10, and",
        "now gives 94 and 10",
        "grown.csv, previously ",
        "train again",
    ):
        assert part in said
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_grown_table_is_refused_when_a_checkpoint_is_evaluated(noise: Path, grown: Path) -> None:
    code, said = call(evaluate.main, f"ckpt={best(noise)}", f"data.path={grown}")
    assert code == 2, said
    assert "was trained or validated on 77% of these test rows" in said
    assert "Test it on unseen rows" in said
    code, said = call(evaluate.main, f"ckpt={best(noise)}", "json=true")
    assert code == 0, said
    assert "warning" not in said


def test_new_rows_are_evaluated(noise: Path, tmp_path: Path) -> None:
    reader = READERS["table"]
    reader.write(tmp_path / "new.csv", [reader.row(5000 + i) for i in range(100)])
    code, said = call(evaluate.main, f"ckpt={best(noise)}", f"data.path={tmp_path / 'new.csv'}")
    assert code == 0, said
    assert "warning" not in said
    reader.write(tmp_path / "new.csv", [reader.row(5000 + i) for i in range(10)])
    code, said = call(evaluate.main, f"ckpt={best(noise)}", f"data.test_path={tmp_path / 'new.csv'}")
    assert code == 0, said
    code, said = call(evaluate.main, f"ckpt={best(noise)}", f"data.test_path={noise / 'rows.csv'}")
    assert code == 2
    assert "trained or validated on 80% of these test rows" in said


@pytest.mark.parametrize("word", ["data.val_fraction=0.3", "seed=1", "data.seed=1", "data.test_seed=1",
                                  "data.train_on_val=true", "data.test_fraction=0.4", "data.standardize=false",
                                  "data.drop=[a]"])  # fmt: skip
def test_options_that_change_the_split_or_what_is_fitted_are_refused(word: str, noise: Path, tmp_path: Path) -> None:
    words = (f"ckpt={best(noise)}", "trainer.max_epochs=3", f"hydra.run.dir={tmp_path / 'run'}", word)
    code, said = call(train.main, *words)
    assert code == 2, said
    assert "cannot be resumed: it" in said
    key, value = word.split("=")
    changed_to = {"true": True, "false": False, "[a]": ["a"]}.get(value, value)
    assert f"data.{key.removeprefix('data.')}={changed_to}, previously " in said


def test_a_checkpoint_from_before_is_taken_with_a_warning(noise: Path, tmp_path: Path) -> None:
    old = changed(best(noise), tmp_path / "old.ckpt", lambda content: content["dlzoo"].pop("rows"))
    code, said = call(evaluate.main, f"ckpt={old}")
    assert code == 0, said
    assert "stores no fingerprint of its rows" in said
    code, said = call(train.main, f"ckpt={old}", "trainer.max_epochs=3", f"hydra.run.dir={tmp_path / 'run'}")
    assert code == 0, said
    assert said.count("cannot check that") == 1


@pytest.mark.filterwarnings("always:column town")
def test_a_table_is_tested_with_what_was_fitted_in_training(tmp_path: Path) -> None:
    """Categories, fill values, mean, deviation and classes are the checkpoint's, whatever other rows would give."""
    towns, other = ["Ulm", "Bonn", ""], ["Ulm", "Rom", "Oslo"]
    for name, names, scale in (("rows", towns, 1), ("new", other, 50)):
        rows = [[f"{scale * i}.5" if i % 7 else "", names[i % 3], "ab"[i % 2]] for i in range(60)]
        write_csv(tmp_path / f"{name}.csv", ["size", "town", "label"], rows)
    words = ["model=mlp", "net.hidden=[8]", "data=csv", f"data.path={tmp_path / 'rows.csv'}", "data.target=label"]
    words += [*COMMON, "data.missing=impute"]
    run.run(config.compose(words), tmp_path / "run", words)
    ckpt = tmp_path / "run" / "checkpoints" / "best.ckpt"
    told = ["data.missing=refuse", "data.test_fraction=0.9", "json=true"]
    code, said = call(evaluate.main, f"ckpt={ckpt}", f"data.path={tmp_path / 'new.csv'}", *told)
    assert code == 0, said
    assert "column town: 'Oslo', 'Rom' not in the training rows" in said
    task, _ = load_task(ckpt)
    assert task.spec.columns[1] == Column("town", categories=("Bonn", "Ulm"), fill=task.spec.columns[1].fill)  # type: ignore[union-attr]
    frame = read_table(tmp_path / "new.csv")
    labels = torch.tensor([["a", "b"].index(label) for label in frame["label"]])
    _, test = holdout(Arrays(labels, labels), Classes(("a", "b")), 0.9, seed=0)
    with pytest.warns(UserWarning, match="not in the training rows"), torch.no_grad():
        right = task(encode(frame, task.spec.columns)).argmax(1) == labels  # type: ignore[union-attr]
    assert json.loads(said[said.index("{") :])["metrics"]["test/accuracy"] == pytest.approx(right[test].float().mean())


def test_texts_are_tested_with_the_vocabulary_and_the_classes_of_training(tmp_path: Path) -> None:
    for name, extra in (("rows", ""), ("new", "never seen words ")):
        rows = [[extra + sentence(i + 900 * len(extra)), ["no", "yes"][i % 2]] for i in range(60)]
        write_csv(tmp_path / f"{name}.csv", ["text", "label"], rows)
    build = READERS["texts"].build
    trained = build(tmp_path / "rows.csv")
    trained.setup("fit")
    data = build(tmp_path / "new.csv")
    data.adopt(trained.spec)
    test = data.arrays("test")  # type: ignore[attr-defined]
    first = test.tokens[: test.starts[1]].tolist()
    assert first == trained.spec.encode(data.texts("test")[0])  # type: ignore[attr-defined, union-attr]
    assert first[:3] == [UNKNOWN] * 3
    assert data.spec == trained.spec
    rows[3][1] = "perhaps"
    write_csv(tmp_path / "new.csv", ["text", "label"], rows)
    data = build(tmp_path / "new.csv")
    data.adopt(trained.spec)
    with pytest.raises(UserError, match=r"row 4 has the label 'perhaps' in label, .*; their labels are: no, yes"):
        data.setup("test")


@pytest.mark.parametrize("name", ["table", "texts", "images"])
def test_other_training_rows_do_not_change_the_figures_of_the_same_test_rows(name: str, tmp_path: Path) -> None:
    """Means, deviations, vocabularies and categories are the checkpoint's: nothing is fitted anew."""
    reader, is_folder = READERS[name], name == "images"
    train_name, test_name = ("train", "test") if is_folder else ("rows.csv", "test.csv")
    for folder, start in (("a", 0), ("b", 700)):
        (tmp_path / folder).mkdir()
        for part, first, num in ((train_name, start, 60), (test_name, 400, 20)):
            reader.write(tmp_path / folder / part, [reader.row(first + i) for i in range(num)])
    paths = {folder: tmp_path / folder / ("" if is_folder else "rows.csv") for folder in ("a", "b")}
    words = [*reader.words(paths["a"]), *COMMON]
    words += [] if name == "texts" else ["data.standardize=true"]
    words += [] if is_folder else [f"data.test_path={tmp_path / 'a' / 'test.csv'}"]
    metrics = run.run(config.compose(words), tmp_path / "run", words)["metrics"]
    ckpt = tmp_path / "run" / "checkpoints" / "best.ckpt"
    code, said = call(evaluate.main, f"ckpt={ckpt}", f"data.path={paths['b']}", "json=true")
    assert code == 0, said
    found = json.loads(said[said.index("{") :])["metrics"]
    assert found == {key: value for key, value in metrics.items() if key.startswith("test/")}
    assert found
