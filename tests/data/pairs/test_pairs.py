"""Pairs of texts: files that are read or refused, splits without a shared sentence, vocabularies of training rows."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from text_stand_ins import write_pairs

from dlzoo.config import compose as config
from dlzoo.config import instantiate as build
from dlzoo.data.pairs.digits import DigitSequences
from dlzoo.data.pairs.files import TextPairs, parse, sentence_key
from dlzoo.data.pairs.loaders import PairLoader
from dlzoo.data.pairs.spa_eng import SpaEng
from dlzoo.data.splits import holdout_groups
from dlzoo.errors import UserError
from dlzoo.specs.token_sequences import END, TARGET_SPECIAL
from dlzoo.specs.tokenizer import PAD, SPECIAL, UNKNOWN

GOOD = "".join(f"The cat {i} sat.\tEl gato {i} se sentó.\n" for i in range(60))


def pairs(folder: Path, content: str | bytes = GOOD, **options: Any) -> TextPairs:
    path = folder / "pairs.tsv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return TextPairs(path=str(path), **options)


# files


def test_pairs_are_read_as_they_stand(tmp_path: Path) -> None:
    content = f"\ufeff{GOOD}\r\n\n   \nGo!\t¡Ve!\r\n"  # a byte order mark, blank lines, line ends of Windows
    table = pairs(tmp_path, content).table()
    assert len(table.sources) == 61
    assert (table.sources[0], table.targets[0]) == ("The cat 0 sat.", "El gato 0 se sentó.")
    assert (table.sources[-1], table.targets[-1]) == ("Go!", "¡Ve!")


def test_columns_may_be_swapped_and_others_are_ignored(tmp_path: Path) -> None:
    content = "".join(f"{i}\tone {i}\tuno {i}\tCC-BY 2.0\n" for i in range(40))
    table = pairs(tmp_path, content, source=3, target=2).table()
    assert (table.sources[1], table.targets[1]) == ("uno 1", "one 1")


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("Go. Ve.\n", {}, r"pairs\.tsv, line 1 has no tab between the two sentences: 'Go\. Ve\.'"),
        (GOOD + "Go. Ve.\n", {}, r"pairs\.tsv, line 61 has 1 columns, but line 1 has 2: 'Go\. Ve\.'; one pair a line"),
        (
            GOOD + "\n\nA\tb\tc\n",
            {},
            r"line 63 has 3 columns, but line 1 has 2: 'A\\tb\\tc'; .* no tab within a sentence",
        ),
        (GOOD + "Go.\t \n", {}, r"line 61: the target is empty: .*data\.missing=drop"),
        (GOOD + "\tVe.\n", {}, r"line 61: the source is empty: .*data\.missing=drop"),
        (GOOD, {"target": 3}, r"data\.target=3: .*pairs\.tsv, line 1 has only 2 columns"),
        (GOOD, {"source": 2}, r"data\.source=2 and data\.target=2 must be different columns"),
        ("\n \n", {}, "contains no pair of sentences"),
        ("", {}, "contains no pair of sentences"),
        (GOOD.encode("latin-1"), {}, r"is not utf-8 text \(line 1, byte .*\); set data\.encoding=latin-1"),
        (
            GOOD.encode() + "día\tday\n".encode("latin-1"),
            {},
            r"mixes encodings \(line 61, byte .* save it all as utf-8",
        ),
        (GOOD.encode() + b"a\0\tb\n", {}, "contains a null byte in line 61"),
        (
            GOOD,
            {"max_length": 1},
            r"data\.max_length=1 leaves no pair for train: raise it; the longest side has 6 tokens",
        ),
        (GOOD, {"max_vocab": 4}, r"no token of the targets in the training rows is left"),
        (GOOD, {"level": "bpe"}, r"data\.level=bpe needs data\.max_vocab"),
        (GOOD, {"level": "bpe", "max_vocab": 9}, r"data\.max_vocab is too small: the training texts have"),
        (GOOD, {"val_last": True}, r"data\.val_last=True would be ignored"),
        (GOOD, {"train_per_class": 3}, r"data\.train_per_class=3 would be ignored"),
        ("a\tb\n" * 9, {}, r"rows cannot be held out: pairs that share a sentence .* groups of up to 9 rows here"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    content: str | bytes, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        pairs(tmp_path, content, **options).setup()


def test_lines_without_a_side_can_be_dropped(tmp_path: Path) -> None:
    data = pairs(tmp_path, GOOD + "\tVe.\nGo.\t\n", missing="drop")
    data.setup()
    assert len(data.table().sources) == 60
    assert data.notes() == ["pairs.tsv: 2 lines without a sentence on one side are dropped"]


def test_long_pairs_are_left_out_and_counted(tmp_path: Path) -> None:
    data = pairs(tmp_path, GOOD + f"{'so ' * 30}far\tlejos\nnear\t{'muy ' * 30}cerca\n", max_length=10)
    data.setup()
    assert data.notes() == ["2 of 62 pairs have more than 10 tokens on a side and are left out (data.max_length)"]
    assert sum(len(data.texts(split).sources) for split in ("train", "val", "test")) == 60


# splits


def test_no_sentence_of_either_side_stands_in_two_splits(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    numbers = torch.randint(0, 90, (300, 2), generator=draw).tolist()
    marks = (".", "!", "")
    content = "".join(
        f"Say {i}{marks[k % 3]}\tDi {'A' if k % 2 else 'a'} {j}\n" for k, (i, j) in enumerate(numbers[:100])
    )
    data = pairs(tmp_path, content)
    data.setup()
    keys = {s: [{*map(sentence_key, side)} for side in data.texts(s)] for s in ("train", "val", "test")}
    for side in (0, 1):
        sets = [keys[split][side] for split in keys]
        assert sum(map(len, sets)) == len(set().union(*sets))
    assert sum(len(data.texts(split).sources) for split in keys) == 100
    assert all(len(data.texts(split).sources) > 3 for split in keys)
    again = pairs(tmp_path, content, seed=1)
    again.setup()
    assert again.texts("test") == data.texts("test"), "whatever the run's seed"
    assert again.texts("val") != data.texts("val")


def test_groups_are_held_out_whole() -> None:
    groups = torch.tensor([0] * 50 + [1] * 3 + [2] * 3 + [5, 6, 7, 8])
    kept, held = holdout_groups(groups, 5, seed=0, rule="")
    assert sorted([*kept.tolist(), *held.tolist()]) == [*range(60)]
    assert not {*groups[kept].tolist()} & {*groups[held].tolist()}
    assert len(held) == 5
    assert 0 not in held, "a group larger than the split is kept"
    with pytest.raises(UserError, match="cannot be held out"):
        holdout_groups(torch.zeros(9, dtype=torch.long), 0.5, seed=0, rule="")


# tokens


def test_vocabularies_are_those_of_the_training_rows(tmp_path: Path) -> None:
    data = pairs(tmp_path)
    data.setup()
    target = data.spec.target.token_sequences
    assert target is not None
    texts = data.texts("train")
    words = [{w for text in side for w in data.tokenizer.splitter()(text)} for side in texts]
    assert {*data.spec.vocabulary} == {*SPECIAL, *words[0]}
    assert {*target.vocabulary} == {*TARGET_SPECIAL, *words[1]}
    for split in ("train", "test"):
        for row, (source, written) in enumerate(zip(*data.texts(split), strict=True)):
            one = torch.tensor([row])
            assert data.arrays(split).sources.padded(one)[0].tolist() == data.spec.encode(source)
            assert data.arrays(split).targets.padded(one)[0].tolist() == target.encode(written)
    unknown = data.spec.encode("The dog 雪 sat.")
    assert unknown.count(UNKNOWN) == 2, "an unknown character is an unknown token"


@pytest.mark.parametrize("is_shared", [False, True])
def test_pieces_of_words(tmp_path: Path, is_shared: bool) -> None:
    data = pairs(tmp_path, level="bpe", max_vocab=40, shared_vocabulary=is_shared)
    data.setup()
    target = data.spec.target.token_sequences
    assert target is not None
    assert len(data.spec.vocabulary) <= 40
    assert len(target.vocabulary) <= 40
    assert (data.spec.vocabulary == target.vocabulary) == is_shared
    for split in ("train", "val"):
        for row, (source, written) in enumerate(zip(*data.texts(split), strict=True)):
            one = torch.tensor([row])
            assert data.arrays(split).sources.padded(one)[0].tolist() == data.spec.encode(source)
            ids = data.arrays(split).targets.padded(one)[0].tolist()
            assert ids == target.encode(written)
            assert UNKNOWN in ids or target.decode(ids) == written.lower()


def test_evaluation_encodes_with_the_vocabulary_of_the_checkpoint(tmp_path: Path) -> None:
    data, other = pairs(tmp_path), None
    data.setup()
    other = pairs(tmp_path, "".join(f"The dog {i} ran.\tEl perro {i} corrió.\n" for i in range(40)))
    other.adopt(data.spec)
    other.setup()
    assert other.spec is data.spec
    assert data.spec.difference(other.declare()) is None
    assert data.spec.difference(pairs(tmp_path, level="char").declare()) is not None
    assert data.spec.difference(pairs(tmp_path, max_length=7).declare()) is not None


# batches


def test_batches_hold_each_pair_once_and_are_weighted_by_tokens(tmp_path: Path) -> None:
    data = DigitSequences(num_samples=300, max_digits=4, test_max_digits=6)
    arrays = data.arrays("train")
    loader = PairLoader(arrays, 32, shuffle=True)
    seen = []
    for i, (x, y, _) in enumerate(loader):
        assert loader.batch_sizes[i] == int((y != PAD).sum())
        assert loader.rank_weights[i] == 1.0
        assert loader.positions(i)[1] == len(x)
        for source, written in zip(x.tolist(), y.tolist(), strict=True):
            text = data.spec.decode([token for token in source if token != PAD])
            assert written[: written.index(END) + 1] == data.spec.target.encode(text[::-1])  # type: ignore[attr-defined]
            seen.append(text)
    assert sorted(seen) == sorted(data.texts("train").sources)
    ends = [y.shape[1] for _, y, _ in loader]
    assert max(ends) - min(ends) >= 2, "batches of similar lengths"


# digits


@pytest.mark.parametrize(("operation", "source", "target"), [("reverse", "102", "201"), ("sort", "301", "013")])
def test_the_rule_of_each_operation(operation: Any, source: str, target: str) -> None:
    from dlzoo.data.pairs.digits import ANSWERS

    assert ANSWERS[operation](source) == target
    assert ANSWERS["sum"]("95+17") == "112"


@pytest.mark.parametrize("operation", ["reverse", "sort", "sum"])
def test_digits_are_new_in_the_test_and_half_of_them_longer(operation: Any) -> None:
    data = DigitSequences(operation=operation, num_samples=500, test_max_digits=12)
    data.setup()
    train, val, test = (data.texts(split).sources for split in ("train", "val", "test"))
    assert len({*train, *val, *test}) == 500 + 2 * 50
    longest = max(map(len, (*train, *val)))
    assert [len(source) > longest for source in test] == [False] * 50 + [True] * 50
    target = data.spec.target.token_sequences
    assert target is not None
    assert target.longest_input == max(map(len, train))
    assert not target.is_text
    again = DigitSequences(operation=operation, num_samples=500, test_max_digits=12, seed=7)
    assert again.texts("test") == data.texts("test")
    assert DigitSequences(operation=operation, num_samples=500, test_max_digits=12).table() == data.table()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"operation": "product"}, r"data\.operation=product is unknown; choose from: reverse, sort, sum"),
        ({"min_digits": 5, "max_digits": 4}, r"must ascend"),
        ({"max_digits": 15}, r"must ascend, the last two strictly"),
        ({"min_digits": 0}, r"data\.min_digits=0 is too small"),
        ({"max_digits": 2, "min_digits": 2}, r"data\.num_samples=20000: there are too few different inputs of 2 to 2"),
        ({"num_samples": 10**9}, "are too large: generated data have at most"),
    ],
)
def test_digits_that_cannot_be_drawn(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DigitSequences(**options).setup()


# published pairs


def test_published_pairs_in_both_directions_and_from_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pairs(tmp_path, 100, monkeypatch)
    one, other = (SpaEng(source=a, target=3 - a, data_dir=tmp_path).table() for a in (2, 1))
    assert (one.sources, one.targets) == (other.targets, other.sources)
    file = tmp_path / SpaEng.folder / SpaEng.file
    with zipfile.ZipFile(tmp_path / SpaEng.archive, "w") as archive:
        archive.write(file, f"{SpaEng.folder}/{SpaEng.file}")
    file.unlink()
    assert SpaEng(source=2, target=1, data_dir=tmp_path).table() == one
    monkeypatch.setattr(SpaEng, "sha256", "0" * 64)
    with pytest.raises(UserError, match=r"spa-eng\.zip is damaged: its checksum does not match"):
        SpaEng(source=2, target=1, data_dir=tmp_path).table()
    with pytest.raises(UserError, match="must be 1 \\(English\\) and 2"):
        SpaEng(source=1, target=1, data_dir=tmp_path)
    (tmp_path / SpaEng.archive).write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"spa-eng\.zip is damaged"):
        SpaEng(source=2, target=1, data_dir=tmp_path).table()
    (tmp_path / SpaEng.archive).unlink()
    with pytest.raises(UserError, match=r"spa-eng/spa\.txt is not in .*: call prepare_data\(\) first"):
        SpaEng(source=2, target=1, data_dir=tmp_path).table()


@pytest.mark.realdata
def test_tatoeba_as_published(real_data_dir: Path) -> None:
    cfg = config.compose(["data=spa_eng", "model=transformer", f"data_dir={real_data_dir}"])
    data = build.build_data(cfg.data)
    data.prepare_data()
    data.setup()
    assert isinstance(data, SpaEng)
    assert len(data.table().sources) == 118_964
    assert data.table().targets[0] == "Go."
    sizes = [data.arrays(split).num_rows for split in ("train", "val", "test")]  # type: ignore[arg-type]
    assert sum(sizes) == 118_964 - 342
    assert abs(sizes[2] - 11_896) < 60


def test_a_line_of_a_published_file_is_a_pair() -> None:
    table, num_dropped = parse("a b\tc\n", (2, 1), "f")
    assert (table.sources, table.targets, num_dropped) == (["c"], ["a b"], 0)
