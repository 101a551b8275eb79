"""A folder with what the documentation's commands speak of, small: a digit, a photo, tables, texts, pictures."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sound_stand_ins import write_folder

ROOT = Path(__file__).parents[1]
FENCE = re.compile(
    r"(?P<parse><!-- parse only -->\n)?^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    title: str
    text: str
    is_parsed_only: bool
    """Whether its commands cannot run here: they need a cluster, a download, a GPU."""


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page.

    >>> [block.is_parsed_only for block in blocks("<!-- parse only -->\\n```bash\\nls\\n```\\n```bash\\nls\\n```\\n")]
    [True, False]
    """
    return [
        Block(found["language"], found["title"] or "", found["text"], found["parse"] is not None)
        for found in FENCE.finditer(page)
    ]


def commands(page: str) -> list[tuple[str, bool]]:
    """The command lines of a page, and whether they can run here."""
    return [
        (line, not block.is_parsed_only)
        for block in blocks(page)
        if block.language == "bash"
        for line in block.text.replace("\\\n", " ").strip().splitlines()
        if line and not line.startswith("#")
    ]


def write_titled(page: str, folder: Path) -> None:
    """Write the blocks with a title as files; packages among them get an ``__init__.py``."""
    for block in blocks(page):
        if block.title and not (ROOT / block.title).exists():
            path = folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
            if path.suffix == ".py":
                (path.parent / "__init__.py").touch()


def fill(folder: Path) -> None:
    """Write the files that the commands read."""
    from PIL import Image
    from sklearn.datasets import load_digits

    for name in ("train.py", "scripts"):
        (folder / name).symlink_to(ROOT / name)
    images = (load_digits().images * 15).astype(np.uint8)
    Image.fromarray(images[0]).resize((40, 40)).save(folder / "digit.png")
    Image.fromarray(images[0]).convert("RGB").resize((240, 240)).save(folder / "photo.jpg")
    rows = "".join(f"{40 + i},{('north', 'south')[i % 2]},{100 + 3 * i + i % 2}.5\n" for i in range(80))
    write_folder(folder / "calls")
    (folder / "houses.csv").write_text("size,side,price\n" + rows)
    (folder / "more.csv").write_text("size,side,price\n200,north,570\n210,south,600\n")
    words = (("The", "DET"), ("dog", "NOUN"), ("barks", "VERB"), (".", "PUNCT"))
    tagged = "\n".join(f"{i}\t{word}\t_\t{tag}" + "\t_" * 6 for i, (word, tag) in enumerate(words, 1))
    for name in ("train", "test"):
        (folder / f"{name}.conllu").write_text(f"{tagged}\n\n" * 20)
    (folder / "names.txt").write_text("Ada B-PER\nLovelace I-PER\nwrites O\n\nWe O\nread O\n\n" * 20)
    rows = ["name,mood,age,glasses,beard"]
    boxes: dict[str, list[dict[str, object]]] = {"images": [], "annotations": []}
    for i, image in enumerate(images[:60]):
        for name in ("faces", "animals"):
            (folder / name).mkdir(exist_ok=True)
            Image.fromarray(image).resize((40, 40)).save(folder / name / f"{i}.png")
        rows.append(f"{i},{('glad', 'sad')[i % 2]},{20 + i},{('yes', 'no')[i % 3 == 0]},{('yes', 'no')[i % 4 == 0]}")
        boxes["images"].append({"id": i, "file_name": f"{i}.png", "width": 40, "height": 40})
        if i % 5:
            boxes["annotations"].append({"image_id": i, "category_id": i % 2, "bbox": [i % 7, i % 6, 20, 30]})
    (folder / "faces.csv").write_text("\n".join(rows))
    (folder / "animals" / "boxes.json").write_text(json.dumps(boxes))
    days = np.datetime64("2024-01-01") + np.arange(200)
    sales = "".join(f"{day},{100 + i + 20 * (i % 7)}\n" for i, day in enumerate(days))
    (folder / "sales.csv").write_text("day,sold\n" + sales)
    steps = "".join(
        f"{i},{t},{(t * (1 + i % 2)) % 5},{(t + i) % 3},{('left', 'right')[i % 2]}\n"
        for i in range(40)
        for t in range(8 + i % 4)
    )
    (folder / "gestures.csv").write_text("trial,step,x,y,gesture\n" + steps)
    shop = [f"{day},{50 + i % 7 + 30 * (i % 5 == 0)},{int(i % 5 == 0)}\n" for i, day in enumerate(days)]
    stores = (f"{days[i]},{store},{i + 10 * i % 7}\n" for store in ("north", "south") for i in range(56))
    (folder / "stores.csv").write_text("day,store,sold\n" + "".join(stores))
    (folder / "shop.csv").write_text("day,sold,promotion\n" + "".join(shop))
    coming = [f"{days[-1] + i},,{i % 2}\n" for i in range(1, 8)]
    (folder / "coming.csv").write_text("day,sold,promotion\n" + "".join(shop + coming))
    words = ("the food was awful", "a very good meal")
    (folder / "reviews.csv").write_text(
        "review,label\n" + "".join(f"{words[i % 2]} {i},{('bad', 'good')[i % 2]}\n" for i in range(80))
    )
    (folder / "pairs.tsv").write_text("".join(f"the food {i} was good\tla comida {i} era buena\n" for i in range(80)))
    (folder / "book.txt").write_text("\n".join(f"{words[i % 2]} on day {i}" for i in range(300)))
    for k in (0, 1):
        (folder / "photos" / f"class{k}").mkdir(parents=True)
        for i in range(30):
            Image.fromarray(images[i * 10 + k]).resize((70, 64)).save(folder / "photos" / f"class{k}" / f"{i}.png")
