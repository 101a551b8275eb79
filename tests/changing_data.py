"""Data of each kind that a user may change between two commands, as lists of rows, with labels that are noise."""

from __future__ import annotations

import csv
import random
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dlzoo.data.base import DataModule
from dlzoo.data.images.folder import ImageFolder
from dlzoo.data.series.csv import CsvSeries
from dlzoo.data.tables.csv import CsvTable
from dlzoo.data.text.csv import TextCsv
from dlzoo.data.text.stream import TextFile

Rows = list[Any]
WORDS = [f"{a}{b}" for a in ("ba", "ku", "lo", "mi", "ne") for b in "abcdefghij"]
COMMON = ["trainer=cpu", "trainer.max_epochs=2", "callbacks=checkpoint", "logger=none"]


@dataclass(frozen=True)
class Reader:
    """A way to read a user's own data.

    ``row(i)``: a row that is like no other; ``write(path, rows)``; ``build(path, **options)``; ``words(path)`` of the
    command line; ``holds(data, split)``: what a split holds, as things that can be found again in another split.
    """

    row: Callable[[int], Any]
    write: Callable[[Path, Rows], None]
    build: Callable[..., DataModule]
    words: Callable[[Path], list[str]]
    holds: Callable[[Any, Any], list[Any]]
    num_rows: int = 120


def table_row(i: int) -> list[Any]:
    draw = random.Random(i)
    return [*(round(draw.gauss(0, 1), 4) for _ in range(6)), draw.choice(["no", "yes"])]


def write_csv(path: Path, header: Sequence[str], rows: Rows) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def write_images(path: Path, rows: Rows) -> None:
    """Each row is a picture with a name of its own; what is there already and is no row is removed."""
    wanted = {}
    for i in rows:
        draw = random.Random(i)
        wanted[path / draw.choice(["cat", "dog"]) / f"{i:04}.png"] = draw.randbytes(6 * 6 * 3)
    for file in path.rglob("*.png"):
        if file not in wanted:
            file.unlink()
    for file, content in wanted.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.frombuffer(content, np.uint8).reshape(6, 6, 3)).save(file)


def sentence(i: int) -> str:
    draw = random.Random(i)
    return " ".join(draw.choices(WORDS, k=12))


def pieces_of(data: TextFile, split: str) -> list[tuple[int, ...]]:
    """All that stands next to each other, 30 characters at once."""
    tokens = [data.spec.vocabulary[i] for i in data.arrays(split).tolist()]  # type: ignore[union-attr, arg-type]
    return [tuple(tokens[i : i + 30]) for i in range(len(tokens) - 29)]  # type: ignore[misc]


def steps_of(data: CsvSeries, split: str) -> list[tuple[float, ...]]:
    """Each step with the three before it."""
    values, horizon = data.whole.values[:, 0].tolist(), data.declare().horizon
    steps = [tuple(values[max(i - 3, 0) : i + 1]) for i in range(len(values))]
    return {"train": steps[: -2 * horizon], "val": steps[-2 * horizon : -horizon], "test": steps[-horizon:]}[split]


READERS = {
    "table": Reader(
        table_row,
        lambda path, rows: write_csv(path, [*"abcdef", "label"], rows),
        lambda path, **options: CsvTable(path=str(path), target="label", **options),
        lambda path: ["model=mlp", "net.hidden=[64]", "data=csv", f"data.path={path}", "data.target=label"],
        lambda data, split: [tuple(row) for row in data.arrays(split).x.tolist()],
    ),
    "images": Reader(
        lambda i: i,
        write_images,
        lambda path, **options: ImageFolder(path=path, size=6, **options),
        lambda path: ["model=mlp", "net.hidden=[8]", "data=image_folder", f"data.path={path}", "data.size=6"],
        lambda data, split: [x.numpy().tobytes() for x in data.arrays(split).x],
    ),
    "texts": Reader(
        lambda i: [sentence(i), random.Random(i).choice(["no", "yes"])],
        lambda path, rows: write_csv(path, ["text", "label"], rows),
        lambda path, **options: TextCsv(path=str(path), text="text", target="label", **options),
        lambda path: ["model=text_cnn", "data=text_csv", f"data.path={path}", "data.text=text", "data.target=label"],
        lambda data, split: data.texts(split),
    ),
    "running text": Reader(
        sentence,
        lambda path, rows: path.write_text("\n".join(rows)) and None,
        lambda path, **options: TextFile(path=str(path), **options),
        lambda path: ["model=char_rnn", "net.num_units=8", "data=text_file", f"data.path={path}"],
        pieces_of,
        num_rows=300,
    ),
    "series": Reader(
        lambda i: round(random.Random(i).gauss(10, 1), 5),
        lambda path, rows: write_csv(path, ["time", "value"], [[i, value] for i, value in enumerate(rows)]),
        lambda path, **options: CsvSeries(path=str(path), **options),
        lambda path: ["model=lstm", "data=series", f"data.path={path}"],
        steps_of,
    ),
}

CHANGES: dict[str, Callable[[Reader, Rows], Rows]] = {
    "10 rows more": lambda reader, rows: [*rows, *(reader.row(1000 + i) for i in range(10))],
    "10 rows more at the beginning": lambda reader, rows: [*(reader.row(1000 + i) for i in range(10)), *rows],
    "10 rows fewer": lambda reader, rows: rows[:-10],
    "a row fewer at the beginning": lambda reader, rows: rows[1:],
    "half of the rows": lambda reader, rows: rows[::2],
    "all rows twice": lambda reader, rows: [*rows, *rows],
    "another order": lambda reader, rows: random.Random(0).sample(rows, len(rows)),
    "a row is another": lambda reader, rows: [*rows[:10], reader.row(2000), *rows[11:]],
    "all rows are others": lambda reader, rows: [reader.row(3000 + i) for i in range(len(rows))],
}
OPTIONS = ("data.val_fraction=0.3", "seed=1", "data.test_fraction=0.4", "data.test_seed=1", "data.drop_last=30")
"""Those that a reader has change its splits."""


def first_rows(reader: Reader) -> Rows:
    return [reader.row(i) for i in range(reader.num_rows)]


def path_of(name: str, folder: Path) -> Path:
    return folder / ("photos" if name == "images" else "rows.csv" if name != "running text" else "rows.txt")


def has(reader: Reader, word: str, path: Path) -> bool:
    """Whether a reader knows an option."""
    key = word.split("=")[0].removeprefix("data.")
    try:
        reader.build(path, **{key: 1 if key in ("seed", "test_seed", "drop_last") else 0.3})
    except TypeError:
        return False
    return True


def share_seen(reader: Reader, before: DataModule, after: DataModule) -> float:
    """The share of the test rows of data that are training or validation rows of others, whatever the product says."""
    for data in (before, after):
        data.setup("fit")
    known = {*reader.holds(before, "train"), *reader.holds(before, "val")}
    test = reader.holds(after, "test")
    return sum(row in known for row in test) / len(test)


def call(main: Callable[[], None], *words: str) -> tuple[int, str]:
    """A command's exit code and what it printed, in this process."""
    said, before = StringIO(), sys.argv
    sys.argv = ["command", *words]
    try:
        with redirect_stdout(said), redirect_stderr(said):
            main()
    except SystemExit as left:
        return int(left.code or 0), said.getvalue()
    finally:
        sys.argv = before
    return 0, said.getvalue()
