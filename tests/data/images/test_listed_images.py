"""Images that a file lists: labels from a CSV, boxes as COCO and Pascal VOC write them, and generated ones."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from dlzoo.data.images.box_files import BoxFiles
from dlzoo.data.images.image_csv import ImageCsv
from dlzoo.data.images.placed_digits import THRESHOLD, PlacedDigits
from dlzoo.errors import UserError
from dlzoo.specs.targets import Classes, Labels, Values

NUM = 20
WIDTH, HEIGHT = 40, 20


def edges(i: int) -> tuple[int, int, int, int]:
    return 2 + i % 5, 1 + i % 3, 12 + i, 9 + i % 7


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """20 images, each with a bright rectangle."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for i in range(NUM):
        image = Image.new("L", (WIDTH, HEIGHT))
        image.paste(255, edges(i))
        image.save(folder / ("sub" if i % 2 else ".") / f"p{i}.png")
    return folder


def coco(photos: Path, change: Callable[[dict[str, Any]], object] = lambda content: None) -> Path:
    images = [
        {"id": 7 * i, "file_name": f"{'sub/' if i % 2 else ''}p{i}.png", "width": WIDTH, "height": HEIGHT}
        for i in range(NUM)
    ]
    annotations = [
        {"image_id": 7 * i, "category_id": i % 2, "bbox": [a, b, c - a, d - b]}
        for i in range(NUM)
        for a, b, c, d in [edges(i)]
    ]
    categories = [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    change(content)
    path = photos / "boxes.json"
    path.write_text(json.dumps(content))
    return path


def voc(photos: Path, extra: str = "") -> Path:
    folder = photos / "xml"
    folder.mkdir()
    for i in range(NUM):
        left, top, right, bottom = edges(i)
        (folder / f"p{i}.xml").write_text(
            f"<annotation>{extra}<size><width>{WIDTH}</width><height>{HEIGHT}</height></size><object><name>"
            f"{('cat', 'dog')[i % 2]}</name><bndbox><xmin>{left + 1}</xmin><ymin>{top + 1}</ymin><xmax>{right}</xmax>"
            f"<ymax>{bottom}</ymax></bndbox></object></annotation>"
        )
    return folder


def all_rows(data: BoxFiles | ImageCsv) -> tuple[torch.Tensor, Any]:
    return data._decoded(data.load("train")).x, data.load("train").y


@pytest.mark.parametrize("kind", ["coco", "voc", "zip"])
def test_boxes_lie_around_the_objects(photos: Path, kind: str, tmp_path: Path) -> None:
    place = voc(photos) if kind == "voc" else coco(photos)
    path = photos
    if kind == "zip":
        path = tmp_path / "photos.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in photos.rglob("*.png"):
                archive.write(file, file.relative_to(photos))
    data = BoxFiles(path=path, annotations=str(place) if kind == "zip" else None, channels=1, size=[20, 40])
    assert data.declare().target.by_name["class"].names == ("cat", "dog")
    x, y = all_rows(data)
    for image, box in zip(x[:, 0], y["box"], strict=True):
        left, top, right, bottom = (box * torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])).round().int().tolist()
        assert (image > 127).nonzero().amin(0).tolist() == [top, left]
        assert (image > 127).nonzero().amax(0).tolist() == [bottom - 1, right - 1]
    assert y["class"].bincount().tolist() == [8, 8], "a fifth is held out, stratified"


def several(content: dict[str, Any]) -> None:
    content["annotations"].append({"image_id": 0, "category_id": 1, "bbox": [0, 0, 39, 19]})
    del content["annotations"][4]


def test_the_largest_of_several_objects_and_images_without_one(photos: Path) -> None:
    coco(photos, several)
    data = BoxFiles(path=photos)
    assert len(data.listed.files) == NUM - 1
    assert "1 images have several objects, of which the largest is taken" in "\n".join(data.notes())
    assert "1 images without an object are left out (data.absent=true keeps them)" in "\n".join(data.notes())
    first = next(i for i, file in enumerate(data.listed.files) if str(file).endswith("p0.png"))
    assert data.listed.y["class"][first] == 1
    coco(photos, lambda content: [content["annotations"].pop(0), content["annotations"].pop(4)])
    target = BoxFiles(path=photos, absent=True).declare().target
    assert target.by_name["class"].names == ("cat", "dog", "none")
    assert target.by_name["box"].boxes is not None
    assert target.by_name["box"].boxes.absent == "none"


WRONG_BOXES: dict[str, Callable[[dict[str, Any]], object]] = {
    r"annotations\[3\]: the box \[0, 0, 50, 10\] lies outside its image of 40x20": (
        lambda c: c["annotations"][3].update(bbox=[0, 0, 50, 10])
    ),
    r"annotations\[3\]: the box \[5, 5, 5, 9\] \(left, top, right, bottom\) has no area": (
        lambda c: c["annotations"][3].update(bbox=[5, 5, 0, 4])
    ),
    r"annotations\[3\]: the box \[nan, 5, nan, 9\] .* holds no numbers": (
        lambda c: c["annotations"][3].update(bbox=[None, 5, 3, 4])
    ),
    r"annotations\[3\]: bbox=\[1, 2\] must be": lambda c: c["annotations"][3].update(bbox=[1, 2]),
    r"annotations\[3\]: there is no image with the id 5": lambda c: c["annotations"][3].update(image_id=5),
    r"images\[2\]: there is no image 'p99\.png' below": lambda c: c["images"][2].update(file_name="p99.png"),
}


@pytest.mark.parametrize("message", WRONG_BOXES)
def test_wrong_boxes_are_named_or_left_out(photos: Path, message: str) -> None:
    coco(photos, WRONG_BOXES[message])
    with pytest.raises(UserError, match=message + ".*; correct it, or leave such rows out with data.on_error=skip"):
        BoxFiles(path=photos).declare()
    data = BoxFiles(path=photos, on_error="skip")
    data.declare()
    assert "1 rows are left out, the first: boxes.json" in "\n".join(data.notes())
    assert len(data.listed.files) == NUM - 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "is not as COCO writes boxes"),
        ("{", "is damaged or not JSON"),
        ('{"images": [{}], "annotations": []}', "has an entry without id"),
        ('{"images": [], "annotations": []}', "has no object: two are needed"),
    ],
)
def test_files_that_are_no_boxes(photos: Path, text: str, message: str) -> None:
    (photos / "boxes.json").write_text(text)
    with pytest.raises(UserError, match=message):
        BoxFiles(path=photos).declare()


def test_other_places_of_boxes(photos: Path) -> None:
    with pytest.raises(UserError, match="contains no JSON or XML file: say which one holds the boxes"):
        BoxFiles(path=photos).declare()
    with pytest.raises(UserError, match="there is no such file or folder"):
        BoxFiles(path=photos, annotations="x.json").declare()
    with pytest.raises(UserError, match=r"data\.fit=crop would cut boxes"):
        BoxFiles(path=photos, fit="crop")
    folder = voc(photos, "<!--x-->")
    (folder / "p3.xml").write_text('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>')
    with pytest.raises(UserError, match="declares entities"):
        BoxFiles(path=photos).declare()
    (folder / "p3.xml").write_text("<annotation><size>")
    with pytest.raises(UserError, match=r"p3\.xml is damaged or not XML"):
        BoxFiles(path=photos).declare()
    (folder / "p3.xml").write_text("<annotation><size><width>a</width></size></annotation>")
    with pytest.raises(UserError, match="size/width=a must be a number of pixels"):
        BoxFiles(path=photos).declare()


# labels from a CSV


def table(photos: Path, change: Callable[[list[str]], object] = lambda lines: None) -> Path:
    lines = ["name,kind,height,smiling,part"]
    lines += [f"p{i},{'ab'[i % 2]},{1.5 * i},{('yes', 'no')[i % 2]},{('train', 'test')[i > 15]}" for i in range(NUM)]
    change(lines)
    path = photos.parent / "labels.csv"
    path.write_text("\n".join(lines))
    return path


def test_labels_of_every_kind(photos: Path) -> None:
    path = str(table(photos))
    one = ImageCsv(path=photos, table=path, target="kind")
    assert one.declare().target == Classes(("a", "b"))
    many = ImageCsv(
        path=photos, table=path, target={"kind": "kind", "size": "height"}, split="part", placement="workers"
    )
    many.setup("fit")
    assert many.spec.target.named is not None
    scaled = many.spec.target.by_name["size"].values
    assert scaled is not None
    assert scaled.scaling.mean != (), "values are learned standardised"
    rows = many.load("train")
    assert rows.num_rows == 16
    assert rows.y["size"][:, 0].tolist() == [1.5 * i for i in range(16)]
    assert [str(many._files[0][i]).rsplit("/p", 1)[1] for i in rows.x.tolist()] == [f"{i}.png" for i in range(16)]
    assert many.load("test").num_rows == 4
    batch = next(iter(many.batches("val")))
    assert batch[0].shape[1:] == (3, 64, 64)
    assert set(batch[1]) == {"kind", "size"}
    labels = ImageCsv(path=photos, table=path, target=["smiling", "other"])
    with pytest.raises(UserError, match=r"data\.target=other: labels\.csv has no such column"):
        labels.declare()


def test_several_yes_or_no(photos: Path) -> None:
    path = table(
        photos, lambda lines: lines.__setitem__(slice(None), [f"{line},{line.split(',')[3]}" for line in lines])
    )
    path.write_text(path.read_text().replace("smiling,part,smiling", "smiling,part,glasses"))
    assert ImageCsv(path=photos, table=str(path), target=["smiling", "glasses"]).declare().target == Labels(
        ("smiling", "glasses")
    )
    assert isinstance(ImageCsv(path=photos, table=str(path), target="height").declare().target, Values)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("p99,a,1,yes,train", r"labels\.csv, row 2: there is no image 'p99' below .*; did you mean"),
        (",a,1,yes,train", "row 2: a cell of the image's name or target is missing"),
        ("p1,,1,yes,train", "row 2: a cell of the image's name or target is missing"),
    ],
)
def test_rows_without_an_image_or_a_label(photos: Path, row: str, message: str) -> None:
    path = str(table(photos, lambda lines: lines.__setitem__(2, row)))
    with pytest.raises(UserError, match=message):
        ImageCsv(path=photos, table=path, target="kind").declare()
    data = ImageCsv(path=photos, table=path, target="kind", on_error="skip")
    assert len(data.listed.files) == NUM - 1
    assert "1 rows are left out" in data.notes()[1]


def test_a_name_that_two_images_have(photos: Path) -> None:
    Image.new("L", (8, 8)).save(photos / "sub" / "p0.png")
    with pytest.raises(UserError, match="row 1: 'p0' is the name of 2 images below"):
        ImageCsv(path=photos, table=str(table(photos)), target="kind").declare()
    whole = str(table(photos, lambda lines: lines.__setitem__(1, "./p0.png,a,0,yes,train")))
    assert len(ImageCsv(path=photos, table=whole, target="kind").listed.files) == NUM


# generated


@pytest.mark.parametrize("clutter", [0, 5])
def test_a_digit_lies_in_its_box(clutter: int) -> None:
    data = PlacedDigits(num_samples=200, num_test=50, clutter=clutter, absent=0.3)
    x, y, _ = data.load("train")
    is_there = y["class"] != 10
    assert 0.2 < 1 - is_there.float().mean() < 0.4
    assert torch.equal(is_there, ~y["box"].isnan().any(1))
    pixels = (y["box"][is_there] * 64).round().int().tolist()
    for image, (left, top, right, bottom) in zip(x[is_there, 0] >= THRESHOLD, pixels, strict=True):
        inside = image[top:bottom, left:right]
        assert inside[0].any()
        assert inside[-1].any()
        assert inside[:, 0].any()
        assert inside[:, -1].any()
        assert clutter or inside.sum() == image.sum()
    assert bool(x[~is_there].any()) == bool(clutter)
    again = PlacedDigits(num_samples=200, num_test=50, clutter=clutter, absent=0.3, seed=5)
    assert torch.equal(again.load("train").x, x)
    assert not torch.equal(data.load("test").x, x[:50])


def test_sizes_ascend() -> None:
    with pytest.raises(UserError, match=r"data\.min_size=32, data\.max_size=16 and data\.canvas=64 must ascend"):
        PlacedDigits(min_size=32, max_size=16)
