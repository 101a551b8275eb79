"""Faults of a user's files, each with what must come of it: for the test beside it, which also writes the list."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

TRAINS = "trains"


class Fault(NamedTuple):
    """A file or folder with a fault, the words of a run on it, and how its one line of error begins (a pattern)."""

    make: Callable[[Path], list[str]]
    outcome: str


def file(content: str | bytes, words: str, name: str = "bad.csv") -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return [f"data.path={path}", *words.split()]

    return make


# ------------------------------------------------------------------------------------------------ tables

CSV = "data=csv data.target=y"
ROWS = "a,b,y\n" + "".join(f"{i},x{i % 2},k{i % 3}\n" for i in range(30))
TABLES = {
    "a table without a fault": Fault(file(ROWS, CSV), TRAINS),
    "a row with too many cells": Fault(file(ROWS + "1,x0,k1,9\n", CSV), r"line 32 \(1,x0,k1,9\) has 4 cells, but"),
    "a row with too few cells": Fault(file(ROWS + "1,x0\n", CSV), r"line 32 \(1,x0\) has 2 cells, but"),
    "a missing number": Fault(file(ROWS + "nan,x0,k1\n", CSV), r"missing values in a \(1\): set data.missing=impute"),
    "an infinite number": Fault(file(ROWS + "inf,x0,k1\n", CSV), "column a contains inf, which is not finite"),
    "a number of 400 digits": Fault(file(ROWS + "9" * 400 + ",x0,k1\n", CSV), "column a contains 9+.*is not finite"),
    "a row without a label": Fault(file(ROWS + "1,x0,\n", CSV), r"1 rows have no y .*row 31"),
    "a column of no values": Fault(
        file("a,b,y\n" + "".join(f",{i},k{i % 2}\n" for i in range(30)), CSV + " data.missing=impute"),
        r"column a has no values in the training rows: drop it with data.drop=\[a\]",
    ),
    "numbers with a word among them": Fault(file(ROWS + "hello,x1,k1\n", CSV), "if 'hello' marks a missing value"),
    "one class": Fault(file(ROWS.replace("k1", "k0").replace("k2", "k0"), CSV), "only one class, 'k0'"),
    "a class of one row": Fault(file(ROWS + "1,x0,k9\n", CSV), "a single row, such as 'k9'"),
    "one row": Fault(file("a,b,y\n1,x0,k1\n", CSV), "has only one class"),
    "fewer rows than splits": Fault(
        file("a,b,y\n1,x,k1\n2,x,k2\n3,z,k2\n4,z,k1\n", CSV), "0 of 3 rows cannot be held out"
    ),
    "a batch larger than the set": Fault(file(ROWS, CSV + " data.batch_size=1000000"), TRAINS),
    "an empty file": Fault(file("", CSV), "bad.csv is empty"),
    "a header alone": Fault(file("a,b,y\n", CSV), "has a header but no rows"),
    "two columns of one name": Fault(file(ROWS.replace("b", "a", 1), CSV), "several columns have the name 'a'"),
    "semicolons for commas": Fault(file(ROWS.replace(",", ";"), CSV), "change data.separator"),
    "a decimal comma": Fault(file("a;b;y\n" + "1,5;x;k\n" * 9, CSV), "line 2 .* has 2 cells.*set data.separator=';'"),
    "a quotation mark left open": Fault(
        file(ROWS + '1,"x0,k1\n', CSV), "has 2 cells, but|missing closing quotation mark"
    ),
    "a byte order mark": Fault(file(b"\xef\xbb\xbf" + ROWS.encode(), CSV), TRAINS),
    "UTF-16": Fault(file(ROWS.encode("utf-16"), CSV), r"is not utf-8 text .* set data.encoding=utf-16"),
    "UTF-16 without a mark": Fault(file(ROWS.encode("utf-16-le"), CSV), "contains a null byte in line 1.*utf-16-le"),
    "Latin-1": Fault(
        file(ROWS.replace("x1", "é").encode("latin-1"), CSV), r"\(line 3, .* is 0xe9\); set data.encoding=latin-1"
    ),
    "a zero byte": Fault(file(ROWS.replace("x1", "x\0", 1), CSV), "contains a null byte in line 3"),
    "an encoding that is none": Fault(file(ROWS, CSV + " data.encoding=undefined"), "undefined"),
    "a picture named .csv": Fault(file(b"\x89PNG\r\n\x1a\n" + bytes(200), CSV), "is not a text file but a PNG image"),
    "a packed file named .csv": Fault(file(gzip.compress(ROWS.encode()), CSV), "its name must end in .gz"),
    "a packed file cut off": Fault(file(gzip.compress(ROWS.encode())[:-9], CSV, "bad.csv.gz"), "cannot be read"),
    "a cell of 10 MB": Fault(file(ROWS + "1," + "z" * 10_000_000 + ",k1\n", CSV), TRAINS),
    "a line of 5,000,000 cells": Fault(file(ROWS + "1," * 5_000_000 + "\n", CSV), "line 32 .* has 5,000,001 cells"),
    "a header of 1,000,000 columns": Fault(
        file(",".join(f"c{i}" for i in range(1_000_000)) + "\n", CSV),
        "the first line has 1,000,000 cells, but at most 10,000 are allowed",
    ),
    "a folder for a file": Fault(lambda folder: [f"data.path={folder}", *CSV.split()], "this is a folder"),
    "a device for a file": Fault(lambda folder: ["data.path=/dev/zero", *CSV.split()], "this is a device"),
    "a name with a typo": Fault(
        lambda folder: [*file(ROWS, CSV)(folder), f"data.path={folder}/bat.csv"], "did you mean 'bad.csv'"
    ),
    "a seed of 20 digits": Fault(file(ROWS, CSV + " data.test_seed=99999999999999999999"), "is too large; at most"),
}
NAMES = [
    "with spaces",
    "Grüße ñ 雪",
    "a=b",
    "a,b",
    "it's",
    'a "b"',
    "a(b)",
    "[c]",
    "{d}",
    "e#f",
    "~g",
    "h\\",
    "x" * 200,
]
PATHS = {f"a path named {name[:20]}": Fault(file(ROWS, CSV, f"{name}/t.csv"), TRAINS) for name in NAMES}

# ------------------------------------------------------------------------------------------------ texts and series

REVIEWS = "t,y\n" + "".join(f"{['good', 'bad', 'film', 'plot'][i % 4]} the film,{'pn'[i % 2]}\n" for i in range(40))
REVIEW = "data=text_csv model=text_cnn data.text=t data.target=y"
BOOK = "data=text_file model=char_rnn"
TEXTS = {
    "an empty text": Fault(file(REVIEWS + ",p\n", REVIEW), r"t is empty in 1 of 41 rows \(41\)"),
    "a text of one word of 10 MB": Fault(file(REVIEWS + "z" * 10_000_000 + ",p\n", REVIEW), TRAINS),
    "a book of one line of 3 MB": Fault(file("ab " * 1_000_000, BOOK, "b.txt"), TRAINS),
    "a book of 10 letters": Fault(file("abcdefghij", BOOK, "b.txt"), "each must have at least 2"),
    "a book in Latin-1": Fault(file(("été\n" * 99).encode("latin-1"), BOOK, "b.txt"), "set data.encoding=latin-1"),
    "a book of zero bytes": Fault(file(bytes(999), BOOK, "b.txt"), "is it a text file\\?"),
    "an empty book": Fault(file("", BOOK, "b.txt"), "contains no text"),
    "a length of 20 digits": Fault(file(REVIEWS, REVIEW + " data.max_length=99999999999999999999"), "too large"),
}
DAYS = [(date(2020, 1, 1) + timedelta(i)).isoformat() for i in range(120)]
LINES = ["day,v", *(f"{day},{10 + i % 7}" for i, day in enumerate(DAYS))]
SERIES = "data=series model=lstm"


def series(lines: list[str], words: str = "") -> Callable[[Path], list[str]]:
    return file("\n".join(lines) + "\n", f"{SERIES} {words}")


TIMES = {
    "a series without a fault": Fault(series(LINES), TRAINS),
    "days out of order": Fault(series(LINES[:50] + LINES[60:] + LINES[50:60]), "followed by the earlier 2020-02-19"),
    "a day twice": Fault(series(LINES[:50] + LINES[49:]), "are the same day; keep one row"),
    "a day that is missing": Fault(series(LINES[:50] + LINES[51:]), "1 x day missing between 2020-02-18"),
    "a day that is none": Fault(series([*LINES, "2020-13-45,3"]), "'2020-13-45' in row 121 is not a time"),
    "time zones mixed": Fault(series([*LINES, "2020-04-30T00:00+02:00,3"]), "row 121 .*time zone"),
    "a value that is missing": Fault(series([*LINES, "2020-04-30,"]), r"column v, row 121 \(2020-04-30\): the value"),
    "a value that is infinite": Fault(series([*LINES, "2020-04-30,inf"]), "'inf' is not a finite number"),
    "a series that is too short": Fault(series(LINES[:10]), "the series has 9 rows, but 29 are required"),
    "a window longer than the series": Fault(series(LINES, "data.window=1000"), "but 1022 are required: data.window"),
}

# ------------------------------------------------------------------------------------------------ images


def photos(content: bytes | None, name: str = "z.png", words: str = "") -> Callable[[Path], list[str]]:
    """Two classes of eight images, and among the first of them a file."""

    def make(folder: Path) -> list[str]:
        for kind in "ab":
            (folder / kind).mkdir()
            for i in range(8):
                Image.new("RGB", (12 + i, 8), (80 * (kind == "b"), 10 * i, 0)).save(folder / kind / f"{i}.png")
        if content is not None:
            (folder / "a" / name).write_bytes(content)
        return ["data=image_folder", f"data.path={folder}", "data.size=8", *words.split()]

    return make


def picture(kind: str = "PNG", size: tuple[int, int] = (40, 30)) -> bytes:
    found = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)).save(found, kind)
    return found.getvalue()


def png(width: int, height: int) -> bytes:
    """A PNG that only says it is so large."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def changed(change: Callable[[Path], object], words: str = "") -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        made = photos(None, words=words)(folder)
        change(folder)
        return made

    return make


SKIP, WORKERS = "data.on_error=skip", "data.placement=workers data.num_workers=1"
CUT = picture("JPEG")[:900]
IMAGES = {
    "images of mixed sizes": Fault(photos(picture()), TRAINS),
    "an image cut off": Fault(photos(CUT, "z.jpg"), r"a/z.jpg cannot be read as an image \(image file is truncated"),
    "an image cut off, to be skipped": Fault(photos(CUT, "z.jpg", SKIP), TRAINS),
    "an image cut off, in a worker": Fault(photos(CUT, "z.jpg", WORKERS), "a/z.jpg cannot be read as an image"),
    "an image cut off, in a worker, to be skipped": Fault(photos(CUT, "z.jpg", f"{WORKERS} {SKIP}"), TRAINS),
    "an empty image": Fault(photos(b""), r"a/z.png cannot be read as an image \(the file is empty\)"),
    "a text named .png": Fault(photos(b"hello"), r"a/z.png .*\(its content is not an image of a known format\)"),
    "a picture that says 100,000 x 100,000": Fault(
        photos(png(100_000, 100_000)), "it has more than 178,956,970 pixels"
    ),
    "an image of 100 megapixels": Fault(
        changed(lambda folder: Image.new("L", (10_000, 10_000)).save(folder / "a" / "z.png", compress_level=1)), TRAINS
    ),
    "a pipe named .png": Fault(changed(lambda folder: os.mkfifo(folder / "a" / "z.png")), "it is not a file, but"),
    "a link to itself": Fault(changed(lambda folder: os.symlink("z.png", folder / "a" / "z.png")), "symbolic links"),
    "a link to nothing": Fault(changed(lambda folder: os.symlink("no", folder / "a" / "z.png")), "No such file"),
    "a link to its own folder": Fault(changed(lambda folder: os.symlink(folder / "a", folder / "a" / "z")), TRAINS),
    "an empty class": Fault(changed(lambda folder: (folder / "c").mkdir()), "c contains no image"),
    "one class of images": Fault(
        changed(lambda folder: shutil.rmtree(folder / "b")), "at least two folders, one per class; it has only a"
    ),
    "a size of 1,000,000 pixels": Fault(photos(None, words="data.size=1000000"), "GiB of memory|too large|cannot be"),
}

FAULTS = TABLES | PATHS | TEXTS | TIMES | IMAGES
